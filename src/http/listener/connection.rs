//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use super::activity::{Activity, UnderWay};
use super::sending::Sending;
use super::{Limits, proxy};
use crate::http::admission::Admission;
use crate::http::request_log::FromTrustedProxy;
use crate::telemetry::metrics::ListenerMetrics;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a connection is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) admission: Arc<Admission>,
    pub(super) metrics: ListenerMetrics,
}

/// How a connection learns that it had better end, and how the listener learns that it has.
pub(super) struct Stop {
    pub(super) watcher: Watcher,
    pub(super) stopped: watch::Receiver<bool>,
    /// Whether idle connections are in the way of others.
    pub(super) scarce: watch::Receiver<bool>,
}

pub(super) async fn serve(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    service: Service,
    stop: Stop,
) -> Result<(), BoxError> {
    let limits = service.limits;
    let local = stream.local_addr().ok().map(|address| address.ip().to_canonical());
    stream.set_nodelay(true)?;
    if service.admission.speaks_proxy_protocol(peer.ip())
        && let Some(client) = timeout(limits.head, proxy::read(&mut stream)).await??
    {
        peer = client;
    }
    let Some(_connected) = service.admission.connect(peer.ip()) else {
        return Err("the address has as many connections as it may".into());
    };
    // Whoever takes nothing of an answer for so long is cut.
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(limits.write));
    let admission = service.admission;
    let sending = limits.sending;
    let conversation = |version| {
        let activity = Arc::default();
        Arc::new(Conversation { version, activity, sending, admission, peer, local })
    };
    match service.acceptor {
        None => http(stream, conversation(None), service.router, limits, stop).await,
        Some(acceptor) => {
            let handshake = timeout(limits.head, acceptor.accept(stream)).await;
            let stream = handshake
                .map_err(BoxError::from)
                .and_then(|done| done.map_err(BoxError::from))
                .inspect_err(|_| service.metrics.handshake_failed())?;
            // Without a word on it, it is HTTP/1.1 (RFC 9113 §3.3).
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            };
            http(stream, conversation(Some(version)), service.router, limits, stop).await
        }
    }
}

/// Who speaks, and what about.
struct Conversation {
    /// Of HTTP, where the handshake agreed on one.
    version: Option<Version>,
    activity: Arc<Activity>,
    sending: Duration,
    admission: Arc<Admission>,
    peer: SocketAddr,
    local: Option<IpAddr>,
}

impl Conversation {
    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        mut router: Router,
    ) -> Result<Response<Sending>, Infallible> {
        let Self { activity, sending, admission, peer, local, .. } = &*self;
        let under_way = UnderWay::begin(activity);
        let response = match admission.caller(*peer, *local, request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                if admission.makes_requests(peer.ip()) {
                    request.extensions_mut().insert(FromTrustedProxy);
                }
                router.call(request).await?
            }
            Err(error) => {
                tracing::warn!(%peer, %error, "a request was refused: nobody knows whose it is");
                (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
            }
        };
        Ok(response.map(|body| Sending::new(body, under_way, *sending)))
    }
}

/// Speaks HTTP of the version that the handshake agreed on, or else of the one that the client begins with:
/// to look for that costs a buffer of 8 KiB more for as long as the connection lasts.
async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    conversation: Arc<Conversation>,
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
        // What one connection can have the server keep: of bodies that nobody reads yet, and of answers
        // that nobody takes.
        .initial_stream_window_size(limits.window)
        .initial_connection_window_size(limits.window)
        .max_send_buf_size(usize::try_from(limits.window).unwrap_or(usize::MAX))
        .keep_alive_interval(limits.head * 3)
        .keep_alive_timeout(limits.head);
    let version = conversation.version;
    let builder = match version {
        None => builder,
        Some(Version::HTTP_2) => builder.http2_only(),
        Some(_) => builder.http1_only(),
    };
    let activity = Arc::clone(&conversation);
    let activity = &activity.activity;
    // A layer would make every route anew, for each connection.
    let service =
        service_fn(move |request| Arc::clone(&conversation).answer(request, router.clone()));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let leave = GracefulShutdown::new();
    let mut connection = pin!(leave.watch(connection));
    // hyper counts no time before it knows the version, nor during an HTTP/2 handshake.
    let nothing_asked = async {
        tokio::time::sleep(limits.head).await;
        if !activity.is_without_a_request() {
            pending::<()>().await;
        }
    };
    let Stop { watcher, mut stopped, scarce } = stop;
    let idle = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = nothing_asked => return Err("no request came in time".into()),
        () = activity.is_overdue(limits.sending) => return Err("an answer was not taken in time".into()),
        () = activity.idle_for(limits.idle, limits.scarce, scarce) => true,
        _ = stopped.wait_for(|stopped| *stopped) => false,
    };
    // hyper says no farewell before it has the client's preface, however long that takes.
    if version == Some(Version::HTTP_2) && activity.is_without_a_request() {
        return Ok(());
    }
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
        true => timeout(limits.head, left).await?,
        // The listener counts the time.
        false => left.await,
    };
    drop(watcher);
    ended
}
