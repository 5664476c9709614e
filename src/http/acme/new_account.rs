//! newAccount (RFC 8555 §7.3).

use std::sync::Arc;

use axum::extract::{Extension, State};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Acme;
use super::account::account_object;
use super::object::Object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::KeyRequest;
use super::resource::Resource;
use crate::flow::{self, NewAccount};
use crate::http::admission::Caller;
use crate::ledger::Actor;

/// The members a client may set; all others are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    contact: Option<Vec<String>>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Box<RawValue>>,
}

pub(super) async fn new_account(
    State(acme): State<Arc<Acme>>,
    Extension(caller): Extension<Caller>,
    request: KeyRequest<Object<Fields>>,
) -> Result<Reply, AcmeError> {
    let fields = request.payload.0;
    let asked = NewAccount {
        key: request.key,
        contact: fields.contact.unwrap_or_default(),
        terms_agreed: fields.terms_of_service_agreed,
        only_return_existing: fields.only_return_existing,
        external_account_binding: fields.external_account_binding.map(|raw| raw.get().to_owned()),
        url: request.url,
        network: caller.counted(),
    };
    let Resource { authority, links } = &request.resource;
    let done = flow::new_account(&acme.context, authority, asked).await;
    let done =
        flow::noting_refusal(&acme.context, &authority.id, Actor::Stranger, "newAccount", done);
    let (account, created) = done.await?;
    let body = account_object(&request.resource, &account);
    let reply = if created { Reply::created(body) } else { Reply::ok(body) };
    Ok(reply.location(links.account(&account.id)))
}
