//! The client says that a challenge is ready (RFC 8555 §7.5.1).

use super::at_once::NoPlace;
use super::validate::Unbegun;
use super::{Context, Error, not_found};
use crate::acme::account::Account;
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{Challenge, ChallengeType};
use crate::acme::problem::{Problem, ProblemType};
use crate::store::{Begin, ToValidate, WorkKind};

/// Has the challenge validated for an account that calls itself `account_url`, unless that was done before,
/// and returns the authorization as it stands when the result is there or has been waited for long
/// enough.
#[tracing::instrument(
    target = "kipuka::spans",
    level = "trace",
    name = "flow begin_challenge",
    skip_all
)]
pub(crate) async fn begin_challenge(
    context: &Context,
    authorization: Authorization,
    challenge_id: &str,
    account: &Account,
    account_url: &str,
) -> Result<Authorization, Error> {
    begin(context, authorization, challenge_id, account, account_url, None).await
}

/// The same with a device's attestation object, for device-attest-01.
pub(crate) async fn begin_attestation(
    context: &Context,
    authorization: Authorization,
    challenge_id: &str,
    account: &Account,
    account_url: &str,
    object: Vec<u8>,
) -> Result<Authorization, Error> {
    begin(context, authorization, challenge_id, account, account_url, Some(object)).await
}

async fn begin(
    context: &Context,
    authorization: Authorization,
    challenge_id: &str,
    account: &Account,
    account_url: &str,
    object: Option<Vec<u8>>,
) -> Result<Authorization, Error> {
    let now = context.clock.now();
    let challenge = authorization.challenges.iter().find(|challenge| challenge.id == challenge_id);
    let Some(challenge) = challenge else { return Err(not_found("challenge")) };
    // Said again of a challenge that is under way or done: the answer is its state, no error.
    if challenge.begun_at.is_some() {
        return Ok(authorization);
    }
    match authorization.status(now) {
        AuthorizationStatus::Pending => {}
        AuthorizationStatus::Valid => return Ok(authorization),
        other => {
            let detail = format!("the authorization is {}; place a new order", other.as_str());
            return Err(Problem::malformed(detail).into());
        }
    }
    // The authorization may be older than the list of what is offered.
    let authorities = context.authorities.load_full();
    let offered = authorities
        .get(&authorization.ca)
        .is_some_and(|authority| authority.offers(challenge.kind));
    if !offered {
        let detail = format!(
            "this CA no longer offers {}: answer another challenge, or place a new order",
            challenge.kind.as_str()
        );
        return Err(Problem::malformed(detail).into());
    }
    let is_attested = challenge.kind == ChallengeType::DeviceAttest01;
    if is_attested && object.is_none() {
        let detail =
            "device-attest-01 is answered with an attestation object: \"attObj\", in base64url";
        return Err(Problem::new(ProblemType::BadAttestationStatement, detail).into());
    }
    let waiter = context.store.waiter(WorkKind::Validation, challenge_id);
    let hold = context.limits.load().hold;
    let begin = Begin {
        challenge_id: challenge.id.clone(),
        account_url: account_url.to_owned(),
        response: object.filter(|_| is_attested),
        at: now,
    };
    let at_once = match &begin.response {
        // What a device attests is read by whoever claims it.
        Some(_) => None,
        None => begin_at_once(context, &authorization, challenge, account, &begin).await?,
    };
    let begun = match at_once {
        Some(begun) => begun,
        None => context.store.begin_challenge(begin).await?,
    };
    let proved_at = if begun {
        waiter.wait_for_ours(hold).await?
    } else {
        waiter.wait(hold).await?;
        None
    };
    // A proof stands, whatever else becomes of the authorization.
    if let Some(at) = proved_at.filter(|_| !is_attested) {
        return Ok(authorization.proved_by(challenge_id, at));
    }
    context
        .store
        .authorization(&authorization.ca, &authorization.id)
        .await?
        .ok_or_else(|| not_found("challenge"))
}

/// Has the challenge begun and validated here and now. Returns whether it has begun; `None` where the list has
/// the last word, as there is no place, or another request is at it.
async fn begin_at_once(
    context: &Context,
    authorization: &Authorization,
    challenge: &Challenge,
    account: &Account,
    begin: &Begin,
) -> Result<Option<bool>, Error> {
    let (id, validations) = (&challenge.id, &context.at_once.validations);
    let (most, soon) = {
        let limits = context.limits.load();
        (limits.at_once_per_account, limits.soon)
    };
    let place = match validations.place(id, &account.id, most) {
        Ok(place) => place,
        Err(NoPlace::Busy) => {
            // A moment later it is written what came of it, so that no further attempt is made.
            validations.until_free(id, soon * 4).await;
            return Ok(None);
        }
        Err(NoPlace::List) => return Ok(None),
    };
    let lease = context.store.new_lease(WorkKind::Validation, id, &account.id, context.entropy)?;
    let (claim, begin) = (lease.claim(), begin.clone());
    let work = ToValidate {
        authorization: Authorization { challenges: Vec::new(), ..authorization.clone() },
        challenge: Challenge {
            begun_at: Some(begin.at),
            account_url: Some(begin.account_url.clone()),
            ..challenge.clone()
        },
        account_thumbprint: account.thumbprint.clone(),
        response: None,
    };
    match place.hand_over(claim, |told| Unbegun { begin, lease, work, told }).await {
        Ok(begun) => begun.map(Some),
        Err(_) => Ok(None),
    }
}
