//! An account changes (RFC 8555 §7.3.2, §7.3.3, §7.3.6).

use super::{Context, Error};
use crate::acme::account::{Account, check_contacts};

/// Replaces the contacts, where given, and notes an agreement to the terms.
pub(crate) async fn update_account(
    context: &Context,
    mut account: Account,
    contact: Option<Vec<String>>,
    terms_agreed: bool,
) -> Result<Account, Error> {
    if let Some(contact) = &contact {
        check_contacts(contact)?;
    }
    let terms_agreed_at = terms_agreed.then(|| context.clock.now());
    if contact.is_none() && terms_agreed_at.is_none() {
        return Ok(account);
    }
    context.store.update_account(&account.id, contact.as_deref(), terms_agreed_at).await?;
    account.contact = contact.unwrap_or(account.contact);
    account.terms_agreed_at = terms_agreed_at.or(account.terms_agreed_at);
    Ok(account)
}

/// Deactivates the account for good.
pub(crate) async fn deactivate_account(
    context: &Context,
    account: Account,
) -> Result<Account, Error> {
    let now = context.clock.now();
    context.store.deactivate_account(&account.id, now).await?;
    tracing::info!(ca.id = account.ca, account.id = account.id, "account deactivated");
    Ok(Account { deactivated_at: Some(now), ..account })
}
