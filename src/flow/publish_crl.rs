//! The CRLs of one issuer are signed and published (RFC 5280 §5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Error};
use crate::ca::{Authorities, Authority, CrlTerms, SignFailure};
use crate::clock::Timestamp;
use crate::ledger::{self, Actor, Entry, Kind};
use crate::signer::Health;
use crate::store::{CrlPlan, Lease, PublishedCrl, RevokedSerial};
use crate::x509::profile::BACKDATE_S;
use crate::x509::revocation_list::{Entry as RevokedEntry, Reason};
use crate::x509::serial::Serial;

/// How soon after a CRL the next one may follow: revocations that come in a burst share one.
const BETWEEN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// While its signer is down the work is not claimed at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long to leave work alone whose CA is not configured here.
const PAUSE_WITHOUT_CA: Duration = Duration::from_secs(30);
/// How long a plan that could not be signed is worth signing still.
const PLAN_LIFETIME: Duration = Duration::from_secs(3600);
/// How long an expired certificate stays on the list after a CRL told of it that was issued beyond its
/// validity (RFC 5280 §3.3): longer than a revocation can be under way.
const AFTER_EXPIRY: Duration = Duration::from_secs(3600);

/// Signs a CRL with each key of the issuer, which is one unless a CA is changing its key.
pub(crate) async fn publish_crl(context: &Context, lease: Lease) -> Result<(), Error> {
    let authorities = context.authorities.load_full();
    let signers = signers_of(&authorities, lease.subject());
    if signers.is_empty() {
        let why = "no CA of this name that may sign CRLs is configured";
        return put_off(context, lease, why, PAUSE_WITHOUT_CA).await;
    }
    let mut failed = None;
    for authority in signers {
        match publish(context, &lease, authority).await? {
            Ended::Published => {}
            Ended::TooSoon(due_at) => return Ok(context.store.postpone(lease, due_at).await?),
            Ended::LeaseLost => return Ok(()),
            Ended::Failed(why) => failed = Some(why),
        }
    }
    match failed {
        Some(why) => {
            let doubled = 2_u32.saturating_pow(lease.attempt().min(16) - 1);
            let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
            put_off(context, lease, &why, pause).await
        }
        None => Ok(context.store.settle_crl(lease, context.clock.now()).await?),
    }
}

/// Puts those CRLs on the list whose time has come.
pub(crate) async fn schedule_crls(context: &Context) -> Result<(), Error> {
    let now = context.clock.now();
    let mut seen = BTreeSet::new();
    for authority in context.authorities.load_full().iter() {
        let Some(validity) = authority.crl_validity else { continue };
        let (issuer, signing_key) = (authority.crl_issuer(), authority.signing_key());
        // The first of several with one certificate signs for all.
        if !seen.insert((issuer.clone(), signing_key.clone())) {
            continue;
        }
        let published = context.store.published_crl(&issuer, &signing_key).await?;
        if !published.is_none_or(|published| is_due(published, validity, now)) {
            continue;
        }
        if let Health::Down(why) = authority.signer.health() {
            let until = published.map(|published| published.next_update.to_string());
            tracing::error!(ca.id = authority.id, why, until, "a CRL waits for its key");
        }
        context.store.schedule_crl(&issuer, now).await?;
    }
    Ok(())
}

/// Half of its validity is left for whoever has to mend a token. Where another validity was configured,
/// a CRL that has it is due.
fn is_due(published: PublishedCrl, validity: Duration, now: Timestamp) -> bool {
    let lifetime = published.next_update.since(published.this_update);
    lifetime != validity || now >= published.this_update.plus(validity / 2)
}

/// The CAs of this issuer's name, one for each key.
fn signers_of<'a>(authorities: &'a Authorities, issuer: &str) -> Vec<&'a Arc<Authority>> {
    let mut keys = BTreeSet::new();
    authorities
        .iter()
        .filter(|authority| authority.crl_validity.is_some() && authority.crl_issuer() == issuer)
        .filter(|authority| keys.insert(authority.signing_key()))
        .collect()
}

enum Ended {
    Published,
    /// Another has just been published; this one is due then.
    TooSoon(Timestamp),
    LeaseLost,
    Failed(String),
}

