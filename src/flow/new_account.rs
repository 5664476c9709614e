//! An account is made or found (RFC 8555 §7.3).

use super::{Context, Error};
use crate::acme::account::{Account, AccountStatus, check_contacts};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::store::Registered;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewAccount {
    /// The account key's canonical form (RFC 7638) and its thumbprint.
    pub(crate) jwk: String,
    pub(crate) thumbprint: String,
    pub(crate) contact: Vec<String>,
    pub(crate) terms_agreed: bool,
    pub(crate) only_return_existing: bool,
}

/// Returns the account, and whether it is new.
pub(crate) async fn new_account(
    context: &Context,
    authority: &Authority,
    asked: NewAccount,
) -> Result<(Account, bool), Error> {
    // A known key gets its account whatever else is asked (RFC 8555 §7.3.1): the terms were agreed to
    // when it was made.
    if let Some(account) = context.store.account_by_key(&authority.id, &asked.thumbprint).await? {
        return existing(account);
    }
    if asked.only_return_existing {
        return Err(Problem::new(
            ProblemType::AccountDoesNotExist,
            "no account with this key exists here (onlyReturnExisting was set)",
        )
        .into());
    }
    check_contacts(&asked.contact)?;
    if let (Some(terms), false) = (&authority.meta.terms_of_service, asked.terms_agreed) {
        return Err(Problem::new(
            ProblemType::UserActionRequired,
            format!("agree to the terms of service at {terms}: set termsOfServiceAgreed to true"),
        )
        .into());
    }
    let now = context.clock.now();
    let account = Account {
        id: context.entropy.id()?,
        ca: authority.id.clone(),
        jwk: asked.jwk,
        thumbprint: asked.thumbprint,
        contact: asked.contact,
        terms_agreed_at: asked.terms_agreed.then_some(now),
        created_at: now,
        deactivated_at: None,
    };
    match context.store.register_account(account.clone()).await? {
        Registered::Created => {
            tracing::info!(ca.id = account.ca, account.id = account.id, "account created");
            Ok((account, true))
        }
        Registered::Exists(account) => existing(account),
    }
}

fn existing(account: Account) -> Result<(Account, bool), Error> {
    match account.status() {
        AccountStatus::Valid => Ok((account, false)),
        AccountStatus::Deactivated => Err(Problem::new(
            ProblemType::Unauthorized,
            "the account with this key was deactivated; make a new key for a new account",
        )
        .with_status(401)
        .into()),
    }
}
