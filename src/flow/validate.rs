//! One leased attempt to validate a challenge (RFC 8555 §7.5.1, §8), concluded or put off.

use std::time::Duration;

use super::{Context, Error};
use crate::acme::authorization::AuthorizationStatus;
use crate::acme::challenge::{ChallengeResult, ChallengeType};
use crate::acme::key_authorization::key_authorization;
use crate::acme::problem::Problem;
use crate::store::Lease;
use crate::validation::{Attempt, Method, Outcome};

/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn validate(context: &Context, lease: Lease) -> Result<(), Error> {
    let Some(work) = context.store.to_validate(lease.subject()).await? else {
        return Ok(context.store.discard(lease).await?);
    };
    let authorization = &work.authorization;
    let Some(challenge) = authorization.challenges.first() else {
        return Ok(context.store.discard(lease).await?);
    };
    let decided = authorization.concluded_by.is_some()
        || authorization.status(context.clock.now()) != AuthorizationStatus::Pending;
    if decided {
        return Ok(context.store.discard(lease).await?);
    }
    let outcome = context
        .validator
        .load()
        .validate(Attempt {
            method: match challenge.kind {
                ChallengeType::Http01 => Method::Http01,
                ChallengeType::Dns01 => Method::Dns01,
                ChallengeType::TlsAlpn01 => Method::TlsAlpn01,
            },
            identifier: &authorization.identifier,
            token: &challenge.token,
            key_authorization: &key_authorization(&challenge.token, &work.account_thumbprint),
        })
        .await;
    let now = context.clock.now();
    let (result, evidence) = match outcome {
        Outcome::Proved(evidence) => (ChallengeResult::Proved { at: now }, Some(evidence.text)),
        Outcome::Refused(problem) => (ChallengeResult::Failed { problem }, None),
        Outcome::Unreachable(problem)
            if lease.attempt() < context.limits.load().validation_attempts =>
        {
            let pause = FIRST_PAUSE * 2_u32.saturating_pow(lease.attempt() - 1);
            tracing::info!(
                ca.id = authorization.ca,
                authorization.id = authorization.id,
                attempt = lease.attempt(),
                detail = problem.detail,
                "validation put off"
            );
            return Ok(context.store.postpone(lease, now.plus(pause)).await?);
        }
        Outcome::Unreachable(problem) => {
            let attempts = lease.attempt();
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
    if !context.store.conclude_challenge(&lease, &result, evidence).await? {
        // Another challenge decided first, or this lease lapsed and another worker has it.
        context.store.discard(lease).await?;
    }
    Ok(())
}
