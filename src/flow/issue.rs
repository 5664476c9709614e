//! One leased plan becomes a certificate, or is put off.
//!
//! The only place that has anything signed for a client, so a restart goes on exactly here.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;

use super::at_once::{Told, nothing_written, to_its_end};
use super::identifiers::judge_again;
use super::new_order::requested_dates;
use super::recheck::{Objection, recheck};
use super::{Context, Error};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{SignFailure, Wanted};
use crate::clock::Timestamp;
use crate::ledger::{self, Actor, Entry, Kind};
use crate::store::{Lease, NewLease, Plan, PlannedCertificate};
use crate::x509::algorithm::PublicKey;
use crate::x509::csr;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// While the signer is down its work is not claimed at all; this is for what was, and bounds how
/// late it goes on.
const LONGEST_PAUSE_FOR_SIGNER: Duration = Duration::from_secs(2);
/// How long a plan is worth signing: after that the certificate's dates are stale and so, perhaps,
/// is what the authorizations proved.
const PLAN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn issue(context: &Context, lease: Lease) -> Result<(), Error> {
    let Some(plan) = context.store.planned_certificate(lease.subject()).await? else {
        return Ok(context.store.discard(lease).await?);
    };
    match csr::key_of_accepted(&plan.csr) {
        Ok(public_key) => issue_planned(context, lease, plan, public_key).await,
        Err(error) => give_up(context, lease, &plan, &error.to_string()).await,
    }
}

/// A certificate that is to be planned for an order, and issued.
pub(crate) struct Unplanned {
    pub(super) plan: Plan,
    pub(super) lease: NewLease,
    pub(super) entry: Entry,
    pub(super) ordered: Ordered,
    /// Of the plan's CSR.
    pub(super) public_key: PublicKey,
    pub(super) told: Told,
}

/// What a plan does not say of its order.
pub(super) struct Ordered {
    pub(super) identifiers: Vec<Identifier>,
    /// By which the identifiers were proved, each.
    pub(super) methods: Vec<ChallengeType>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) not_after: Option<Timestamp>,
    pub(super) profile_name: Option<String>,
}

/// Keeps the plan under a lease, and goes on as [`issue`] does with a plan that it finds.
pub(crate) async fn issue_unplanned(context: &Context, unplanned: Unplanned) -> Result<(), Error> {
    let Unplanned { plan, lease, entry, ordered, public_key, told } = unplanned;
    let (soon, long) = {
        let limits = context.limits.load();
        (limits.soon, limits.issuance_lease)
    };
    let lease = match context.store.plan_and_lease_issuance(&plan, &entry, lease, long).await {
        Ok(Some(lease)) => lease,
        Ok(None) => {
            let _ = told.send(Ok(false));
            return Ok(());
        }
        Err(error) => return Err(nothing_written(told, error)),
    };
    context.metrics.issuance.order(&plan.ca, "finalized");
    let Ordered { identifiers, methods, not_before, not_after, profile_name } = ordered;
    let plan = PlannedCertificate {
        ca: plan.ca,
        account_id: plan.account_id,
        serial: plan.serial,
        tbs: plan.tbs,
        csr: plan.csr,
        planned_at: plan.now,
        // The plan was not kept if the account was, or an authorization.
        account_deactivated: false,
        deactivated: Vec::new(),
        identifiers,
        methods,
        not_before,
        not_after,
        profile: Some(plan.profile),
        profile_name,
    };
    to_its_end(pin!(issue_planned(context, lease, plan, public_key)), soon, told).await
}

