//! The accept loop: handshake, limits, one line in the log for each request, drain.

use std::convert::Infallible;
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::http::acme::AnsweredProblem;
use crate::http::tls;
use crate::telemetry::metrics::{Metrics, RequestLabels};

const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_STREAMS: u32 = 64;
/// The length of what a client begins HTTP/2 with (RFC 9113 §3.4).
const HTTP_2_PREFACE: usize = 24;
/// How long to wait where the system has no more file descriptors to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client may take of the time and room of the others.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    connections: usize,
    /// For the TLS handshake, and again for the head of each request.
    head: Duration,
    /// For the whole of one request: the longest hold and then some.
    request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, head: Duration::from_secs(10), request: Duration::from_secs(60) }
    }
}

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
        // The log is outermost: what took too long or panicked is logged and counted too.
        let router = router
            .layer(CatchPanicLayer::new())
            .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, limits.request))
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
                    connection(stream, peer, acceptor, router, watcher, limits).await
                {
                    // Clients go away and scanners say odd things: nothing anybody must act on.
                    tracing::debug!(listener = name, %peer, %error, "connection ended");
                }
                drop(place);
            });
        }
        drop(socket);
        if timeout(drain, graceful.shutdown()).await.is_err() {
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
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
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
    watcher: Watcher,
    limits: Limits,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return http_1(stream, peer, router, watcher, limits).await;
    };
    let mut stream = timeout(limits.head, acceptor.accept(stream)).await??;
    if stream.get_ref().1.alpn_protocol() != Some(tls::HTTP_2) {
        return http_1(stream, peer, router, watcher, limits).await;
    }
    // hyper waits for the preface without end, so it gets it from here.
    let mut preface = [0; HTTP_2_PREFACE];
    timeout(limits.head, stream.read_exact(&mut preface)).await??;
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(Cursor::new(preface).chain(read), write);
    http_2(stream, peer, router, watcher, limits).await
}

async fn http_1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
    limits: Limits,
) -> Result<(), BoxError> {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // Clients made of shell and sed look for `Replay-Nonce:` letter by letter.
        .title_case_headers(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service(router, peer));
    Ok(watcher.watch(connection).await?)
}

async fn http_2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    watcher: Watcher,
    limits: Limits,
) -> Result<(), BoxError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(limits.head * 3)
        .keep_alive_timeout(limits.head);
    let connection = builder.serve_connection(TokioIo::new(stream), service(router, peer));
    Ok(watcher.watch(connection).await?)
}

/// The router, which is told who asks.
fn service(
    router: Router,
    peer: SocketAddr,
) -> impl hyper::service::Service<
    http::Request<Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send,
> {
    TowerToHyperService::new(router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    }))
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
