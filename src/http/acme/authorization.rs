//! Authorizations (RFC 8555 §7.1.4, §7.5, §7.5.2).

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Acme;
use super::challenge::{RETRY_AFTER_S, challenge_object};
use super::object::Object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::AcmeRequest;
use super::resource::Resource;
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::problem::Problem;
use crate::clock::Timestamp;
use crate::flow;

#[derive(Debug, Deserialize)]
pub(super) struct Changes {
    status: Option<String>,
}

/// An authorization as its account sees it (RFC 8555 §7.1.4): the name without `*.`, which a member
/// of its own tells.
pub(super) fn authorization_object(
    resource: &Resource,
    authorization: &Authorization,
    now: Timestamp,
) -> Value {
    let identifier = &authorization.identifier;
    let challenges: Vec<_> = authorization
        .visible_challenges()
        .into_iter()
        .map(|challenge| challenge_object(resource, authorization, challenge, now))
        .collect();
    let mut object = json!({
        "status": authorization.status(now).as_str(),
        "expires": authorization.expires_at,
        "identifier": { "type": identifier.kind(), "value": identifier.base() },
        "challenges": challenges,
    });
    if identifier.is_wildcard() {
        object["wildcard"] = json!(true);
    }
    if authorization.subdomains {
        object["subdomainAuthAllowed"] = json!(true);
    }
    object
}

pub(super) async fn authorization(
    State(acme): State<Arc<Acme>>,
    Path((ca, id)): Path<(String, String)>,
    request: AcmeRequest<Option<Object<Changes>>>,
) -> Result<Reply, AcmeError> {
    let authorization = acme.context.store.authorization(&ca, &id).await?;
    let mut authorization = authorization
        .filter(|authorization| authorization.account_id == request.account.id)
        .ok_or_else(|| flow::not_found("authorization"))?;
    if let Some(Object(changes)) = request.payload {
        authorization = match changes.status.as_deref() {
            Some("deactivated") => {
                flow::deactivate_authorization(&acme.context, authorization).await?
            }
            _ => {
                let detail =
                    "an authorization can only be deactivated: {\"status\":\"deactivated\"}";
                return Err(Problem::malformed(detail).into());
            }
        };
    }
    let now = acme.context.clock.now();
    let reply = Reply::ok(authorization_object(&request.resource, &authorization, now));
    Ok(match authorization.status(now) {
        AuthorizationStatus::Pending => reply.retry_after_s(RETRY_AFTER_S),
        _ => reply,
    })
}
