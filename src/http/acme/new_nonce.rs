//! newNonce (RFC 8555 §7.2).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Acme;
use super::problem::AcmeError;
use super::request::{AccountRequest, AsGet};
use super::resource::{REPLAY_NONCE, Resource, fresh_nonce};

/// HEAD is answered with 200, GET with 204.
pub(super) async fn new_nonce(
    State(acme): State<Arc<Acme>>,
    Extension(resource): Extension<Resource>,
    method: Method,
) -> Result<Response, AcmeError> {
    let status = if method == Method::HEAD { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let nonce = fresh_nonce(&acme, &resource.authority)?;
    let no_store = HeaderValue::from_static("no-store");
    Ok((status, [(REPLAY_NONCE, nonce), (header::CACHE_CONTROL, no_store)]).into_response())
}

/// POST-as-GET, which RFC 8555 §6.3 wants to work here too; its answer has a nonce as that to every
/// POST.
pub(super) async fn new_nonce_as_post(_: AccountRequest<AsGet>) -> StatusCode {
    StatusCode::NO_CONTENT
}
