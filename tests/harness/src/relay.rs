//! A TCP port that leads to another, as a load balancer or a virtual IP does: it can be led elsewhere,
//! cut, closed, or made to hold everything back while connections stay open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Sees what passes over one connection.
pub trait Inspector: Send {
    /// Bytes on their way to the server; `false` holds them back, and all that comes after them.
    fn to_server(&mut self, bytes: &[u8]) -> bool;
    /// The same of bytes on their way back.
    fn to_client(&mut self, bytes: &[u8]) -> bool;
}

/// Makes the inspector of a new connection.
pub type Inspect = Arc<dyn Fn() -> Box<dyn Inspector> + Send + Sync>;

/// It works on a thread of its own, so that a test may block.
pub struct Relay {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    _stop: oneshot::Sender<()>,
}

#[derive(Clone)]
struct State {
    /// Asked in turn; one that does not listen is passed over.
    targets: Vec<SocketAddr>,
    next: usize,
    is_open: bool,
    is_held: bool,
    /// Connections of earlier epochs are closed.
    epoch: u64,
}

impl Relay {
    /// Leads to these in turn.
    pub fn start(targets: &[SocketAddr]) -> Self {
        Self::inspected(targets, None)
    }

    pub fn inspected(targets: &[SocketAddr], inspect: Option<Inspect>) -> Self {
        let (is_open, is_held, next, epoch) = (true, false, 0, 0);
        let state = State { targets: targets.to_vec(), next, is_open, is_held, epoch };
        let (state, seen) = watch::channel(state);
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let turns = state.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, turns, seen, inspect) => {}
                    // With the value, all connections end.
                    _ = stopped => {}
                }
            });
        });
        Self { address, state, _stop: stop }
    }

    /// New connections lead to these, and those of before are cut.
    pub fn lead_to(&self, targets: &[SocketAddr]) {
        self.state.send_modify(|state| {
            state.targets = targets.to_vec();
            state.epoch += 1;
        });
    }

    /// Closes every connection; new ones are taken.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Closes every connection at once, also such as come.
    pub fn close(&self) {
        self.state.send_modify(|state| {
            state.is_open = false;
            state.epoch += 1;
        });
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.state.send_modify(|state| state.is_open = true);
    }

    /// Nothing passes from now on, and nobody is told.
    pub fn hold(&self) {
        self.state.send_modify(|state| state.is_held = true);
    }

    /// What was held passes on.
    pub fn release(&self) {
        self.state.send_modify(|state| state.is_held = false);
    }
}

async fn accept(
    listener: TcpListener,
    turns: watch::Sender<State>,
    state: watch::Receiver<State>,
    inspect: Option<Inspect>,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let now = state.borrow().clone();
        if !now.is_open {
            continue;
        }
        turns.send_modify(|state| state.next = state.next.wrapping_add(1));
        let (state, inspect) = (state.clone(), inspect.clone());
        tokio::spawn(async move {
            let count = now.targets.len();
            for turn in 0..count {
                let target = now.targets[(now.next.wrapping_add(turn)) % count];
                if let Ok(server) = TcpStream::connect(target).await {
                    return converse(client, server, now.epoch, state, inspect).await;
                }
            }
        });
    }
}

async fn converse(
    client: TcpStream,
    server: TcpStream,
    epoch: u64,
    mut state: watch::Receiver<State>,
    inspect: Option<Inspect>,
) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let inspector = inspect.map(|inspect| Arc::new(Mutex::new(inspect())));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = inspector
        .clone()
        .map(|inspector| move |bytes: &[u8]| inspector.lock().unwrap().to_server(bytes));
    let back =
        inspector.map(|inspector| move |bytes: &[u8]| inspector.lock().unwrap().to_client(bytes));
    // A connection ends as a whole: neither HTTP nor Postgres has use for half of one.
    tokio::select! {
        () = pass(from_client, to_server, state.clone(), there) => {}
        () = pass(from_server, to_client, state.clone(), back) => {}
        _ = state.wait_for(|state| state.epoch != epoch) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    mut may_pass: Option<impl FnMut(&[u8]) -> bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut is_held = false;
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let bytes = &buffer[..length];
        is_held |= may_pass.as_mut().is_some_and(|may_pass| !may_pass(bytes));
        if is_held {
            // Until whoever waits for it goes away.
            continue;
        }
        if state.wait_for(|state| !state.is_held).await.is_err() {
            return;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
