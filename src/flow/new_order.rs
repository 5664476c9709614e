//! An order is placed (RFC 8555 §7.4).

use super::authorize::{Authorizations, pending};
use super::identifiers::{AskedIdentifier, accept_identifiers};
use super::replaces::check_replaces;
use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::order::Order;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{Authority, NamedProfile};
use crate::clock::Timestamp;
use crate::config;
use crate::ledger::{Actor, Entry, Kind};
use crate::policy::check_usage;
use crate::store::{Caps, NewAuthorization, NewOrder, OrderedIdentifier};
use crate::x509::dates::RequestedDates;
use crate::x509::profile::Profile;

/// What a client orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewOrderRequest {
    /// In any form: what cannot be had is refused one by one, with the client's own words.
    pub(crate) identifiers: Vec<AskedIdentifier>,
    /// Whole seconds.
    pub(crate) not_before: Option<Timestamp>,
    /// Whole seconds; the last one of the validity.
    pub(crate) not_after: Option<Timestamp>,
    /// The name of a profile (draft-ietf-acme-profiles §4).
    pub(crate) profile: Option<String>,
    /// The identifier of the certificate that is to be replaced (RFC 9773 §5).
    pub(crate) replaces: Option<String>,
}

/// Places an order; the same name twice counts once. It is `ready` at once where authorizations that
/// the account has already stand for all its identifiers.
#[tracing::instrument(target = "kipuka::spans", level = "trace", name = "flow new_order", skip_all)]
pub(crate) async fn new_order(
    context: &Context,
    authority: &Authority,
    account: &Account,
    request: NewOrderRequest,
) -> Result<Order, Error> {
    let named = choose_profile(authority, request.profile.as_deref())?;
    let profile = named.map_or(&authority.profile, |named| &named.profile);
    check_dates(&request, authority, profile, context.clock.now())?;
    let identifiers = accept_identifiers(account, authority, &request.identifiers)?;
    if let Some(replaces) = &request.replaces {
        check_replaces(context, authority, account, replaces, identifiers.keys()).await?;
    }
    for reuse in [true, false] {
        let wanted = identifiers.clone();
        let chosen = Authorizations::choose(context, authority, account, wanted, reuse).await?;
        let Authorizations { identifiers, earlier, new } = chosen;
        let now = context.clock.now();
        let limits = context.limits.load();
        let limit = now.plus(limits.order_lifetime);
        // With the first of these the order cannot be fulfilled any more.
        let ends = earlier.iter().map(|earlier| earlier.expires_at).chain(request.not_after);
        let order = NewOrder {
            id: context.entropy.id_of(now.unix_ms())?,
            ca: authority.id.clone(),
            account_id: account.id.clone(),
            created_at: now,
            expires_at: ends.fold(limit, Timestamp::min),
            not_before: request.not_before,
            not_after: request.not_after,
            profile: named.map(|named| named.name.clone()),
            replaces: request.replaces.clone(),
            identifiers,
            authorizations: new,
            caps: caps(&limits.accounts),
        };
        if context.at_cap.was_refused(&account.id, now) {
            check_account(context, account, 1, &order.authorizations).await?;
        }
        if context.store.create_order(&order, &entry_of(&order)).await? {
            context.metrics.issuance.order(&order.ca, "placed");
            tracing::info!(
                ca.id = order.ca,
                account.id = order.account_id,
                order.id = order.id,
                identifiers = order.identifiers.len(),
                new_authorizations = order.authorizations.len(),
                "order placed"
            );
            return placed(order, earlier);
        }
        check_account(context, account, 1, &order.authorizations).await?;
        // An authorization was given up just now: then without those that are there.
    }
    Err(Error::Failed("an order with new authorizations alone was refused".to_owned()))
}

/// What an account may have, by `[limits]`.
pub(super) fn caps(limits: &config::Limits) -> Caps {
    Caps {
        orders: limits.orders_per_account_per_hour.into(),
        pending_orders: limits.pending_orders_per_account.into(),
        pending_authorizations: limits.pending_authorizations_per_account.into(),
        failed_validations: limits.failed_validations_per_hour.into(),
    }
}

