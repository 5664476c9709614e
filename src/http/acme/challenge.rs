//! Challenges (RFC 8555 §7.1.5, §7.5.1).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Acme;
use super::object::Object;
use super::problem::AcmeError;
use super::reply::Reply;
use super::request::AcmeRequest;
use super::resource::Resource;
use crate::acme::authorization::Authorization;
use crate::acme::challenge::{Challenge, ChallengeResult, ChallengeStatus, ChallengeType};
use crate::acme::problem::{Problem, ProblemType};
use crate::attestation::MAX_LENGTH;
use crate::clock::Timestamp;
use crate::flow;

/// When to ask again for a validation in progress; in seconds.
pub(super) const RETRY_AFTER_S: u32 = 2;

/// What says that the client is ready; older clients put a `keyAuthorization` in it.
#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    /// Of device-attest-01: a WebAuthn attestation object, in base64url.
    #[serde(rename = "attObj")]
    attestation: Option<String>,
}

/// A challenge as its account sees it (RFC 8555 §7.1.5, §8).
pub(super) fn challenge_object(
    resource: &Resource,
    authorization: &Authorization,
    challenge: &Challenge,
    now: Timestamp,
) -> Value {
    let status = authorization.challenge_status(challenge, now);
    let mut object = json!({
        "type": challenge.kind.as_str(),
        "url": resource.links.challenge(&challenge.id),
        "status": status.as_str(),
    });
    if challenge.kind == ChallengeType::DnsPersist01 {
        object["issuer-domain-names"] = json!(resource.authority.meta.caa_identities);
    } else {
        object["token"] = json!(challenge.token);
    }
    match status {
        ChallengeStatus::Valid { at } => object["validated"] = json!(at),
        ChallengeStatus::Invalid { problem } => object["error"] = json!(problem),
        ChallengeStatus::Overtaken => {
            let detail = "it is not validated any more: another challenge decided, or the \
                          authorization was given up or has expired";
            object["error"] = json!(Problem::new(ProblemType::Unauthorized, detail));
        }
        ChallengeStatus::Processing => {
            if let Some(retry) = &challenge.retry {
                object["error"] = json!(retry.problem);
            }
        }
        ChallengeStatus::Pending => {}
    }
    object
}

/// When a challenge may have changed (RFC 8555 §8.2): after the next attempt, where one is planned.
fn retry_after_s(challenge: &Challenge, now: Timestamp) -> u32 {
    let until_next = challenge.retry.as_ref().map_or(Duration::ZERO, |retry| retry.at.since(now));
    let seconds = until_next.as_millis().div_ceil(1000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(RETRY_AFTER_S)
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
    tracing::Span::current().record("authorization.id", &authorization.id);
    // An empty payload reads the challenge (POST-as-GET); an object begins it.
    let begins = request.payload.is_some();
    if let Some(Object(Ready { attestation })) = request.payload {
        let account = &request.account;
        let account_url = links.account(&account.id);
        authorization = match attestation_object(attestation)? {
            None => {
                flow::begin_challenge(&acme.context, authorization, &id, account, &account_url)
                    .await?
            }
            Some(object) => {
                let context = &acme.context;
                flow::begin_attestation(context, authorization, &id, account, &account_url, object)
                    .await?
            }
        };
    }
    let challenge = authorization
        .challenges
        .iter()
        .find(|challenge| challenge.id == id)
        .ok_or_else(|| flow::not_found("challenge"))?;
    // The draft has a client told of a bad statement by the answer's own status (§5).
    if let (true, ChallengeType::DeviceAttest01, Some(ChallengeResult::Failed { problem })) =
        (begins, challenge.kind, &challenge.result)
    {
        return Err(problem.clone().into());
    }
    let up = links.relation("up", &links.authorization(&authorization.id));
    let now = acme.context.clock.now();
    let object = challenge_object(&request.resource, &authorization, challenge, now);
    let reply = Reply::ok(object).header(header::LINK, up);
    Ok(match authorization.challenge_status(challenge, now) {
        ChallengeStatus::Processing => reply.retry_after_s(retry_after_s(challenge, now)),
        _ => reply,
    })
}

/// The bytes of `attObj`, where the client sent one.
fn attestation_object(text: Option<String>) -> Result<Option<Vec<u8>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let bad = |detail: &str| Problem::new(ProblemType::BadAttestationStatement, detail);
    // Four characters are three octets.
    if text.len() / 4 * 3 > MAX_LENGTH {
        return Err(bad("\"attObj\" is longer than any attestation object that is read here"));
    }
    let decoded = URL_SAFE_NO_PAD.decode(&text);
    decoded.map(Some).map_err(|_| bad("\"attObj\" is not base64url without padding"))
}
