//! Accounts and their lists of orders (RFC 8555 §7.1.2, §7.3.2, §7.3.6).

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Acme;
use super::links::may_be_id;
use super::object::Object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{AccountRequest, AcmeRequest, AsGet};
use super::resource::Resource;
use crate::acme::account::Account;
use crate::acme::problem::{Problem, ProblemType};
use crate::clock::Timestamp;
use crate::flow;
use crate::store::OrdersCursor;

/// Orders on one page of the list.
const PAGE: usize = 100;

/// An account as its owner sees it (RFC 8555 §7.1.2).
pub(super) fn account_object(resource: &Resource, account: &Account) -> Value {
    let mut object = json!({
        "status": account.status().as_str(),
        "contact": account.contact,
        "orders": resource.links.orders(&account.id),
    });
    let terms = resource.authority.meta.terms_of_service.as_deref();
    if account.terms.is_some() && account.agreed_to(terms) {
        object["termsOfServiceAgreed"] = json!(true);
    }
    if let Some(binding) = &account.binding {
        object["externalAccountBinding"] = serde_json::from_str(&binding.jws).unwrap_or_default();
    }
    object
}

/// The members a client may change; all others are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Changes {
    contact: Option<Vec<String>>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    status: Option<String>,
}

pub(super) async fn account(
    State(acme): State<Arc<Acme>>,
    Path((_, id)): Path<(String, String)>,
    request: AccountRequest<Option<Object<Changes>>>,
) -> Result<Reply, AcmeError> {
    let Resource { authority, links } = &request.resource;
    let account = own(request.account, &id)?;
    let account = match request.payload {
        None => account,
        Some(Object(changes)) => match changes.status.as_deref() {
            None | Some("valid") => {
                let agreed = changes.terms_of_service_agreed;
                let contact = changes.contact;
                flow::update_account(&acme.context, authority, account, contact, agreed).await?
            }
            Some("deactivated") => flow::deactivate_account(&acme.context, account).await?,
            Some(other) => {
                let detail = format!("an account cannot become {other:?}, only \"deactivated\"");
                return Err(Problem::malformed(detail).into());
            }
        },
    };
    Ok(Reply::ok(account_object(&request.resource, &account)).location(links.account(&account.id)))
}

/// Where a page of the list begins.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    cursor: Option<String>,
}

pub(super) async fn orders(
    State(acme): State<Arc<Acme>>,
    Path((_, id)): Path<(String, String)>,
    query: Result<Query<PageQuery>, QueryRejection>,
    request: AcmeRequest<AsGet>,
) -> Result<Reply, AcmeError> {
    let links = &request.resource.links;
    let account = own(request.account, &id)?;
    let foreign = || Problem::malformed("the cursor is not one that this list gave out");
    let before = match query.map_err(|_| foreign())?.0.cursor {
        None => None,
        Some(text) => Some(read_cursor(&text).ok_or_else(foreign)?),
    };
    let now = acme.context.clock.now();
    let page = acme.context.store.orders_of(&account.id, now, before, PAGE).await?;
    let urls: Vec<_> = page.ids.iter().map(|id| links.order(id)).collect();
    let reply = Reply::ok(json!({ "orders": urls }));
    Ok(match page.next {
        None => reply,
        Some(next) => {
            let url = format!("{}?cursor={}", links.orders(&account.id), write_cursor(&next));
            reply.header(header::LINK, links.relation("next", &url))
        }
    })
}

/// The account may be read and changed only by itself.
fn own(account: Account, id: &str) -> Result<Account, Problem> {
    if account.id == id {
        return Ok(account);
    }
    let detail = "the request is signed by another account";
    Err(Problem::new(ProblemType::Unauthorized, detail))
}

fn write_cursor(cursor: &OrdersCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", cursor.created_at.unix_ms(), cursor.id))
}

fn read_cursor(text: &str) -> Option<OrdersCursor> {
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (created_at, id) = decoded.split_once('.')?;
    let created_at = Timestamp::from_unix_ms(created_at.parse().ok()?);
    may_be_id(id).then(|| OrdersCursor { created_at, id: id.to_owned() })
}
