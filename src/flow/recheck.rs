//! What must still hold when a certificate is about to be signed: CAA (RFC 8659 §3), and the records
//! that dns-persist-01 goes by.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::caa::{self, Proved};
use super::{Context, Error};
use crate::acme::challenge::ChallengeType;
use crate::acme::key_authorization::key_authorization;
use crate::acme::problem::{Problem, ProblemType, Subproblem};
use crate::ca::{Authority, CaaMode};
use crate::clock::Timestamp;
use crate::store::{NameToSign, PlannedCertificate};
use crate::validation::{Attempt, Outcome};

/// How long what CAA records said may be relied on.
const CAA_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Names that are looked at in the same moment.
const AT_ONCE: usize = 16;

/// Orders whose names are looked at in the same moment: three quarters of the places for issuance, so that
/// slow name servers never hold up those who need none.
static LOOKING: Semaphore = Semaphore::const_new(96);

/// How long it may take, in times that one attempt may take: none is begun after the first of them, and
/// a name takes two at most, one for its record and one for CAA.
pub(crate) const LONGEST_IN_ATTEMPTS: u32 = 3;

/// What stands in the way of signing.
pub(super) enum Objection {
    /// It will not change by itself.
    Refused(Problem),
    /// There was no answer: asking again may help.
    Unreachable(Problem),
}

/// Looks again at what may have changed since the names were proved. What was found to be in order is
/// not asked again for a while, so a slow resolver costs time, and no more. Ends within
/// [`LONGEST_IN_ATTEMPTS`].
pub(super) async fn recheck(
    context: &Context,
    authority: &Authority,
    order_id: &str,
    plan: &PlannedCertificate,
) -> Result<Option<Objection>, Error> {
    let methods = &plan.methods;
    let lasting = methods.contains(&ChallengeType::DnsPersist01);
    // Then nothing can have changed: no need to read what was proved.
    if authority.proof.caa == CaaMode::Off && !lasting && methods.len() == plan.identifiers.len() {
        return Ok(None);
    }
    let began = Instant::now();
    let names = context.store.names_to_sign(order_id).await?;
    let mut place = None;
    if names.iter().any(|name| asks_the_network(authority, name, context.clock.now())) {
        let Ok(taken) = LOOKING.try_acquire() else {
            let detail = "too many orders wait for name servers just now";
            return Ok(Some(Objection::Unreachable(Problem::new(ProblemType::Dns, detail))));
        };
        place = Some(taken);
    }
    let mut refused: Vec<Subproblem> = Vec::new();
    for some in names.chunks(AT_ONCE) {
        if began.elapsed() > context.validator.load().attempt_timeout() {
            let detail = "looking at the names of the order once more took too long";
            return Ok(Some(Objection::Unreachable(Problem::new(ProblemType::Dns, detail))));
        }
        let looks = some.iter().map(|name| look(context, authority, plan, name));
        for (name, found) in some.iter().zip(join_all(looks).await) {
            match found? {
                None | Some(Outcome::Proved(_)) => {}
                Some(Outcome::Refused(problem)) => refused.push(problem.about(&name.identifier)),
                Some(Outcome::Unreachable(problem)) => {
                    let detail = format!("{}: {}", name.identifier, problem.detail);
                    let problem = Problem { detail, ..problem };
                    return Ok(Some(Objection::Unreachable(problem)));
                }
            }
        }
    }
    drop(place);
    Ok(Problem::from_subproblems(refused).map(Objection::Refused))
}

/// Whether a look at the name asks anybody.
fn asks_the_network(authority: &Authority, name: &NameToSign, now: Timestamp) -> bool {
    let fresh = |at: Timestamp| now.since(at) < CAA_LIFETIME;
    name.method == ChallengeType::DnsPersist01
        || (authority.proof.caa != CaaMode::Off && !name.permitted_at.is_some_and(fresh))
}

/// What stands in the way of one name.
async fn look(
    context: &Context,
    authority: &Authority,
    plan: &PlannedCertificate,
    name: &NameToSign,
) -> Result<Option<Outcome>, Error> {
    let now = context.clock.now();
    let account_url = name.account_url.as_deref();
    // A record that is there to stay may be taken away at any time, and how long the answer to the last
    // question may be relied on is a matter of its TTL: asking again is simpler, and stricter.
    if name.method == ChallengeType::DnsPersist01 {
        let attempt = Attempt {
            method: name.method,
            identifier: &name.identifier,
            token: &name.token,
            key_authorization: &key_authorization(&name.token, &name.account_thumbprint),
            account_url,
            issuers: &authority.meta.caa_identities,
            now,
        };
        match context.validator.load().validate(attempt).await {
            Outcome::Proved(_) => {}
            other => return Ok(Some(other)),
        }
    }
    let fresh = |at: Timestamp| now.since(at) < CAA_LIFETIME;
    if authority.proof.caa == CaaMode::Off || name.permitted_at.is_some_and(fresh) {
        return Ok(None);
    }
    let proved = Proved {
        account_id: &plan.account_id,
        identifier: &name.identifier,
        method: name.method,
        account_url,
    };
    match caa::ask(context, authority, proved).await {
        None => Ok(None),
        Some(found) => caa::keep(context, authority, proved, found).await,
    }
}
