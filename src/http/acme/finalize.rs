//! finalize (RFC 8555 §7.4).

use std::sync::Arc;

use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::Acme;
use super::object::Object;
use super::order::order_reply;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::AcmeRequest;
use crate::acme::problem::{Problem, ProblemType};
use crate::flow;
use crate::ledger::Actor;

#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    csr: String,
}

pub(super) async fn finalize(
    State(acme): State<Arc<Acme>>,
    Path((_, id)): Path<(String, String)>,
    request: AcmeRequest<Object<Fields>>,
) -> Result<Reply, AcmeError> {
    let csr = URL_SAFE_NO_PAD.decode(&request.payload.0.csr).map_err(|_| {
        let detail = "the CSR is not base64url without padding of DER (RFC 8555 §7.4)";
        Problem::new(ProblemType::BadCsr, detail)
    })?;
    let authority = &request.resource.authority;
    let order = flow::finalize(&acme.context, authority, &request.account, &id, &csr).await;
    let actor = Actor::Account(request.account.id.clone());
    let order =
        flow::noting_refusal(&acme.context, &authority.id, actor, "finalize", order).await?;
    Ok(order_reply(&request.resource.links, &order, acme.context.clock.now()))
}
