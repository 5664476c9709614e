//! The accept loop: handshake, limits, one line in the log for each request, drain.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::http::acme::AnsweredProblem;
use crate::telemetry::metrics::{Metrics, RequestLabels};

/// What one listener grants its clients.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    connections: usize,
    /// For the TLS handshake, and again for the head of each request.
    head: Duration,
    /// For the whole of one request.
    request: Duration,
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
    pub(crate) metrics: Arc<Metrics>,
}

impl Listener {
    /// Serves until `stop` turns true, then until every request under way is answered, but no longer
    /// than `drain`.
    pub(crate) async fn serve(self, stop: watch::Receiver<bool>, drain: Duration) {
        self.serve_within(Limits::default(), stop, drain).await;
    }

    async fn serve_within(self, limits: Limits, mut stop: watch::Receiver<bool>, drain: Duration) {
        let Self { name, socket, tls, router, metrics } = self;
        // The log stands outermost, so that it also tells of panics and of requests that took too long.
        let router = router
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .layer(tower_http::timeout::TimeoutLayer::with_status_code(
                http::StatusCode::SERVICE_UNAVAILABLE,
                limits.request,
            ))
            .layer(middleware::from_fn_with_state(metrics, log_request));
        let acceptor = tls.map(TlsAcceptor::from);
        let places = Arc::new(Semaphore::new(limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&socket, &places) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let (acceptor, router, watcher) =
                (acceptor.clone(), router.clone(), graceful.watcher());
            tokio::spawn(async move {
                if let Err(error) =
                    connection(stream, peer, acceptor, router, limits, watcher).await
                {
                    // Clients go away and scanners say odd things: nothing anybody must act on.
                    tracing::debug!(listener = name, %peer, %error, "connection ended");
                }
                drop(place);
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    match acceptor {
        None => http(stream, peer, router, limits, watcher).await,
        Some(acceptor) => {
            let stream = tokio::time::timeout(limits.head, acceptor.accept(stream)).await??;
            http(stream, peer, router, limits, watcher).await
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
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
    let asked = Arc::new(AtomicBool::new(false));
    let service = router.layer(axum::Extension(Peer(peer))).map_request({
        let asked = Arc::clone(&asked);
        move |request: http::Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request
        }
    });
    let connection = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    let mut connection = pin!(watcher.watch(connection));
    // hyper counts no time before it knows the version, nor during an HTTP/2 handshake.
    if let Ok(ended) = tokio::time::timeout(limits.head, connection.as_mut()).await {
        return ended;
    }
    if !asked.load(Ordering::Relaxed) {
        return Err("no request came in time".into());
    }
    connection.await
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

async fn log_request(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
    let response = next.run(request).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    let problem = response.extensions().get::<AnsweredProblem>();
    tracing::info!(
        %method,
        path,
        peer,
        status,
        problem = problem.map(|problem| tracing::field::debug(problem.0)),
        elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    let labels = RequestLabels { route: route.unwrap_or_default(), status };
    metrics.requests.get_or_create(&labels).inc();
    metrics.request_seconds.observe(elapsed.as_secs_f64());
    response
}

#[cfg(test)]
mod tests;
