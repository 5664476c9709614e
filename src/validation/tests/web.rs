//! A web server that writes its answers by hand, so that they can be as wrong as they like.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{KEY_AUTHORIZATION, Options, options, responder};

/// From the request's head to pieces of the answer.
type Answer = dyn Fn(&str) -> Reply + Send + Sync;

pub(super) enum Reply {
    Whole(String),
    /// This, and then nothing more while the client waits.
    Stall(String),
    /// This head, and then a body without an end.
    Endless(String),
}

pub(super) struct Web(Arc<Answer>);

pub(super) struct Running {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Web {
    pub(super) fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// Fulfils the challenge.
    pub(super) fn right() -> Self {
        Self::new(|_| ok(KEY_AUTHORIZATION))
    }

    pub(super) async fn serve(self, address: &str) -> Running {
        self.run(address, None).await
    }

    pub(super) async fn serve_tls(self, address: &str) -> Running {
        self.run(address, Some(responder::web_server())).await
    }

    async fn run(self, address: &str, tls: Option<TlsAcceptor>) -> Running {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (answer, log, tls) = (self.0.clone(), log.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => talk(tls.accept(stream).await.unwrap(), &*answer, &log).await,
                        None => talk(stream, &*answer, &log).await,
                    }
                });
            }
        });
        Running { address, seen }
    }
}

impl Running {
    pub(super) fn options(&self, resolver: SocketAddr) -> Options {
        Options { http_port: self.address.port(), ..options(resolver) }
    }

    /// The heads of all requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answer,
    log: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    log.lock().unwrap().push(head.clone());
    // the client may have had enough at any point: that is what some tests are about
    match answer(&head) {
        Reply::Whole(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Reply::Stall(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.read_u8().await;
        }
        Reply::Endless(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        }
    }
}

pub(super) fn ok(body: &str) -> Reply {
    status("200 OK", body)
}

pub(super) fn status(status: &str, body: &str) -> Reply {
    Reply::Whole(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

pub(super) fn redirect(location: &str) -> Reply {
    Reply::Whole(format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
}
