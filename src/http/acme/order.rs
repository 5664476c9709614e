//! Orders (RFC 8555 §7.1.3, §7.4).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Acme;
use super::links::Links;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{AcmeRequest, AsGet};
use crate::acme::order::{Order, OrderStatus};
use crate::clock::Timestamp;
use crate::flow;

/// When to ask again for an order in progress; in seconds.
const RETRY_AFTER_S: u32 = 2;

/// An order as its account sees it (RFC 8555 §7.1.3). `finalize` is there in every status: clients
/// read it when they get round to it.
pub(super) fn order_object(links: &Links, order: &Order, now: Timestamp) -> Value {
    let status = order.status(now);
    let identifiers: Vec<_> = order
        .identifiers
        .iter()
        .map(|identifier| json!({ "type": identifier.kind(), "value": identifier.value() }))
        .collect();
    // One may stand for several identifiers.
    let mut seen = BTreeSet::new();
    let authorizations: Vec<_> = order
        .authorizations
        .iter()
        .filter(|authorization| seen.insert(&authorization.id))
        .map(|authorization| links.authorization(&authorization.id))
        .collect();
    let mut object = json!({
        "status": status.as_str(),
        "expires": order.expires_at,
        "identifiers": identifiers,
        "authorizations": authorizations,
        "finalize": links.finalize(&order.id),
    });
    for (member, value) in [
        ("notBefore", order.not_before.map(|time| time.to_string())),
        ("notAfter", order.not_after.map(|time| time.to_string())),
        ("profile", order.profile.clone()),
        ("replaces", order.replaces.clone()),
    ] {
        if let Some(value) = value {
            object[member] = json!(value);
        }
    }
    match status {
        OrderStatus::Valid { certificate_id } => {
            object["certificate"] = json!(links.certificate(&certificate_id));
        }
        OrderStatus::Invalid { problem } => object["error"] = json!(problem),
        OrderStatus::Pending | OrderStatus::Ready | OrderStatus::Processing => {}
    }
    object
}

/// The answer that shows an order; one in progress says when to ask again.
pub(super) fn order_reply(links: &Links, order: &Order, now: Timestamp) -> Reply {
    let reply = Reply::ok(order_object(links, order, now)).location(links.order(&order.id));
    match order.status(now) {
        OrderStatus::Processing => reply.retry_after_s(RETRY_AFTER_S),
        _ => reply,
    }
}

pub(super) async fn order(
    State(acme): State<Arc<Acme>>,
    Path((ca, id)): Path<(String, String)>,
    request: AcmeRequest<AsGet>,
) -> Result<Reply, AcmeError> {
    let order = acme.context.store.order(&ca, &id).await?;
    let order = order
        .filter(|order| order.account_id == request.account.id)
        .ok_or_else(|| flow::not_found("order"))?;
    Ok(order_reply(&request.resource.links, &order, acme.context.clock.now()))
}
