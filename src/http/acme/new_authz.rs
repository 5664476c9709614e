//! newAuthz (RFC 8555 §7.4.1).

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use super::Acme;
use super::authorization::authorization_object;
use super::object::Object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::AcmeRequest;
use super::resource::Resource;
use crate::flow::{self, AskedIdentifier};
use crate::ledger::Actor;

#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    identifier: Object<IdentifierFields>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentifierFields {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    /// RFC 9444 §4.2.
    #[serde(default)]
    subdomain_auth_allowed: bool,
}

pub(super) async fn new_authz(
    State(acme): State<Arc<Acme>>,
    request: AcmeRequest<Object<Fields>>,
) -> Result<Reply, AcmeError> {
    let Resource { authority, links } = &request.resource;
    let IdentifierFields { kind, value, subdomain_auth_allowed } = request.payload.0.identifier.0;
    let asked = AskedIdentifier { kind, value, ancestor_domain: None };
    let account = &request.account;
    let authorization =
        flow::new_authz(&acme.context, authority, account, asked, subdomain_auth_allowed).await;
    let actor = Actor::Account(account.id.clone());
    let authorization =
        flow::noting_refusal(&acme.context, &authority.id, actor, "newAuthz", authorization)
            .await?;
    let body = authorization_object(&request.resource, &authorization, acme.context.clock.now());
    Ok(Reply::created(body).location(links.authorization(&authorization.id)))
}
