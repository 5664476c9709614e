//! A CSR is accepted and its certificate planned (RFC 8555 §7.4).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::at_once::Place;
use super::attest::key_of;
use super::identifiers::judge_again;
use super::issue::{Ordered, Unplanned};
use super::new_order::requested_dates;
use super::{Context, Error, not_found};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::identifier::Identifier;
use crate::acme::order::{Order, OrderStatus};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{Authority, NamedProfile, Wanted};
use crate::jose::jwk::Jwk;
use crate::ledger::{self, Actor, Entry, Kind};
use crate::signer::Health;
use crate::store::{Plan, WorkKind};
use crate::x509::csr::CertificateRequest;

/// Returns the order as it stands when the certificate is there or has been waited for long enough.
/// The same CSR may be sent again at any time after it was accepted; nothing happens twice.
#[tracing::instrument(target = "kipuka::spans", level = "trace", name = "flow finalize", skip_all)]
pub(crate) async fn finalize(
    context: &Context,
    authority: &Authority,
    account: &Account,
    order_id: &str,
    csr: &[u8],
) -> Result<Order, Error> {
    let find = || async {
        let order = context.store.order(&authority.id, order_id).await?;
        order.filter(|order| order.account_id == account.id).ok_or_else(|| not_found("order"))
    };
    let order = find().await?;
    // Before the plan, so that no settlement is missed.
    let waiter = context.store.waiter(WorkKind::Issuance, order_id);
    let hold = context.limits.load().hold;
    match order.status(context.clock.now()) {
        OrderStatus::Ready => {
            if let Some(certificate_id) = plan(context, authority, account, &order, csr).await? {
                // With its certificate it is valid, whatever becomes of the rest of it.
                return match waiter.wait_for_ours(hold).await? {
                    Some(_) => Ok(Order { certificate_id: Some(certificate_id), ..order }),
                    None => find().await,
                };
            }
        }
        OrderStatus::Processing | OrderStatus::Valid { .. } => {
            if context.store.order_csr(order_id).await?.as_deref() != Some(csr) {
                return Err(not_ready(&order, context, "and has another CSR already"));
            }
        }
        OrderStatus::Pending => {
            return Err(not_ready(&order, context, "until all its authorizations are valid"));
        }
        OrderStatus::Invalid { .. } => {
            return Err(not_ready(&order, context, "and stays so; place a new order"));
        }
    }
    waiter.wait(hold).await?;
    find().await
}

fn not_ready(order: &Order, context: &Context, why: &str) -> Error {
    let status = order.status(context.clock.now());
    let detail = format!("the order is {} {why}", status.as_str());
    Problem::new(ProblemType::OrderNotReady, detail).into()
}

/// The id of the certificate that is to be; `None` where the same CSR was accepted in this very moment.
async fn plan(
    context: &Context,
    authority: &Authority,
    account: &Account,
    order: &Order,
    csr: &[u8],
) -> Result<Option<String>, Error> {
    let bad_csr = |detail: String| Error::from(Problem::new(ProblemType::BadCsr, detail));
    let request = CertificateRequest::from_der(csr).map_err(|error| bad_csr(error.to_string()))?;
    let ordered: BTreeSet<Identifier> = order.identifiers.iter().cloned().collect();
    check_names(&request, &ordered)?;
    check_attested_key(&request, order)?;
    let key_type = request.public_key().key_type();
    judge_again(&authority.policy, &ordered, key_type)?;
    let named = profile_of(authority, order)?;
    if let Some(named) = named.filter(|named| !named.takes(key_type)) {
        return Err(bad_csr(format!(
            "the CSR's key is {key_type}, and the profile {:?} takes {} only",
            named.name,
            named.key_types.join(", ")
        )));
    }
    // RFC 8555 §11.1 keeps the two kinds of keys apart: those that sign requests and those in
    // certificates.
    if let Some(key) = request.public_key().pkey().and_then(|key| Jwk::of(key))
        && context.store.account_by_key(&authority.id, &key.thumbprint()).await?.is_some()
    {
        return Err(bad_csr("the CSR's key is an account's key; use a key of its own".to_owned()));
    }
    let now = context.clock.now();
    let profile = named.map_or(&authority.profile, |named| &named.profile);
    let dates = requested_dates(order.not_before, order.not_after);
    dates.check_again(profile, authority.chain.issuer(), now.unix_s()).map_err(|error| {
        let detail = format!("the order's dates can no longer be had: {error}; place a new order");
        Problem::malformed(detail)
    })?;
    let wanted = Wanted {
        identifiers: &order.identifiers,
        public_key: request.public_key(),
        profile,
        dates,
    };
    let prepared = authority
        .prepare(&wanted, now, context.entropy)
        .map_err(|error| Error::Failed(error.to_string()))?;
    let actor = Actor::Account(account.id.clone());
    let entry = Entry::new(Kind::CertificatePlanned, actor, prepared.serial.as_str(), now)
        .ca(&authority.id)
        .with("order", order.id.as_str())
        .with("profile", named.map(|named| named.name.as_str()))
        .with("csr_sha256", ledger::digest(csr))
        .with("tbs_sha256", ledger::digest(prepared.tbs.der()));
    let plan = Plan {
        order_id: order.id.clone(),
        ca: authority.id.clone(),
        account_id: account.id.clone(),
        csr: csr.to_vec(),
        certificate_id: context.entropy.id_of(now.unix_ms())?,
        issuer_id: authority.issuer_id.clone(),
        serial: prepared.serial,
        tbs: prepared.tbs.der().to_vec(),
        profile: serde_json::to_string(profile)
            .map_err(|error| Error::Failed(error.to_string()))?,
        now,
    };
    let certificate_id = plan.certificate_id.clone();
    let most = context.limits.load().at_once_per_account;
    let place = context.at_once.issuances.place(&order.id, &account.id, most);
    let planned = match place {
        Ok(place) if authority.signer.health() == Health::Up => {
            plan_at_once(context, order, plan, entry, &request, place).await?
        }
        _ => plan_on_list(context, plan, entry).await?,
    };
    if !planned && context.store.order_csr(&order.id).await?.as_deref() != Some(csr) {
        let detail = "the order changed meanwhile; read it again";
        return Err(Problem::new(ProblemType::OrderNotReady, detail).into());
    }
    Ok(planned.then_some(certificate_id))
}

