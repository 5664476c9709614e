//! An account is made or found (RFC 8555 §7.3).

use ipnet::IpNet;

use super::external_account::bind;
use super::{Context, Error};
use crate::acme::account::{Account, AccountStatus, Agreement, check_contacts, terms_not_agreed};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::jose::jwk::Jwk;
use crate::ledger::{Actor, Entry, Kind};
use crate::policy::too_many_accounts;
use crate::store::{self, MadeFrom, Registered};

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewAccount {
    /// The account key.
    pub(crate) key: Jwk,
    pub(crate) contact: Vec<String>,
    pub(crate) terms_agreed: bool,
    pub(crate) only_return_existing: bool,
    /// The value of `externalAccountBinding`, in JSON, where there is one.
    pub(crate) external_account_binding: Option<String>,
    /// The URL of the request, which a binding must name, too.
    pub(crate) url: String,
    /// Where the client is; `None` where that is not counted.
    pub(crate) network: Option<IpNet>,
}

/// Returns the account, and whether it is new.
#[tracing::instrument(
    target = "kipuka::spans",
    level = "trace",
    name = "flow new_account",
    skip_all
)]
pub(crate) async fn new_account(
    context: &Context,
    authority: &Authority,
    asked: NewAccount,
) -> Result<(Account, bool), Error> {
    let thumbprint = asked.key.thumbprint();
    // A known key gets its account whatever else is asked (RFC 8555 §7.3.1): the terms were agreed to
    // when it was made, and its binding was looked at then. Clients send the binding each time, long
    // after the key that made it has expired.
    if let Some(account) = context.store.account_by_key(&authority.id, &thumbprint).await? {
        return existing(account);
    }
    if asked.only_return_existing {
        return Err(Problem::new(
            ProblemType::AccountDoesNotExist,
            "no account with this key exists here (onlyReturnExisting was set)",
        )
        .into());
    }
    let binding = bind(context, authority, &asked).await?;
    check_contacts(&asked.contact)?;
    let terms = authority.meta.terms_of_service.clone();
    if let (Some(terms), false) = (&terms, asked.terms_agreed) {
        return Err(terms_not_agreed(terms, "this CA has terms of service").into());
    }
    let now = context.clock.now();
    let account = Account {
        id: context.entropy.id()?,
        ca: authority.id.clone(),
        jwk: asked.key.canonical_json(),
        thumbprint,
        contact: asked.contact,
        terms: asked.terms_agreed.then_some(Agreement { at: now, to: terms }),
        binding,
        created_at: now,
        deactivated_at: None,
    };
    let cap = context.limits.load().accounts.accounts_per_address_per_hour;
    let network = asked.network.filter(|_| cap > 0).map(|network| network.to_string());
    let from = network.clone().map(|network| MadeFrom { network, cap: cap.into() });
    if let Some(network) = &network
        && context.at_cap.was_refused(network, now)
    {
        check_network(context, authority, network, now, cap.into()).await?;
    }
    let entry = entry_of(&account);
    let new = store::NewAccount { account: account.clone(), from };
    match context.store.register_account(new, &entry).await? {
        Registered::Created => {
            tracing::info!(
                ca.id = account.ca,
                account.id = account.id,
                external_account.kid = account.binding.as_ref().map(|binding| &*binding.kid),
                "account created"
            );
            Ok((account, true))
        }
        Registered::Exists(account) => existing(*account),
        Registered::TooMany => {
            let network = network.unwrap_or_default();
            // As many as there are: that they were too many was seen already.
            check_network(context, authority, &network, now, 0).await?;
            Err(Error::Failed("an account was refused within the limits".to_owned()))
        }
        // Another account was bound by the same key in this very moment, or it was revoked.
        Registered::NotBound => Err(super::external_account::refused().into()),
    }
}

/// Whether one more account may be made from a network.
async fn check_network(
    context: &Context,
    authority: &Authority,
    network: &str,
    now: Timestamp,
    cap: i64,
) -> Result<(), Error> {
    let (made, first_at) = context.store.accounts_made_from(network, now).await?;
    if made < cap {
        return Ok(());
    }
    context.at_cap.refused(network, now);
    tracing::warn!(ca.id = authority.id, network, made, "no more accounts for an address");
    Err(too_many_accounts(made, first_at, now).into())
}

fn entry_of(account: &Account) -> Entry {
    let actor = Actor::Account(account.id.clone());
    Entry::new(Kind::AccountCreated, actor, account.id.as_str(), account.created_at)
        .ca(&account.ca)
        .with("thumbprint", account.thumbprint.as_str())
        .with("contact", account.contact.as_slice())
        .with("terms", account.terms.as_ref().and_then(|terms| terms.to.clone()))
        .with("external_account", account.binding.as_ref().map(|binding| binding.kid.clone()))
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