/// Whether the account may have this many more orders, and these authorizations.
///
/// # Errors
/// The limit that is in the way.
pub(super) async fn check_account(
    context: &Context,
    account: &Account,
    orders: i64,
    authorizations: &[NewAuthorization],
) -> Result<(), Error> {
    let now = context.clock.now();
    let names: Vec<_> = authorizations.iter().map(|new| new.identifier.to_string()).collect();
    let usage = context.store.usage(&account.id, &names, now).await?;
    let new = (orders, i64::try_from(authorizations.len()).unwrap_or(i64::MAX));
    let limits = context.limits.load();
    check_usage(&limits.accounts, &usage, new, now).map_err(|problem| {
        tracing::warn!(
            ca.id = account.ca,
            account.id = account.id,
            problem = problem.detail,
            "an account has reached a limit"
        );
        context.at_cap.refused(&account.id, now);
        problem.into()
    })
}

fn entry_of(order: &NewOrder) -> Entry {
    let names = order.identifiers.iter().map(|place| place.identifier.to_string());
    let new = |id: &str| order.authorizations.iter().any(|new| new.id == id);
    let earlier = order.identifiers.iter().map(|place| &place.authorization_id);
    let earlier: Vec<_> = earlier.filter(|id| !new(id)).cloned().collect();
    let actor = Actor::Account(order.account_id.clone());
    Entry::new(Kind::OrderCreated, actor, order.id.as_str(), order.created_at)
        .ca(&order.ca)
        .with("identifiers", names.collect::<Vec<_>>())
        .with("earlier_authorizations", (!earlier.is_empty()).then_some(earlier))
        .with("expires", order.expires_at.to_string())
        .with("not_before", order.not_before.map(|time| time.to_string()))
        .with("not_after", order.not_after.map(|time| time.to_string()))
        .with("profile", order.profile.clone())
        .with("replaces", order.replaces.clone())
}

/// The dates as the certificate's plan takes them.
pub(super) fn requested_dates(
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
) -> RequestedDates {
    RequestedDates {
        not_before_s: not_before.map(Timestamp::unix_s),
        not_after_s: not_after.map(Timestamp::unix_s),
    }
}

fn check_dates(
    request: &NewOrderRequest,
    authority: &Authority,
    profile: &Profile,
    now: Timestamp,
) -> Result<(), Problem> {
    requested_dates(request.not_before, request.not_after)
        .check(profile, authority.chain.issuer(), now.unix_s())
        .map_err(|error| {
            Problem::malformed(format!("these dates cannot be had: {error}; or leave them out"))
        })
}

/// The profile that the client asks for, else the CA's first one; a CA need not have any.
fn choose_profile<'a>(
    authority: &'a Authority,
    asked: Option<&str>,
) -> Result<Option<&'a NamedProfile>, Problem> {
    let Some(asked) = asked else { return Ok(authority.profiles.first()) };
    if let Some(named) = authority.named_profile(asked) {
        return Ok(Some(named));
    }
    let offered: Vec<_> = authority.profiles.iter().map(|named| named.name.as_str()).collect();
    let instead = match offered.as_slice() {
        [] => "it has none, leave \"profile\" out".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    let detail = format!("this CA has no such profile: {instead}");
    Err(Problem::new(ProblemType::InvalidProfile, detail))
}

/// The order as it stands when it was just kept.
fn placed(order: NewOrder, mut known: Vec<Authorization>) -> Result<Order, Error> {
    let new = order.authorizations.into_iter();
    known.extend(new.map(|new| pending(&order.ca, &order.account_id, new)));
    let (mut identifiers, mut authorizations) = (Vec::new(), Vec::new());
    for OrderedIdentifier { identifier, authorization_id } in order.identifiers {
        let Some(known) = known.iter().find(|known| known.id == authorization_id) else {
            return Err(Error::Failed(format!("{identifier} was left without authorization")));
        };
        authorizations.push(known.clone());
        identifiers.push(identifier);
    }
    Ok(Order {
        id: order.id,
        ca: order.ca,
        account_id: order.account_id,
        expires_at: order.expires_at,
        not_before: order.not_before,
        not_after: order.not_after,
        profile: order.profile,
        replaces: order.replaces,
        processing_since: None,
        certificate_id: None,
        error: None,
        account_deactivated_at: None,
        identifiers,
        authorizations,
    })
}
