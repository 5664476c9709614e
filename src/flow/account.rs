//! An account changes (RFC 8555 §7.3.2, §7.3.3, §7.3.6).

use super::changes::{Change, count_change};
use super::{Context, Error};
use crate::acme::account::{Account, Agreement, check_contacts, terms_not_agreed};
use crate::acme::problem::Problem;
use crate::ca::Authority;
use crate::ledger::{Actor, Entry, Kind};

/// Replaces the contacts, where given, and notes an agreement to the terms.
pub(crate) async fn update_account(
    context: &Context,
    authority: &Authority,
    mut account: Account,
    contact: Option<Vec<String>>,
    terms_agreed: bool,
) -> Result<Account, Error> {
    if let Some(contact) = &contact {
        check_contacts(contact)?;
    }
    let agreement = terms_agreed.then(|| Agreement {
        at: context.clock.now(),
        to: authority.meta.terms_of_service.clone(),
    });
    if contact.is_some() && agreement.is_none() {
        check_terms(authority, &account)?;
    }
    // What changes nothing is no decision, and leaves no entry.
    let contact = contact.filter(|contact| *contact != account.contact);
    let known = account.terms.as_ref().map(|terms| &terms.to);
    let agreement = agreement.filter(|agreement| known != Some(&agreement.to));
    if contact.is_none() && agreement.is_none() {
        return Ok(account);
    }
    count_change(context, Change::Account, &account.id)?;
    let entry = of_account(Kind::AccountUpdated, &account, context)
        .with("contact", contact.clone())
        .with("terms", agreement.as_ref().and_then(|agreement| agreement.to.clone()));
    let store = &context.store;
    store.update_account(&account.id, contact.as_deref(), agreement.as_ref(), &entry).await?;
    account.contact = contact.unwrap_or(account.contact);
    account.terms = agreement.or(account.terms);
    Ok(account)
}

/// Refuses an account that has not agreed to the CA's terms as they are now (RFC 8555 §7.3.3).
pub(crate) fn check_terms(authority: &Authority, account: &Account) -> Result<(), Problem> {
    match authority.meta.terms_of_service.as_deref() {
        Some(terms) if !account.agreed_to(Some(terms)) => {
            Err(terms_not_agreed(terms, "the terms of service have changed"))
        }
        _ => Ok(()),
    }
}

/// Deactivates the account for good: what is pending for it goes no further.
pub(crate) async fn deactivate_account(
    context: &Context,
    account: Account,
) -> Result<Account, Error> {
    let now = context.clock.now();
    let entry = of_account(Kind::AccountDeactivated, &account, context);
    if !context.store.deactivate_account(&account.id, now, &entry).await? {
        // Somebody else did so in this very moment.
        let found = context.store.account(&account.ca, &account.id).await?;
        return found.ok_or_else(|| Error::Failed(format!("account {} is gone", account.id)));
    }
    tracing::info!(ca.id = account.ca, account.id = account.id, "account deactivated");
    Ok(Account { deactivated_at: Some(now), ..account })
}

/// What an account does to itself.
fn of_account(kind: Kind, account: &Account, context: &Context) -> Entry {
    let actor = Actor::Account(account.id.clone());
    Entry::new(kind, actor, account.id.as_str(), context.clock.now()).ca(&account.ca)
}
