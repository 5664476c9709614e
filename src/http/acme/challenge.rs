//! Challenges (RFC 8555 §7.1.5, §7.5.1).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Acme;
use super::links::Links;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::{AcmeRequest, Object};
use crate::acme::challenge::{Challenge, ChallengeStatus};
use crate::flow;

/// When to ask again for a validation in progress; in seconds.
pub(super) const RETRY_AFTER_S: u32 = 2;

/// What says that the client is ready; older clients put a `keyAuthorization` in it.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {}

/// A challenge as its account sees it (RFC 8555 §7.1.5, §8).
pub(super) fn challenge_object(links: &Links, challenge: &Challenge) -> Value {
    let status = challenge.status();
    let mut object = json!({
        "type": challenge.kind.as_str(),
        "url": links.challenge(&challenge.id),
        "status": status.as_str(),
        "token": challenge.token,
    });
    match status {
        ChallengeStatus::Valid { at } => object["validated"] = json!(at),
        ChallengeStatus::Invalid { problem } => object["error"] = json!(problem),
        ChallengeStatus::Pending | ChallengeStatus::Processing => {}
    }
    object
}

pub(super) async fn challenge(
    State(acme): State<Arc<Acme>>,
    Path((ca, id)): Path<(String, String)>,
    request: AcmeRequest<Option<Object<Ready>>>,
) -> Result<Reply, AcmeError> {
    let links = &request.resource.links;
    let authorization = acme.context.store.authorization_of_challenge(&ca, &id).await?;
    let mut authorization = authorization
        .filter(|authorization| authorization.account_id == request.account.id)
        .ok_or_else(|| flow::not_found("challenge"))?;
    // An empty payload reads the challenge (POST-as-GET); an object begins it.
    if request.payload.is_some() {
        authorization = flow::begin_challenge(&acme.context, authorization, &id).await?;
    }
    let challenge = authorization
        .challenges
        .iter()
        .find(|challenge| challenge.id == id)
        .ok_or_else(|| flow::not_found("challenge"))?;
    let up = links.relation("up", &links.authorization(&authorization.id));
    let reply = Reply::ok(challenge_object(links, challenge)).header(header::LINK, up);
    Ok(match challenge.status() {
        ChallengeStatus::Processing => reply.retry_after_s(RETRY_AFTER_S),
        _ => reply,
    })
}
