//! newAccount (RFC 8555 §7.3).

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Acme;
use super::account::account_object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{KeyRequest, Object};
use crate::acme::problem::ProblemType;
use crate::flow::{self, Error, NewAccount};

/// The members a client may set; all others are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    contact: Option<Vec<String>>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
}

pub(super) async fn new_account(
    State(acme): State<Arc<Acme>>,
    request: KeyRequest<Object<Fields>>,
) -> Result<Response, AcmeError> {
    let authority = &request.resource.authority;
    let fields = request.payload.0;
    let asked = NewAccount {
        jwk: request.key.canonical_json(),
        thumbprint: request.key.thumbprint(),
        contact: fields.contact.unwrap_or_default(),
        terms_agreed: fields.terms_of_service_agreed,
        only_return_existing: fields.only_return_existing,
    };
    let links = &request.resource.links;
    match flow::new_account(&acme.context, authority, asked).await {
        Ok((account, created)) => {
            let body = account_object(links, &account);
            let reply = if created { Reply::created(body) } else { Reply::ok(body) };
            Ok(reply.location(links.account(&account.id)).into_response())
        }
        Err(Error::Refused(problem)) if problem.kind == ProblemType::UserActionRequired => {
            let mut response = AcmeError::from(*problem).into_response();
            // RFC 8555 §7.3.3: the link that a person must follow.
            if let Some(terms) = &authority.meta.terms_of_service
                && let Ok(link) = links.relation("terms-of-service", terms).try_into()
            {
                response.headers_mut().append(header::LINK, link);
            }
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}
