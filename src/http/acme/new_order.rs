//! newOrder (RFC 8555 §7.4).

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use super::Acme;
use super::order::order_object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{AcmeRequest, Object};
use crate::acme::problem::Problem;
use crate::flow;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    identifiers: Vec<IdentifierFields>,
    not_before: Option<serde_json::Value>,
    not_after: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct IdentifierFields {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

pub(super) async fn new_order(
    State(acme): State<Arc<Acme>>,
    request: AcmeRequest<Object<Fields>>,
) -> Result<Reply, AcmeError> {
    let fields = request.payload.0;
    if fields.not_before.is_some() || fields.not_after.is_some() {
        let detail = "this CA sets the dates itself; leave out notBefore and notAfter";
        return Err(Problem::malformed(detail).into());
    }
    let asked: Vec<_> = fields
        .identifiers
        .into_iter()
        .map(|identifier| (identifier.kind, identifier.value))
        .collect();
    let order = flow::new_order(&acme.context, &request.account, &asked).await?;
    let links = &request.resource.links;
    let body = order_object(links, &order, acme.context.clock.now());
    Ok(Reply::created(body).location(links.order(&order.id)))
}
