//! What every ACME resource has in common: its CA, its base URL, and the headers of its answers.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::http::uri::Authority as HostAndPort;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Acme;
use super::links::Links;
use super::problem::AcmeError;
use crate::acme::problem::Problem;
use crate::ca::Authority;
use crate::flow::Error;

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
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let ca = params.iter().find(|(name, _)| *name == "ca").map_or("", |(_, value)| value);
    let Some(authority) = acme.context.authorities.load().get(ca).cloned() else {
        let problem = Problem::malformed("there is no CA at this URL").with_status(404);
        return AcmeError::from(problem).into_response();
    };
    let Some(base) = base_url(&acme, request.uri(), request.headers()) else {
        let problem = Problem::malformed("the request has no usable Host");
        return AcmeError::from(problem).into_response();
    };
    let links = Links::new(base, &authority.id);
    let wants_nonce = request.method() == Method::POST;
    let is_directory = request.uri().path().ends_with("/directory");
    request
        .extensions_mut()
        .insert(Resource { authority: Arc::clone(&authority), links: links.clone() });
    let mut response = next.run(request).await;
    if !is_directory
        && let Ok(link) = HeaderValue::try_from(links.relation("index", &links.directory()))
    {
        response.headers_mut().append(header::LINK, link);
    }
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
    let random = acme.context.entropy.bytes()?;
    acme.nonces
        .make(&authority.id, acme.context.clock.now(), random)
        .map_err(|error| error.to_string())
        .and_then(|nonce| HeaderValue::try_from(nonce).map_err(|error| error.to_string()))
        .map_err(Error::Failed)
}

/// The configured base, or what the request calls this host.
fn base_url(acme: &Acme, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(base) = &acme.external_url {
        return Some(base.clone());
    }
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    let parsed: HostAndPort = host.parse().ok()?;
    // Nothing but a host and a port: no user name that would end up in every URL.
    (!host.contains('@') && !parsed.host().is_empty()).then(|| format!("https://{host}"))
}
