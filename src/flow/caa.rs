//! CAA records are asked whether a CA may issue for a name (RFC 8659).

use super::{Context, Error};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::ca::{Authority, CaaMode};
use crate::ledger::{Actor, Entry, Kind};
use crate::store::CaaCheck;
use crate::validation::{CaaQuestion, Outcome};

/// A name that an account proved, or is about to prove.
#[derive(Clone, Copy)]
pub(super) struct Proved<'a> {
    pub(super) account_id: &'a str,
    pub(super) identifier: &'a Identifier,
    pub(super) method: ChallengeType,
    pub(super) account_url: Option<&'a str>,
}

/// What CAA records say of the name; `None` where they are not asked: for this CA or, since there is no
/// tree to climb, for an address.
pub(super) async fn ask(
    context: &Context,
    authority: &Authority,
    proved: Proved<'_>,
) -> Option<Outcome> {
    if authority.proof.caa == CaaMode::Off || proved.identifier.dns_name().is_none() {
        return None;
    }
    let question = CaaQuestion {
        identifier: proved.identifier,
        issuers: &authority.meta.caa_identities,
        account_url: proved.account_url,
        method: proved.method,
    };
    Some(context.validator.load().check_caa(question).await)
}

/// Keeps what was found. What stands in the way of the certificate is returned; where the CA only
/// reports, nothing does.
pub(super) async fn keep(
    context: &Context,
    authority: &Authority,
    proved: Proved<'_>,
    found: Outcome,
) -> Result<Option<Outcome>, Error> {
    let (permits, evidence) = match &found {
        Outcome::Proved(evidence) => (true, evidence.text.as_str()),
        Outcome::Refused(problem) | Outcome::Unreachable(problem) => {
            (false, problem.detail.as_str())
        }
    };
    context.metrics.validation.caa_checked(match &found {
        Outcome::Proved(_) => "permitted",
        Outcome::Refused(_) => "forbidden",
        Outcome::Unreachable(_) => "unreachable",
    });
    // No answer says nothing: it neither permits nor forbids.
    if !matches!(found, Outcome::Unreachable(_)) {
        let now = context.clock.now();
        let check = CaaCheck {
            id: context.entropy.id_of(now.unix_ms())?,
            account_id: proved.account_id.to_owned(),
            identifier: proved.identifier.clone(),
            method: proved.method,
            checked_at: now,
            permits,
            evidence: evidence.to_owned(),
        };
        let name = check.identifier.to_string();
        let entry = Entry::new(Kind::CaaChecked, Actor::Kipuka, name, check.checked_at)
            .ca(&authority.id)
            .with("account", proved.account_id)
            .with("method", proved.method.as_str())
            .with("permits", permits)
            .with("enforced", authority.proof.caa == CaaMode::Enforce)
            .with("evidence", evidence);
        context.store.keep_caa_check(&check, &entry).await?;
    }
    let enforced = authority.proof.caa == CaaMode::Enforce;
    if permits {
        tracing::info!(
            ca.id = authority.id,
            account.id = proved.account_id,
            identifier = %proved.identifier,
            evidence,
            "CAA permits"
        );
    } else {
        tracing::warn!(
            ca.id = authority.id,
            account.id = proved.account_id,
            identifier = %proved.identifier,
            enforced,
            detail = evidence,
            "CAA does not permit"
        );
    }
    Ok((enforced && !permits).then_some(found))
}