async fn issue_planned(
    context: &Context,
    lease: Lease,
    plan: PlannedCertificate,
    public_key: PublicKey,
) -> Result<(), Error> {
    let order_id = lease.subject().to_owned();
    let span = tracing::Span::current();
    span.record("ca.id", &plan.ca);
    span.record("account.id", &plan.account_id);
    span.record("serial", &plan.serial);
    if plan.account_deactivated {
        // Its order is invalid by that alone (RFC 8555 §7.3.6).
        return Ok(context.store.discard(lease).await?);
    }
    let deactivated = plan.deactivated.iter().map(|identifier| {
        let detail = "the authorization was deactivated before the certificate was issued";
        Problem::new(ProblemType::Unauthorized, detail).about(identifier)
    });
    // Not sufficient for issuing any more (RFC 8555 §7.5.2).
    if let Some(problem) = Problem::from_subproblems(deactivated.collect()) {
        return refuse(context, lease, &plan, problem).await;
    }
    if context.clock.now().since(plan.planned_at) > PLAN_LIFETIME {
        let detail = "the certificate could not be signed for a day; place a new order";
        return give_up(context, lease, &plan, detail).await;
    }
    let authorities = context.authorities.load_full();
    let Some(authority) = authorities.get(&plan.ca) else {
        // The CA was taken out of the configuration; it may come back.
        let why = "its CA is not configured";
        return put_off(context, lease, &plan, why, LONGEST_PAUSE).await;
    };
    let judged = judge_again(&authority.policy, &plan.identifiers, public_key.key_type());
    if let Err(problem) = judged {
        return refuse(context, lease, &plan, problem).await;
    }
    // What it was planned by; by older releases, that was not kept.
    let profile = match plan.profile.as_deref().map(serde_json::from_str).transpose() {
        Ok(profile) => profile.unwrap_or_else(|| authority.profile.clone()),
        Err(error) => return give_up(context, lease, &plan, &error.to_string()).await,
    };
    let wanted = Wanted {
        identifiers: &plan.identifiers,
        public_key: &public_key,
        profile: &profile,
        dates: requested_dates(plan.not_before, plan.not_after),
    };
    let now = context.clock.now();
    let linted = match authority.lint(&plan.tbs, &plan.serial, &wanted, plan.planned_at, now) {
        Ok(linted) => linted,
        // What was planned no longer fits the CA, whose certificate changed in between, or is not
        // what was planned.
        Err(error) => return give_up(context, lease, &plan, &error.to_string()).await,
    };
    match recheck(context, authority, &order_id, &plan).await? {
        None => {}
        Some(Objection::Refused(problem)) => {
            return refuse(context, lease, &plan, problem).await;
        }
        // Until the plan is too old: how often it was claimed says nothing of the resolver, as it may
        // have waited for the signer, too.
        Some(Objection::Unreachable(problem)) => {
            return put_off(context, lease, &plan, &problem.detail, LONGEST_PAUSE).await;
        }
    }
    let certificate = match authority.sign(linted).await {
        Ok(certificate) => certificate,
        Err(SignFailure::Unavailable(error)) => {
            return put_off(context, lease, &plan, &error, LONGEST_PAUSE_FOR_SIGNER).await;
        }
        Err(SignFailure::Wrong(error)) => {
            tracing::error!(ca.id = plan.ca, order.id = order_id, error, "a signature was wrong");
            return put_off(context, lease, &plan, &error, LONGEST_PAUSE_FOR_SIGNER).await;
        }
    };
    let now = context.clock.now();
    let names: Vec<_> = plan.identifiers.iter().map(ToString::to_string).collect();
    let entry = Entry::new(Kind::CertificateIssued, Actor::Kipuka, plan.serial.as_str(), now)
        .ca(&plan.ca)
        .with("account", plan.account_id.as_str())
        .with("order", order_id.as_str())
        .with("identifiers", names)
        .with("tbs_sha256", ledger::digest(&plan.tbs))
        .with("sha256", ledger::digest(&certificate))
        .with("signing_key", authority.signing_key());
    let completed = context.store.complete_issuance(lease, certificate, now, &entry).await?;
    if completed {
        context.metrics.issuance.order(&plan.ca, "issued");
        context.metrics.issuance.issued(&plan.ca, plan.profile_name.as_deref());
    }
    tracing::info!(
        ca.id = plan.ca,
        account.id = plan.account_id,
        order.id = order_id,
        serial = plan.serial,
        completed,
        "certificate issued"
    );
    Ok(())
}

async fn put_off(
    context: &Context,
    lease: Lease,
    plan: &PlannedCertificate,
    why: &str,
    longest: Duration,
) -> Result<(), Error> {
    context.metrics.issuance.order(&plan.ca, "put-off");
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(lease.attempt().min(16) - 1));
    let pause = doubled.min(longest);
    tracing::warn!(
        ca.id = plan.ca,
        order.id = lease.subject(),
        attempt = lease.attempt(),
        retry_after_s = pause.as_secs(),
        why,
        "issuance put off"
    );
    Ok(context.store.postpone(lease, context.clock.now().plus(pause)).await?)
}

/// What was planned must not be certified any more.
async fn refuse(
    context: &Context,
    lease: Lease,
    plan: &PlannedCertificate,
    problem: Problem,
) -> Result<(), Error> {
    context.metrics.issuance.order(&plan.ca, "refused");
    tracing::warn!(
        ca.id = plan.ca,
        order.id = lease.subject(),
        problem = problem.detail,
        "issuance refused"
    );
    fail(context, lease, plan, &problem, None).await
}

async fn give_up(
    context: &Context,
    lease: Lease,
    plan: &PlannedCertificate,
    why: &str,
) -> Result<(), Error> {
    context.metrics.issuance.order(&plan.ca, "given-up");
    tracing::error!(ca.id = plan.ca, order.id = lease.subject(), why, "issuance given up");
    let detail = "the certificate could not be issued; place a new order";
    let problem = Problem::new(ProblemType::ServerInternal, detail);
    fail(context, lease, plan, &problem, Some(why)).await
}

async fn fail(
    context: &Context,
    lease: Lease,
    plan: &PlannedCertificate,
    problem: &Problem,
    why: Option<&str>,
) -> Result<(), Error> {
    let (order_id, now) = (lease.subject(), context.clock.now());
    let entry = Entry::new(Kind::OrderFailed, Actor::Kipuka, order_id, now)
        .ca(&plan.ca)
        .with("account", plan.account_id.as_str())
        .with("serial", plan.serial.as_str())
        .with("problem", json!(problem.kind))
        .with("detail", problem.detail.as_str())
        .with("why", why);
    context.store.fail_issuance(lease, problem, &entry).await?;
    Ok(())
}
