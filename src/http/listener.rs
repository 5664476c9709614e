//! The accept loop: handshake, limits, one line in the log for each request, drain.

mod activity;
mod connection;
mod places;
mod proxy;
mod sending;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use self::connection::{Service, Stop};
use self::places::Places;
use super::admission::Admission;
use crate::http::request_log::log_request;
use crate::telemetry::metrics::HttpMetrics;

/// What one listener grants its clients.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For the TLS handshake, and again for the head of each request.
    head: Duration,
    /// For the whole of one request.
    request: Duration,
    /// For a client to take anything of what is sent to it.
    write: Duration,
    /// For a client to take all of an answer, and more where it is a large one.
    sending: Duration,
    /// For an HTTP/2 connection on which nothing is asked. HTTP/1.1 has `head` for that, too.
    idle: Duration,
    /// The same while others wait for a place.
    scarce: Duration,
    head_bytes: usize,
    headers: usize,
    /// Requests at once on one HTTP/2 connection.
    streams: u32,
    /// What may be on its way on an HTTP/2 connection, in bytes and either direction.
    window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            // The longest hold and then some.
            request: Duration::from_secs(60),
            write: Duration::from_secs(30),
            sending: Duration::from_secs(60),
            idle: Duration::from_secs(180),
            scarce: Duration::from_secs(2),
            head_bytes: 32 * 1024,
            headers: 64,
            streams: 32,
            window: 256 * 1024,
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
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: HttpMetrics,
}

impl Listener {
    /// Serves until `stop` turns true, then until every request under way is answered, but no longer
    /// than `drain`.
    pub(crate) async fn serve(self, stop: watch::Receiver<bool>, drain: Duration) {
        self.serve_within(Limits::default(), stop, drain).await;
    }

    async fn serve_within(self, limits: Limits, mut stop: watch::Receiver<bool>, drain: Duration) {
        let Self { name, socket, tls, router, admission, metrics } = self;
        let metrics = metrics.listener(name);
        let router = router
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .layer(tower_http::timeout::TimeoutLayer::with_status_code(
                http::StatusCode::SERVICE_UNAVAILABLE,
                limits.request,
            ))
            .layer(middleware::from_fn_with_state(metrics.clone(), log_request));
        let acceptor = tls.map(TlsAcceptor::from);
        let counts = Arc::clone(&admission);
        let service = Service { acceptor, router, limits, admission: counts, metrics };
        let places = Places::new();
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = async {
                let place = places.take(|| admission.connections()).await;
                (socket.accept().await, place)
            };
            let (accepted, place) = tokio::select! {
                accepted = accepted => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly the file descriptors are used up, and with the idle connections some come
                    // back; those who wait stay in the kernel's queue.
                    tracing::warn!(listener = name, %error, "a connection could not be accepted");
                    places.ask_for_some();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (service, open) = (service.clone(), service.metrics.accepted());
            let stop = Stop {
                watcher: graceful.watcher(),
                stopped: stop.clone(),
                scarce: places.scarce(),
            };
            tokio::spawn(async move {
                if let Err(error) = connection::serve(stream, peer, service, stop).await {
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

#[cfg(test)]
mod tests;
