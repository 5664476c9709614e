//! `kipuka account`: the accounts of the CAs, as the operator sees them.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::circumstances::operator;
use super::{Failure, print_json, print_listing, with_store};
use crate::acme::account::{Account, AccountStatus};
use crate::clock::{Clock, Timestamp};
use crate::ledger::{Entry, Kind};
use crate::store::Store;

/// Accounts read at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the accounts, in the order in which they were made
    List(List),
    /// Show one account
    Show(Show),
    /// Deactivate an account for good; what is pending for it goes no further
    Deactivate(Deactivate),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those of this CA
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The account's id, or its URL
    #[arg(allow_hyphen_values = true)]
    account: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Deactivate {
    /// The account's id, or its URL
    #[arg(allow_hyphen_values = true)]
    account: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn account(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(config, arguments),
        Command::Show(arguments) => with_store(config, async |_, store| {
            print(&[find(store, &arguments.account).await?], arguments.json)
        }),
        Command::Deactivate(arguments) => with_store(config, async |_, store| {
            let account = find(store, &arguments.account).await?;
            let now = Clock::System.now();
            deactivate(store, &account, now).await?;
            print(&[find(store, &account.id).await?], arguments.json)
        }),
    }
}

fn list(config: Option<&Path>, arguments: &List) -> Result<(), Failure> {
    with_store(config, async |_, store| {
        let mut accounts: Vec<Account> = Vec::new();
        loop {
            let page = store.accounts(arguments.ca.as_deref(), accounts.last(), PAGE);
            let page = page.await.map_err(Failure::failed)?;
            if page.is_empty() {
                break;
            }
            accounts.extend(page);
        }
        if arguments.json {
            return print_json(&accounts.iter().map(Shown::new).collect::<Vec<_>>());
        }
        print(&accounts, false)
    })
}

/// Deactivates an account at the operator's word.
pub(super) async fn deactivate(
    store: &Store,
    account: &Account,
    now: Timestamp,
) -> Result<(), Failure> {
    let id = account.id.as_str();
    let entry = Entry::new(Kind::AccountDeactivated, operator(), id, now).ca(&account.ca);
    store.deactivate_account(id, now, &entry).await.map(drop).map_err(Failure::failed)
}

/// The account with this id, or at the end of this URL.
pub(super) async fn find(store: &Store, text: &str) -> Result<Account, Failure> {
    let id = text.rsplit('/').next().unwrap_or(text);
    let found = store.account_of_any_ca(id).await.map_err(Failure::failed)?;
    found.ok_or_else(|| {
        Failure::Failed(format!("there is no account {id:?}; see kipuka account list"))
    })
}

/// An account, as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    ca: &'a str,
    status: &'static str,
    contact: &'a [String],
    /// Of its key (RFC 7638).
    thumbprint: &'a str,
    terms_agreed_at: Option<Timestamp>,
    /// The terms that it agreed to.
    terms_agreed: Option<&'a str>,
    /// The key identifier of the external account that it is bound to.
    external_account: Option<&'a str>,
    /// What it may order; empty: what the CA allows.
    allowed: &'a [String],
    created_at: Timestamp,
    deactivated_at: Option<Timestamp>,
}

impl<'a> Shown<'a> {
    fn new(account: &'a Account) -> Self {
        let (terms, binding) = (account.terms.as_ref(), account.binding.as_ref());
        Self {
            id: &account.id,
            ca: &account.ca,
            status: account.status().as_str(),
            contact: &account.contact,
            thumbprint: &account.thumbprint,
            terms_agreed_at: terms.map(|terms| terms.at),
            terms_agreed: terms.and_then(|terms| terms.to.as_deref()),
            external_account: binding.map(|binding| binding.kid.as_str()),
            allowed: binding.map_or(&[], |binding| &binding.allowed),
            created_at: account.created_at,
            deactivated_at: account.deactivated_at,
        }
    }
}

/// One object for one account, where JSON is asked for.
fn print(accounts: &[Account], json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    for account in accounts {
        let shown = Shown::new(account);
        if json {
            return print_json(&shown);
        }
        text += &format!("{}\n", shown.id);
        text += &format!("  status     : {}\n", shown.status);
        text += &format!("  ca         : {}\n", shown.ca);
        text += &format!("  contact    : {}\n", shown.contact.join(", "));
        text += &format!("  thumbprint : {}\n", shown.thumbprint);
        if let Some(at) = shown.terms_agreed_at {
            let to = shown.terms_agreed.map(|to| format!(" to {to}")).unwrap_or_default();
            text += &format!("  agreed     : {at}{to}\n");
        }
        if let Some(kid) = shown.external_account {
            text += &format!("  bound by   : {kid}\n");
        }
        if !shown.allowed.is_empty() {
            text += &format!("  allowed    : {}\n", shown.allowed.join(", "));
        }
        text += &format!("  created    : {}\n", shown.created_at);
        if account.status() == AccountStatus::Deactivated
            && let Some(at) = shown.deactivated_at
        {
            text += &format!("  deactivated: {at}\n");
        }
    }
    print_listing(&text)
}
