//! The accept loop: handshake, limits, one line in the log for each request, drain.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::http::request_log::log_request;
use crate::telemetry::metrics::{HttpMetrics, ListenerMetrics};

/// What one listener grants its clients.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    connections: usize,
    /// For the TLS handshake, and again for the head of each request.
    head: Duration,
    /// For the whole of one request.
    request: Duration,
    /// For an HTTP/2 connection on which nothing is asked. HTTP/1.1 has `head` for that, too.
    idle: Duration,
    head_bytes: usize,
    headers: usize,
    /// Requests at once on one HTTP/2 connection.
    streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: Duration::from_secs(10),
            // The longest hold and then some.
            request: Duration::from_secs(60),
            idle: Duration::from_secs(180),
            head_bytes: 32 * 1024,
            headers: 64,
            streams: 64,
        }
    }
}

/// How long to wait where the system has no more file descriptors to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener on its way to serving.
pub(crate) struct Listener {
    /// For the log: `acme`, `public` or `admin`.
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    /// `None` speaks plain HTTP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) router: Router,
    pub(crate) metrics: HttpMetrics,
}

impl Listener {
    /// Serves until `stop` turns true, then until every request under way is answered, but no longer
    /// than `drain`.
    pub(crate) async fn serve(self, stop: watch::Receiver<bool>, drain: Duration) {
        self.serve_within(Limits::default(), stop, drain).await;
    }

    async fn serve_within(self, limits: Limits, mut stop: watch::Receiver<bool>, drain: Duration) {
        let Self { name, socket, tls, router, metrics } = self;
        let metrics = metrics.listener(name);
        let router = router
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .layer(tower_http::timeout::TimeoutLayer::with_status_code(
                http::StatusCode::SERVICE_UNAVAILABLE,
                limits.request,
            ))
            .layer(middleware::from_fn_with_state(metrics.clone(), log_request));
        let acceptor = tls.map(TlsAcceptor::from);
        let places = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&socket, &places) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let (acceptor, router) = (acceptor.clone(), router.clone());
            let (metrics, open) = (metrics.clone(), metrics.accepted());
            let stop = Stop { watcher: graceful.watcher(), stopped: stop.clone() };
            tokio::spawn(async move {
                if let Err(error) =
                    connection(stream, peer, acceptor, router, limits, stop, &metrics).await
                {
                    // Clients go away and scanners say odd things: nothing anybody must act on.
                    tracing::debug!(listener = name, %peer, %error, "connection ended");
                }
                drop((place, open));
            });
        }
        drop(socket);
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                listener = name,
                "requests were cut off: they took longer than the drain"
            );
        }
    }
}

async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a connection learns that the listener stops, and how that learns that the connection ended.
struct Stop {
    watcher: Watcher,
    stopped: watch::Receiver<bool>,
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    stop: Stop,
    metrics: &ListenerMetrics,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => http(stream, peer, router, limits, stop).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(limits.head, acceptor.accept(stream)).await;
            let stream = handshake
                .map_err(BoxError::from)
                .and_then(|done| done.map_err(BoxError::from))
                .inspect_err(|_| metrics.handshake_failed())?;
            http(stream, peer, router, limits, stop).await
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    stop: Stop,
) -> Result<(), BoxError> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        // Clients made of shell and sed look for `Replay-Nonce:` letter by letter.
        .title_case_headers(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .keep_alive_interval(limits.head * 3)
        .keep_alive_timeout(limits.head);
    let activity = Arc::new(Activity::default());
    let router = router
        .layer(axum::Extension(Peer(peer)))
        .layer(middleware::from_fn_with_state(Arc::clone(&activity), Activity::count));
    let connection = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .into_owned();
    let leave = GracefulShutdown::new();
    let mut connection = pin!(leave.watch(connection));
    // hyper counts no time before it knows the version, nor during an HTTP/2 handshake.
    let nothing_asked = async {
        tokio::time::sleep(limits.head).await;
        if !activity.is_without_a_request() {
            pending::<()>().await;
        }
    };
    let Stop { watcher, mut stopped } = stop;
    let idle = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = nothing_asked => return Err("no request came in time".into()),
        () = activity.idle_for(limits.idle) => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    };
    // What is under way is answered, and nothing new is taken.
    let farewell = async {
        leave.shutdown().await;
        pending().await
    };
    let left = async {
        tokio::select! {
            ended = connection => ended,
            never = farewell => never,
        }
    };
    let ended = match idle {
        // Nothing is: a client that does not answer to the farewell is not waited for.
        true => tokio::time::timeout(limits.head, left).await?,
        // The listener counts the time.
        false => left.await,
    };
    drop(watcher);
    ended
}

/// What a connection is used for.
#[derive(Default)]
struct Activity(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    under_way: usize,
    /// When the last one began or ended.
    at: Option<Instant>,
}

impl Activity {
    async fn count(State(activity): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let _under_way = UnderWay::begin(&activity);
        next.run(request).await
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        // Both of its values are written in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_without_a_request(&self) -> bool {
        self.requests().at.is_none()
    }

    /// Returns once nothing was asked for so long.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let left = match &*self.requests() {
                Requests { under_way: 0, at: Some(at) } => limit.saturating_sub(at.elapsed()),
                _ => limit,
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A request, until this is dropped: answered, or given up by its client.
struct UnderWay<'a>(&'a Activity);

impl<'a> UnderWay<'a> {
    fn begin(activity: &'a Activity) -> Self {
        let mut requests = activity.requests();
        requests.under_way += 1;
        requests.at = Some(Instant::now());
        Self(activity)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.under_way -= 1;
        requests.at = Some(Instant::now());
    }
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

#[cfg(test)]
mod tests;
