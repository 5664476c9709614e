//! revokeCert (RFC 8555 §7.6).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Acme;
use super::object::Object;
use super::problem::AcmeError;
use super::request::{SignedBy, SignedRequest};
use crate::acme::problem::Problem;
use crate::flow::{self, Revoker};
use crate::ledger::Actor;

#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    certificate: String,
    reason: Option<i64>,
}

/// 200 and nothing more once the revocation is stored; the CRL follows.
pub(super) async fn revoke_cert(
    State(acme): State<Arc<Acme>>,
    request: SignedRequest<Object<Fields>>,
) -> Result<StatusCode, AcmeError> {
    let fields = &request.payload.0;
    let der = URL_SAFE_NO_PAD.decode(&fields.certificate).map_err(|_| {
        let detail = "the \"certificate\" is not base64url without padding of DER (RFC 8555 §7.6)";
        Problem::malformed(detail)
    })?;
    let revoker = match &request.signed_by {
        SignedBy::Account(account) => Revoker::Account(account),
        SignedBy::Key(key) => Revoker::Key(key),
    };
    let authority = &request.resource.authority;
    let actor = match &request.signed_by {
        SignedBy::Account(account) => Actor::Account(account.id.clone()),
        SignedBy::Key(_) => Actor::Stranger,
    };
    let done = flow::revoke_cert(&acme.context, authority, revoker, &der, fields.reason).await;
    flow::noting_refusal(&acme.context, &authority.id, actor, "revokeCert", done).await?;
    Ok(StatusCode::OK)
}