/// Has the certificate planned and signed here and now; `false` where the plan was not kept.
async fn plan_at_once(
    context: &Context,
    order: &Order,
    plan: Plan,
    entry: Entry,
    request: &CertificateRequest,
    place: Place<'_, Unplanned>,
) -> Result<bool, Error> {
    let (store, entropy) = (&context.store, context.entropy);
    let lease = store.new_lease(WorkKind::Issuance, &order.id, &plan.account_id, entropy)?;
    let proofs = order.authorizations.iter().filter_map(Authorization::concluding_challenge);
    let ordered = Ordered {
        identifiers: order.identifiers.clone(),
        methods: proofs.map(|challenge| challenge.kind).collect(),
        not_before: order.not_before,
        not_after: order.not_after,
        profile_name: order.profile.clone(),
    };
    let public_key = request.public_key().clone();
    let claim = lease.claim();
    let unplanned = |told| Unplanned { plan, lease, entry, ordered, public_key, told };
    match place.hand_over(claim, unplanned).await {
        Ok(planned) => planned,
        Err(Unplanned { plan, entry, .. }) => plan_on_list(context, plan, entry).await,
    }
}

async fn plan_on_list(context: &Context, plan: Plan, entry: Entry) -> Result<bool, Error> {
    let ca = plan.ca.clone();
    let planned = context.store.plan_issuance(plan, &entry).await?;
    if planned {
        context.metrics.issuance.order(&ca, "finalized");
    }
    Ok(planned)
}

/// The profile that the order was placed for. Where the CA no longer issues by it, that is what the
/// client is told (draft-ietf-acme-profiles §4).
fn profile_of<'a>(
    authority: &'a Authority,
    order: &Order,
) -> Result<Option<&'a NamedProfile>, Problem> {
    let Some(name) = &order.profile else { return Ok(None) };
    authority.named_profile(name).map(Some).ok_or_else(|| {
        let detail = format!("this CA no longer issues by the profile {name:?}; place a new order");
        Problem::new(ProblemType::InvalidProfile, detail)
    })
}

/// The CSR's names must be the order's, each and no other (RFC 8555 §7.4), in any case; a common
/// name is not needed, but must be one of them. Clients write an address as a common name or, which
/// no certificate may, as a dNSName, too: it counts as the address that it is.
fn check_names(
    request: &CertificateRequest,
    ordered: &BTreeSet<Identifier>,
) -> Result<(), Problem> {
    let bad_csr = |detail: String| Problem::new(ProblemType::BadCsr, detail);
    let mut asked = BTreeSet::new();
    let addresses: Vec<_> = request.ip_addresses().iter().map(IpAddr::to_string).collect();
    // A device need not be in the CSR (draft-ietf-acme-device-attest §3.2), and has no normal form.
    for found in request.permanent_identifiers() {
        let value = match &found.assigner {
            Some(assigner) => format!("{}/{assigner}", found.value),
            None => found.value.clone(),
        };
        let identifier = Identifier::device(&value).map_err(|problem| {
            bad_csr(format!("the CSR names a device no order can have: {}", problem.detail))
        })?;
        asked.insert(identifier);
    }
    let is_ordered_device = |name: &&String| {
        let device = |identifier: &Identifier| {
            identifier.as_device().is_some_and(|(device, _)| device == name.as_str())
        };
        ordered.iter().any(device)
    };
    let common_names = request.common_names().iter().filter(|name| !is_ordered_device(name));
    let names = request.dns_names().iter().chain(common_names);
    for name in names.chain(&addresses) {
        let identifier = Identifier::from_text(name).map_err(|problem| {
            bad_csr(format!("the CSR asks for a name no order can have: {}", problem.detail))
        })?;
        asked.insert(identifier);
    }
    let list = |names: Vec<&Identifier>| {
        names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
    };
    let extra: Vec<_> = asked.difference(ordered).collect();
    if !extra.is_empty() {
        return Err(bad_csr(format!(
            "the order does not have these names of the CSR: {}",
            list(extra)
        )));
    }
    let is_needed = |identifier: &&Identifier| identifier.as_device().is_none();
    let missing: Vec<_> = ordered.difference(&asked).filter(is_needed).collect();
    if !missing.is_empty() {
        return Err(bad_csr(format!("the CSR lacks these names of the order: {}", list(missing))));
    }
    Ok(())
}

/// A device vouches for one key: the certificate must be for that one, and so must every device of the
/// order.
fn check_attested_key(request: &CertificateRequest, order: &Order) -> Result<(), Problem> {
    let devices = order.authorizations.iter().filter(|one| one.identifier.as_device().is_some());
    for authorization in devices {
        let key = key_of(request.public_key().spki());
        let attested =
            authorization.concluding_challenge().and_then(|one| one.attested_key.as_ref());
        if attested != Some(&key) {
            let detail =
                format!("the CSR's key is not the one that {} attested", authorization.identifier);
            return Err(Problem::new(ProblemType::BadCsr, detail));
        }
    }
    Ok(())
}
