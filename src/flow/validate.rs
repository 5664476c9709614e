//! One leased attempt to validate a challenge (RFC 8555 §7.5.1, §8), concluded or put off.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::attest::{self, Attestation};
use super::caa::{self, Proved};
use super::{Context, Error};
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{Challenge, ChallengeResult, ChallengeType};
use crate::acme::key_authorization::key_authorization;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::{Lease, ToValidate};
use crate::validation::{Attempt, Evidence, Outcome};

/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A client that waits is told of it, in `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// While the CA is not configured.
const PAUSE_WITHOUT_CA: Duration = Duration::from_secs(30);

pub(crate) async fn validate(context: &Context, lease: Lease) -> Result<(), Error> {
    let Some(work) = context.store.to_validate(lease.subject()).await? else {
        return Ok(context.store.discard(lease).await?);
    };
    validate_known(context, lease, work).await
}

/// As [`validate`], where it is known what there is to validate.
pub(crate) async fn validate_known(
    context: &Context,
    lease: Lease,
    work: ToValidate,
) -> Result<(), Error> {
    let authorization = &work.authorization;
    let span = tracing::Span::current();
    span.record("ca.id", &authorization.ca);
    span.record("account.id", &authorization.account_id);
    span.record("authorization.id", &authorization.id);
    let Some(challenge) = authorization.challenges.first() else {
        return Ok(context.store.discard(lease).await?);
    };
    let decided = authorization.concluded_by.is_some()
        || authorization.status(context.clock.now()) != AuthorizationStatus::Pending;
    if decided {
        return Ok(context.store.discard(lease).await?);
    }
    let authorities = context.authorities.load_full();
    let Some(authority) = authorities.get(&authorization.ca) else {
        // What it demands of a proof is not known; it may come back.
        let due_at = context.clock.now().plus(PAUSE_WITHOUT_CA);
        return Ok(context.store.postpone(lease, due_at).await?);
    };
    let mut attested_key = None;
    let outcome = if authority.offers(challenge.kind) {
        let began = Instant::now();
        let outcome = if challenge.kind == ChallengeType::DeviceAttest01 {
            match attest::look(authority, &work, challenge, context.clock.now()) {
                Ok(Attestation { evidence, key }) => {
                    attested_key = Some(key);
                    Outcome::Proved(Evidence { text: evidence })
                }
                Err(problem) => Outcome::Refused(problem),
            }
        } else {
            attempt(context, authority, &work, challenge).await?
        };
        let took = began.elapsed();
        context.metrics.validation.attempted(challenge.kind.as_str(), outcome.name(), took);
        outcome
    } else {
        Outcome::Refused(no_longer_offered(challenge))
    };
    let (result, evidence) = match outcome {
        Outcome::Proved(evidence) => {
            (ChallengeResult::Proved { at: context.clock.now() }, Some(evidence.text))
        }
        Outcome::Refused(problem) => (ChallengeResult::Failed { problem }, None),
        Outcome::Unreachable(problem) => {
            let attempts = lease.attempt();
            let problem = with_entry(challenge, authorization, problem);
            if attempts < context.limits.load().validation_attempts {
                return put_off(context, lease, authorization, &problem).await;
            }
            let detail = format!("{} (after {attempts} attempts)", problem.detail);
            (ChallengeResult::Failed { problem: Problem { detail, ..problem } }, None)
        }
    };
    tracing::info!(
        ca.id = authorization.ca,
        account.id = authorization.account_id,
        authorization.id = authorization.id,
        identifier = %authorization.identifier,
        challenge = challenge.kind.as_str(),
        proved = matches!(result, ChallengeResult::Proved { .. }),
        evidence,
        problem = match &result {
            ChallengeResult::Failed { problem } => Some(problem.detail.as_str()),
            ChallengeResult::Proved { .. } => None,
        },
        "challenge validated"
    );
    let entry = entry_of(authorization, challenge, &result, evidence.as_deref(), context);
    let store = &context.store;
    let concluded = match attested_key {
        None => store.conclude_challenge(&lease, &result, evidence, &entry).await?,
        Some(key) => store.conclude_attestation(&lease, &result, evidence, key, &entry).await?,
    };
    if !concluded {
        // Another challenge decided first, or this lease lapsed and another worker has it.
        context.store.discard(lease).await?;
    }
    Ok(())
}

fn entry_of(
    authorization: &Authorization,
    challenge: &Challenge,
    result: &ChallengeResult,
    evidence: Option<&str>,
    context: &Context,
) -> Entry {
    let (kind, at, problem) = match result {
        ChallengeResult::Proved { at } => (Kind::AuthorizationValid, *at, None),
        ChallengeResult::Failed { problem } => {
            (Kind::AuthorizationInvalid, context.clock.now(), Some(problem))
        }
    };
    Entry::new(kind, Actor::Kipuka, authorization.id.as_str(), at)
        .ca(&authorization.ca)
        .with("account", authorization.account_id.as_str())
        .with("identifier", authorization.identifier.to_string())
        .with("subdomains", authorization.subdomains)
        .with("method", challenge.kind.as_str())
        .with("token", challenge.token.as_str())
        .with("evidence", evidence)
        .with("problem", problem.map(|problem| json!(problem.kind)))
        .with("detail", problem.map(|problem| problem.detail.as_str()))
}

/// What became of a challenge that was begun before its type was taken out of what the CA offers.
fn no_longer_offered(challenge: &Challenge) -> Problem {
    let detail = format!("this CA no longer offers {}; place a new order", challenge.kind.as_str());
    Problem::new(ProblemType::Unauthorized, detail)
}

/// Looks at the proof and, at the same time, at what CAA records say; both must be in order.
async fn attempt(
    context: &Context,
    authority: &Authority,
    work: &ToValidate,
    challenge: &Challenge,
) -> Result<Outcome, Error> {
    let authorization = &work.authorization;
    let proved = Proved {
        account_id: &authorization.account_id,
        identifier: &authorization.identifier,
        method: challenge.kind,
        account_url: challenge.account_url.as_deref(),
    };
    let validator = context.validator.load();
    let key_authorization = key_authorization(&challenge.token, &work.account_thumbprint);
    let proof = validator.validate(Attempt {
        method: challenge.kind,
        identifier: &authorization.identifier,
        token: &challenge.token,
        key_authorization: &key_authorization,
        account_url: proved.account_url,
        issuers: &authority.meta.caa_identities,
        now: context.clock.now(),
    });
    let (proof, caa) = tokio::join!(proof, caa::ask(context, authority, proved));
    match (proof, caa) {
        (Outcome::Proved(evidence), Some(found)) => {
            let objection = caa::keep(context, authority, proved, found).await?;
            Ok(objection.unwrap_or(Outcome::Proved(evidence)))
        }
        (proof, _) => Ok(proof),
    }
}

/// The problem, with an entry for each query that failed until now (RFC 8555 §8.2).
fn with_entry(challenge: &Challenge, authorization: &Authorization, problem: Problem) -> Problem {
    let earlier = challenge.retry.as_ref().map(|retry| retry.problem.subproblems.clone());
    let mut subproblems = earlier.unwrap_or_default();
    subproblems.push(problem.about(&authorization.identifier));
    Problem { subproblems, ..problem }
}

async fn put_off(
    context: &Context,
    lease: Lease,
    authorization: &Authorization,
    problem: &Problem,
) -> Result<(), Error> {
    tracing::info!(
        ca.id = authorization.ca,
        authorization.id = authorization.id,
        attempt = lease.attempt(),
        detail = problem.detail,
        "validation put off"
    );
    let due_at = context.clock.now().plus(pause_after(lease.attempt()));
    Ok(context.store.retry_validation(lease, problem, due_at).await?)
}

fn pause_after(attempt: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_short_however_many_attempts_are_made() {
        for (attempt, pause_s) in
            [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (20, 30), (u32::MAX, 30)]
        {
            assert_eq!(pause_after(attempt), Duration::from_secs(pause_s), "{attempt}");
        }
    }
}
