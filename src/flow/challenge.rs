//! The client says that a challenge is ready (RFC 8555 §7.5.1).

use super::at_once::to_its_end;
use super::{Context, Error, not_found};
use crate::acme::account::Account;
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{Challenge, ChallengeType};
use crate::acme::problem::{Problem, ProblemType};
use crate::store::{ToValidate, WorkKind};

/// Queues the validation by an account that calls itself `account_url`, unless that was done before,
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
    let response = object.filter(|_| is_attested);
    let waiter = context.store.waiter(WorkKind::Validation, challenge_id);
    let hold = context.limits.load().hold;
    let store = &context.store;
    let begun = match response {
        // What a device attests is read by whoever claims it.
        Some(object) => store.begin_attestation(challenge_id, account_url, object, now).await?,
        None => {
            take_on(context, &authorization, challenge, account, account_url).await?
                || store.begin_challenge(challenge_id, account_url, now).await?
        }
    };
    if begun {
        // A proof stands, whatever else becomes of the authorization.
        if let Some(at) = waiter.wait_for_ours(hold).await?
            && !is_attested
        {
            return Ok(authorization.proved_by(challenge_id, at));
        }
    } else {
        waiter.wait(hold).await?;
    }
    context
        .store
        .authorization(&authorization.ca, &authorization.id)
        .await?
        .ok_or_else(|| not_found("challenge"))
}

/// Begins the challenge and has it validated here and now; `false` where nothing was begun.
async fn take_on(
    context: &Context,
    authorization: &Authorization,
    challenge: &Challenge,
    account: &Account,
    account_url: &str,
) -> Result<bool, Error> {
    let most = context.limits.load().at_once_per_account;
    let Some(place) = context.at_once.validations.place(&account.id, most) else {
        return Ok(false);
    };
    let (store, entropy) = (context.store.clone(), context.entropy);
    let (now, lease) = (context.clock.now(), context.limits.load().validation_lease);
    let (account, account_url) = (account.clone(), account_url.to_owned());
    let (authorization, challenge) = (authorization.clone(), challenge.clone());
    to_its_end(async move {
        let id = &challenge.id;
        let begun =
            store.begin_and_lease_challenge(id, &account_url, &account, now, lease, entropy);
        let Some(lease) = begun.await? else { return Ok(false) };
        let challenge =
            Challenge { begun_at: Some(now), account_url: Some(account_url), ..challenge };
        let known = ToValidate {
            authorization: Authorization { challenges: vec![challenge], ..authorization },
            account_thumbprint: account.thumbprint,
            response: None,
        };
        if let Some(lease) = place.hand_over(lease, known) {
            store.postpone(lease, now).await?;
        }
        Ok(true)
    })
    .await
}
