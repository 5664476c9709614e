//! One line in the log, and a span, for each request; and its name, by which the two are found.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::acme::AnsweredProblem;
use super::admission::Caller;
use crate::telemetry::metrics::ListenerMetrics;
use crate::telemetry::traces;

/// Comes with every answer, and with requests from proxies that are trusted.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trace that a request belongs to (W3C Trace Context §3.2), from proxies that are trusted.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// A proxy's longer name for a request is not taken over.
const LONGEST_ID: usize = 64;

/// A request comes from a proxy that is trusted to name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FromTrustedProxy;

/// Stands outermost, so that it also tells of panics and of requests that took too long.
pub(super) async fn log_request(
    State(metrics): State<ListenerMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let _under_way = metrics.request();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_default();
    let peer = request.extensions().get::<Caller>().map(|caller| caller.address.to_string());
    let trusted = request.extensions().get::<FromTrustedProxy>().is_some();
    let id = request_id(request.headers(), trusted);
    // An error to the filter, so that whatever is logged has it around.
    let span = tracing::error_span!(
        "request",
        request_id = id,
        ca.id = Empty,
        account.id = Empty,
        order.id = Empty,
        authorization.id = Empty,
        challenge.id = Empty,
        certificate.id = Empty,
        serial = Empty,
        http.request.method = %method,
        http.route = route,
        url.path = path,
        http.response.status_code = Empty,
        otel.kind = "server",
        otel.name = format!("{method} {route}"),
        otel.status_code = Empty,
    );
    let parent = request.headers().get(TRACEPARENT).filter(|_| trusted);
    if let Some(parent) = parent.and_then(|parent| parent.to_str().ok()) {
        traces::follow(&span, parent);
    }
    note_ids(&span, &path);
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    let problem = response.extensions().get::<AnsweredProblem>().map(|problem| problem.0.name());
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
    span.in_scope(|| {
        tracing::info!(
            %method,
            path,
            peer,
            status,
            problem,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    });
    metrics.http.answered(&route, status, problem, elapsed);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// As a trusted proxy calls it, else a name of its own.
fn request_id(headers: &HeaderMap, trusted: bool) -> String {
    let given = headers.get(REQUEST_ID).filter(|_| trusted).and_then(|id| id.to_str().ok());
    let fit = |id: &&str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(known)
    };
    match given.filter(fit) {
        Some(given) => given.to_owned(),
        None => own_name(),
    }
}

/// Unlike that of any other request, here or at another instance, and it tells nobody how many there were. It
/// is no secret, so no randomness is drawn for it, which would take longer than all else about the name.
fn own_name() -> String {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let halves = [0, 1].map(|half: u8| SECRET.hash_one((number, half)).to_be_bytes());
    URL_SAFE_NO_PAD.encode(halves.concat())
}

/// What a path below a CA is about. Whoever asks may write anything there: what cannot be an id is not
/// taken for one.
fn note_ids(span: &tracing::Span, path: &str) {
    let mut parts = path.split('/').skip(1);
    if parts.next() != Some("acme") {
        return;
    }
    let of_ours = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let is_id = |id: &&str| !id.is_empty() && id.len() <= LONGEST_ID && id.bytes().all(of_ours);
    let Some(ca) = parts.next().filter(is_id) else { return };
    span.record("ca.id", ca);
    let field = match parts.next() {
        Some("account") => "account.id",
        Some("order") => "order.id",
        Some("authz") => "authorization.id",
        Some("chall") => "challenge.id",
        Some("cert") => "certificate.id",
        _ => return,
    };
    if let Some(id) = parts.next().filter(is_id) {
        span.record(field, id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn headers(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap())])
    }

    #[test]
    fn a_trusted_proxy_names_a_request_and_nobody_else_does() {
        assert_eq!(request_id(&headers("f00-1.2:3_4"), true), "f00-1.2:3_4");
        for refused in ["", "a b", "a\tb", "ü", "a\"b", &"a".repeat(65)] {
            let own = request_id(&headers(refused), true);
            assert!(own != refused && own.len() >= 16, "{refused:?} became {own:?}");
        }
        assert_ne!(request_id(&headers("f00"), false), "f00");
    }

    #[test]
    fn no_two_requests_have_one_name() {
        let names: HashSet<_> = (0..1000).map(|_| request_id(&HeaderMap::new(), true)).collect();
        assert_eq!(names.len(), 1000);
    }
}
