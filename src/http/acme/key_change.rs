//! keyChange (RFC 8555 §7.3.5): a request of the new key within one of the old key.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Acme;
use super::account::account_object;
use super::authenticate::verify;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{AccountRequest, Raw, problem_of};
use crate::acme::problem::Problem;
use crate::flow::{self, NewKey};
use crate::jose::jws::{self, JwsError, KeyReference};
use crate::jose::key_change::KeyChange;

pub(super) async fn key_change(
    State(acme): State<Arc<Acme>>,
    request: AccountRequest<Raw>,
) -> Result<Response, AcmeError> {
    let links = &request.resource.links;
    let account = request.account;
    let malformed = |what: String| AcmeError::from(Problem::malformed(what));
    let inner = jws::parse(&request.payload.0).map_err(|error| inner_problem(&error))?;
    let KeyReference::Jwk(new_key) = inner.key() else {
        let detail = "the inner JWS must have a \"jwk\", the new key, and no \"kid\"";
        return Err(malformed(detail.to_owned()));
    };
    if inner.nonce().is_some() {
        return Err(malformed("the inner JWS must not have a \"nonce\"".to_owned()));
    }
    if inner.url() != request.url {
        let detail = "the \"url\" of the inner JWS is not that of the outer";
        return Err(malformed(detail.to_owned()));
    }
    let new_key = new_key.clone();
    let inner = verify(&acme, &new_key, inner, "the inner JWS's signature is not the new key's");
    let inner = inner.await?;
    let object = KeyChange::read(inner.payload()).map_err(|error| {
        malformed(format!("the payload of the inner JWS is no keyChange object: {error}"))
    })?;
    if object.account != links.account(&account.id) {
        let detail = "\"account\" is not the URL of the account that signed the request";
        return Err(malformed(detail.to_owned()));
    }
    match flow::change_key(&acme.context, account, &object.old_key, &new_key).await? {
        NewKey::Taken(account) => {
            let body = account_object(&request.resource, &account);
            Ok(Reply::ok(body).location(links.account(&account.id)).into_response())
        }
        NewKey::InUse(id) => {
            let detail = "the new key has an account already; make another key";
            let problem = Problem::malformed(detail).with_status(409);
            let mut response = AcmeError::from(problem).into_response();
            // A URL of our own making: its base was checked when it was taken.
            if let Ok(url) = HeaderValue::try_from(links.account(&id)) {
                response.headers_mut().insert(header::LOCATION, url);
            }
            Ok(response)
        }
    }
}

fn inner_problem(error: &JwsError) -> Problem {
    let problem = problem_of(error);
    Problem { detail: format!("the inner JWS: {}", problem.detail), ..problem }
}
