//! newOrder (RFC 8555 §7.4).

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use super::Acme;
use super::object::Object;
use super::order::order_object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::AcmeRequest;
use super::resource::Resource;
use crate::acme::problem::Problem;
use crate::clock::Timestamp;
use crate::flow::{self, AskedIdentifier, NewOrderRequest};
use crate::ledger::Actor;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    identifiers: Vec<Object<IdentifierFields>>,
    not_before: Option<String>,
    not_after: Option<String>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentifierFields {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    /// RFC 9444 §4.3.
    ancestor_domain: Option<String>,
}

impl Fields {
    fn read(self) -> Result<NewOrderRequest, Problem> {
        let asked = |Object(fields)| {
            let IdentifierFields { kind, value, ancestor_domain } = fields;
            AskedIdentifier { kind, value, ancestor_domain }
        };
        Ok(NewOrderRequest {
            identifiers: self.identifiers.into_iter().map(asked).collect(),
            not_before: self.not_before.map(|text| read_date("notBefore", &text)).transpose()?,
            not_after: self.not_after.map(|text| read_date("notAfter", &text)).transpose()?,
            profile: self.profile,
            replaces: self.replaces,
        })
    }
}

fn read_date(name: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::from_rfc3339(text).ok_or_else(|| {
        Problem::malformed(format!(
            "{name} is not a date of RFC 3339, such as \"2030-01-31T00:00:00Z\""
        ))
    })
}

pub(super) async fn new_order(
    State(acme): State<Arc<Acme>>,
    request: AcmeRequest<Object<Fields>>,
) -> Result<Reply, AcmeError> {
    let Resource { authority, links } = &request.resource;
    let asked = request.payload.0.read()?;
    let order = flow::new_order(&acme.context, authority, &request.account, asked).await;
    let actor = Actor::Account(request.account.id.clone());
    let order =
        flow::noting_refusal(&acme.context, &authority.id, actor, "newOrder", order).await?;
    tracing::Span::current().record("order.id", &order.id);
    let body = order_object(links, &order, acme.context.clock.now());
    Ok(Reply::created(body).location(links.order(&order.id)))
}
