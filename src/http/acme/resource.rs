//! What every ACME resource has in common: its CA, its base URL, and the headers of its answers.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{OriginalUri, RawPathParams, Request, State};
use axum::http::uri::Authority as HostAndPort;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Acme;
use super::links::Links;
use super::problem::{AcmeError, no_such_resource};
use crate::acme::problem::Problem;
use crate::ca::Authority;
use crate::flow::Error;
use crate::http::admission::Caller;

pub(super) const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// The CA that a request's path selects, and the URLs of its resources.
#[derive(Clone)]
pub(super) struct Resource {
    pub(super) authority: Arc<Authority>,
    pub(super) links: Links,
}

/// Finds the CA, and gives every answer its `Link` to the directory (RFC 8555 §7.1) and, to every
/// POST, whatever became of it, a fresh nonce (RFC 8555 §6.5).
pub(super) async fn resource(
    State(acme): State<Arc<Acme>>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // Nested routers see the path without its prefix.
    let original = request.extensions().get::<OriginalUri>().map(|original| original.path());
    let ca = original.and_then(|path| path.split('/').nth(2)).unwrap_or_default();
    let Some(authority) = acme.context.authorities.load().get(ca).cloned() else {
        let problem = Problem::malformed("there is no CA at this URL").with_status(404);
        return AcmeError::from(problem).into_response();
    };
    let wants_nonce = request.method() == Method::POST;
    let is_directory = request.uri().path().ends_with("/directory");
    let caller = request.extensions().get::<Caller>().copied();
    let admitted = caller.as_ref().map_or(Ok(()), |caller| acme.admission.admit_address(caller));
    let local = caller.and_then(|caller| caller.local);
    let base = base_url(&acme, local, request.uri(), request.headers());
    let mut response = match admitted.and(base) {
        Err(problem) => AcmeError::from(problem).into_response(),
        Ok(base) => {
            let links = Links::new(base, &authority.id);
            // No id is other than text without U+0000, of which Postgres takes none.
            let may_exist =
                params.is_ok_and(|params| params.iter().all(|(_, value)| !value.contains('\0')));
            let mut response = if may_exist {
                let authority = Arc::clone(&authority);
                request.extensions_mut().insert(Resource { authority, links: links.clone() });
                next.run(request).await
            } else {
                no_such_resource().await.into_response()
            };
            if !is_directory
                && let Ok(link) = HeaderValue::try_from(links.relation("index", &links.directory()))
            {
                response.headers_mut().append(header::LINK, link);
            }
            response
        }
    };
    if wants_nonce {
        match fresh_nonce(&acme, &authority) {
            Ok(nonce) => {
                response.headers_mut().insert(REPLAY_NONCE, nonce);
                let no_store = HeaderValue::from_static("no-store");
                response.headers_mut().entry(header::CACHE_CONTROL).or_insert(no_store);
            }
            Err(error) => return AcmeError::from(error).into_response(),
        }
    }
    response
}

/// A nonce for the next request.
pub(super) fn fresh_nonce(acme: &Acme, authority: &Authority) -> Result<HeaderValue, Error> {
    let now = acme.context.clock.now();
    let id = acme.context.store.nonce_id(now, acme.context.entropy)?;
    acme.context.metrics.acme.nonce_issued();
    let nonce = acme.nonces.make(&authority.id, now, id);
    HeaderValue::try_from(nonce).map_err(|error| Error::Failed(error.to_string()))
}

/// The configured base, or what the request calls this host, if that is a name of it.
fn base_url(
    acme: &Acme,
    local: Option<IpAddr>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<String, Problem> {
    if let Some(base) = &acme.external_url {
        return Ok(base.clone());
    }
    let (host, name) = asked_host(uri, headers)
        .ok_or_else(|| Problem::malformed("the request has no usable Host"))?;
    // Whoever gets a client to send its requests to another name gets no answer that would do there.
    if acme.certificate.is_host(&name, local) {
        return Ok(format!("https://{host}"));
    }
    let detail = format!(
        "this server is not {name}: neither does its certificate name that host, nor does it listen \
         there; ask for it by one of its names, or have its operator set external_url in [server] to \
         \"https://{host}\""
    );
    // Misdirected (RFC 9110 §15.5.20).
    Err(Problem::malformed(detail).with_status(421))
}

/// The host with its port as the request gives it, and the name in it.
fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<(String, String)> {
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    let parsed: HostAndPort = host.parse().ok()?;
    // Nothing but a host and a port: no user name that would end up in every URL.
    let port = host.strip_prefix(parsed.host())?;
    let usable =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (usable && !parsed.host().is_empty()).then(|| (host.to_owned(), parsed.host().to_owned()))
}