async fn publish(context: &Context, lease: &Lease, authority: &Authority) -> Result<Ended, Error> {
    let store = &context.store;
    let (issuer, signing_key) = (lease.subject(), authority.signing_key());
    let Some(validity) = authority.crl_validity else { return Ok(Ended::Published) };
    let now = context.clock.now();
    let published = store.published_crl(issuer, &signing_key).await?;
    if let Some(published) = published {
        if !lease.was_asked_for() && !is_due(published, validity, now) {
            // Another instance saw to it.
            return Ok(Ended::Published);
        }
        let due_at = published.signed_at.plus(BETWEEN);
        // A clock that was set back must not hold up a revocation.
        if now < due_at && now >= published.signed_at {
            return Ok(Ended::TooSoon(due_at));
        }
    }
    // What a list before this one told of after it had expired need not be told again.
    let since = published.map_or(Timestamp::from_unix_ms(0), |published| {
        Timestamp::from_unix_s(published.this_update.unix_s() - AFTER_EXPIRY.as_secs() as i64)
    });
    let revoked = store.revoked_by(issuer, since).await?;
    let entries = revoked.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let failed = |error: &dyn std::fmt::Display| Error::Failed(error.to_string());
    // Left behind by an attempt that got no signature: the same bytes are signed, if they are still
    // what is to be said.
    if let Some(planned) = store.planned_crl(issuer, &signing_key).await?
        && now.since(planned.this_update) < PLAN_LIFETIME
    {
        let terms = CrlTerms {
            number: planned.number,
            this_update: planned.this_update,
            next_update: planned.next_update,
        };
        let linted = authority.prepare_crl(terms, &entries).map_err(|error| failed(&error))?;
        if linted.der() == planned.tbs {
            return sign(context, lease, authority, terms, linted, entries.len()).await;
        }
    }
    // As certificates: for clients whose clock is a little slow.
    let this_update = Timestamp::from_unix_s(now.unix_s() - BACKDATE_S);
    let terms = CrlTerms {
        number: store.highest_crl_number(issuer).await? + 1,
        this_update,
        next_update: this_update.plus(validity),
    };
    let linted = authority.prepare_crl(terms, &entries).map_err(|error| failed(&error))?;
    let plan = CrlPlan {
        number: terms.number,
        signing_key,
        this_update: terms.this_update,
        next_update: terms.next_update,
        tbs: linted.der().to_vec(),
    };
    let entry = entry_of(Kind::CrlPlanned, issuer, authority, terms, now)
        .with("revoked", entries.len())
        .with("tbs_sha256", ledger::digest(linted.der()));
    if !store.plan_crl(lease, plan, &entry).await? {
        return Ok(Ended::LeaseLost);
    }
    sign(context, lease, authority, terms, linted, entries.len()).await
}

/// Signs what is stored. Killed before the CRL is stored, too, the next attempt begins with the plan.
async fn sign(
    context: &Context,
    lease: &Lease,
    authority: &Authority,
    terms: CrlTerms,
    linted: crate::x509::lint::LintedRevocationList,
    revoked: usize,
) -> Result<Ended, Error> {
    let tbs_sha256 = ledger::digest(linted.der());
    let crl = match authority.sign_crl(linted).await {
        Ok(crl) => crl,
        Err(SignFailure::Unavailable(error)) => return Ok(Ended::Failed(error)),
        Err(SignFailure::Wrong(error)) => {
            tracing::error!(ca.id = authority.id, error, "the signature of a CRL was wrong");
            return Ok(Ended::Failed(error));
        }
    };
    let now = context.clock.now();
    let entry = entry_of(Kind::CrlIssued, lease.subject(), authority, terms, now)
        .with("revoked", revoked)
        .with("tbs_sha256", tbs_sha256)
        .with("sha256", ledger::digest(&crl));
    if !context.store.publish_crl(lease, terms.number, crl, now, &entry).await? {
        return Ok(Ended::LeaseLost);
    }
    context.metrics.crl.published(&authority.id);
    tracing::info!(
        ca.id = authority.id,
        crl.number = terms.number,
        revoked,
        next_update = %terms.next_update,
        "CRL published"
    );
    Ok(Ended::Published)
}

fn listed(revoked: &RevokedSerial) -> Result<RevokedEntry, Error> {
    let corrupt = || Error::Failed(format!("the revocation of {} cannot be read", revoked.serial));
    Ok(RevokedEntry {
        serial: Serial::from_hex(&revoked.serial).ok_or_else(corrupt)?,
        revoked_at_s: revoked.revoked_at.unix_s(),
        reason: Reason::from_code(revoked.reason).ok_or_else(corrupt)?,
    })
}

fn entry_of(
    kind: Kind,
    issuer: &str,
    authority: &Authority,
    terms: CrlTerms,
    at: Timestamp,
) -> Entry {
    Entry::new(kind, Actor::Kipuka, issuer, at)
        .ca(&authority.id)
        .with("number", terms.number)
        .with("this_update", terms.this_update.to_string())
        .with("next_update", terms.next_update.to_string())
        .with("signing_key", authority.signing_key())
}

async fn put_off(context: &Context, lease: Lease, why: &str, pause: Duration) -> Result<(), Error> {
    tracing::warn!(
        issuer = lease.subject(),
        attempt = lease.attempt(),
        retry_after_s = pause.as_secs(),
        why,
        "CRL put off"
    );
    Ok(context.store.postpone(lease, context.clock.now().plus(pause)).await?)
}
