//! One attempt to validate a challenge (RFC 8555 §7.5.1, §8), concluded or put off.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::at_once::{Told, nothing_written};
use super::attest::{self, Attestation};
use super::caa::{self, Proved};
use super::{Context, Error};
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{Challenge, ChallengeResult, ChallengeType};
use crate::acme::key_authorization::key_authorization;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::{Begin, Conclusion, Lease, NewLease, StoreError, ToValidate};
use crate::validation::{Attempt, Evidence, Outcome};

/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A client that waits is told of it, in `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// While the CA is not configured.
const PAUSE_WITHOUT_CA: Duration = Duration::from_secs(30);

/// A challenge whose client has just said that it is ready, and of which nothing is written yet.
pub(crate) struct Unbegun {
    pub(super) begin: Begin,
    pub(super) lease: NewLease,
    /// With the challenge as it is once it has begun.
    pub(super) work: ToValidate,
    pub(super) told: Told,
}

/// Validates a challenge before it is written that it has begun: what is there soon is written together with
/// that, in one transaction. Killed before, nothing was promised to anybody; the client asks again.
pub(crate) async fn validate_unbegun(context: &Context, unbegun: Unbegun) -> Result<(), Error> {
    let Unbegun { begin, lease, work, told } = unbegun;
    name_in_span(&work.authorization);
    let (soon, long) = {
        let limits = context.limits.load();
        (limits.soon, limits.validation_lease)
    };
    let (store, key) = (&context.store, &work.account_thumbprint);
    let mut judging = pin!(judge(context, &work, lease.attempt()));
    let mut verdict = tokio::time::timeout(soon, &mut judging).await.ok();
    if let Some(Ok(Verdict::Decided(conclusion))) = &verdict {
        let entry = entry_of(context, &work, conclusion);
        let begun = store.begin_and_conclude_challenge(begin.clone(), key, conclusion, &entry);
        return match begun.await {
            Ok(true) => {
                log(&work, conclusion);
                let _ = told.send(Ok(true));
                Ok(())
            }
            Ok(false) => begin_anew(context, begin, told).await,
            Err(error) => Err(fail(context, told, error)),
        };
    }
    let begun = {
        let mut begun = pin!(store.begin_and_lease_challenge(begin.clone(), key, lease, long));
        // The attempt has timers of its own, and goes on meanwhile.
        loop {
            tokio::select! {
                begun = &mut begun => break begun,
                judged = &mut judging, if verdict.is_none() => verdict = Some(judged),
            }
        }
    };
    let lease = match begun {
        Ok(Some(lease)) => lease,
        Ok(None) => return begin_anew(context, begin, told).await,
        Err(error) => return Err(fail(context, told, error)),
    };
    let _ = told.send(Ok(true));
    let verdict = match verdict {
        Some(verdict) => verdict?,
        None => judging.await?,
    };
    conclude(context, lease, &work, verdict).await
}

/// What was found does not count: the account has another key by now, or somebody was first. An attempt was
/// made all the same, so the challenge has begun if it still may, and goes on the list.
async fn begin_anew(context: &Context, begin: Begin, told: Told) -> Result<(), Error> {
    match context.store.begin_challenge(begin).await {
        Ok(begun) => {
            let _ = told.send(Ok(begun));
            Ok(())
        }
        Err(error) => Err(fail(context, told, error)),
    }
}

fn fail(context: &Context, told: Told, error: StoreError) -> Error {
    context.at_once.validations.pause();
    nothing_written(told, error)
}

pub(crate) async fn validate(context: &Context, lease: Lease) -> Result<(), Error> {
    let Some(work) = context.store.to_validate(lease.subject()).await? else {
        return Ok(context.store.discard(lease).await?);
    };
    let authorization = &work.authorization;
    name_in_span(authorization);
    let decided = authorization.concluded_by.is_some()
        || authorization.status(context.clock.now()) != AuthorizationStatus::Pending;
    if decided {
        return Ok(context.store.discard(lease).await?);
    }
    let verdict = judge(context, &work, lease.attempt()).await?;
    conclude(context, lease, &work, verdict).await
}

/// What an attempt came to.
enum Verdict {
    Decided(Conclusion),
    /// There was no answer, and another attempt is to be made.
    NoAnswer(Problem),
    /// What it demands of a proof is not known; it may come back.
    CaIsAway,
}

async fn judge(context: &Context, work: &ToValidate, attempt: u32) -> Result<Verdict, Error> {
    let ToValidate { authorization, challenge, .. } = work;
    let authorities = context.authorities.load_full();
    let Some(authority) = authorities.get(&authorization.ca) else { return Ok(Verdict::CaIsAway) };
    let mut attested_key = None;
    let outcome = if authority.offers(challenge.kind) {
        let began = Instant::now();
        let outcome = if challenge.kind == ChallengeType::DeviceAttest01 {
            match attest::look(authority, work, context.clock.now()) {
                Ok(Attestation { evidence, key }) => {
                    attested_key = Some(key);
                    Outcome::Proved(Evidence { text: evidence })
                }
                Err(problem) => Outcome::Refused(problem),
            }
        } else {
            look(context, authority, work).await?
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
            let problem = with_entry(challenge, authorization, problem);
            if attempt < context.limits.load().validation_attempts {
                return Ok(Verdict::NoAnswer(problem));
            }
            let detail = format!("{} (after {attempt} attempts)", problem.detail);
            (ChallengeResult::Failed { problem: Problem { detail, ..problem } }, None)
        }
    };
    Ok(Verdict::Decided(Conclusion { result, evidence, attested_key }))
}

/// Writes what the attempt came to.
async fn conclude(
    context: &Context,
    lease: Lease,
    work: &ToValidate,
    verdict: Verdict,
) -> Result<(), Error> {
    let conclusion = match verdict {
        Verdict::Decided(conclusion) => conclusion,
        Verdict::NoAnswer(problem) => {
            return put_off(context, lease, &work.authorization, &problem).await;
        }
        Verdict::CaIsAway => {
            let due_at = context.clock.now().plus(PAUSE_WITHOUT_CA);
            return Ok(context.store.postpone(lease, due_at).await?);
        }
    };
    let entry = entry_of(context, work, &conclusion);
    if context.store.conclude_challenge(&lease, &conclusion, &entry).await? {
        log(work, &conclusion);
    } else {
        // Another challenge decided first, or this lease lapsed and another worker has it.
        context.store.discard(lease).await?;
    }
    Ok(())
}

fn log(work: &ToValidate, Conclusion { result, evidence, .. }: &Conclusion) {
    let ToValidate { authorization, challenge, .. } = work;
    let problem = match result {
        ChallengeResult::Proved { .. } => None,
        ChallengeResult::Failed { problem } => Some(problem.detail.as_str()),
    };
    tracing::info!(
        ca.id = authorization.ca,
        account.id = authorization.account_id,
        authorization.id = authorization.id,
        identifier = %authorization.identifier,
        challenge = challenge.kind.as_str(),
        proved = problem.is_none(),
        evidence,
        problem,
        "challenge validated"
    );
}

fn name_in_span(authorization: &Authorization) {
    let span = tracing::Span::current();
    span.record("ca.id", &authorization.ca);
    span.record("account.id", &authorization.account_id);
    span.record("authorization.id", &authorization.id);
}

fn entry_of(context: &Context, work: &ToValidate, conclusion: &Conclusion) -> Entry {
    let ToValidate { authorization, challenge, .. } = work;
    let (kind, at, problem) = match &conclusion.result {
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
        .with("evidence", conclusion.evidence.as_deref())
        .with("problem", problem.map(|problem| json!(problem.kind)))
        .with("detail", problem.map(|problem| problem.detail.as_str()))
}

/// What became of a challenge that was begun before its type was taken out of what the CA offers.
fn no_longer_offered(challenge: &Challenge) -> Problem {
    let detail = format!("this CA no longer offers {}; place a new order", challenge.kind.as_str());
    Problem::new(ProblemType::Unauthorized, detail)
}

/// Looks at the proof and, at the same time, at what CAA records say; both must be in order.
async fn look(
    context: &Context,
    authority: &Authority,
    work: &ToValidate,
) -> Result<Outcome, Error> {
    let ToValidate { authorization, challenge, .. } = work;
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
