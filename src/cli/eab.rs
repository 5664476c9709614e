//! `kipuka eab`: keys that bind new accounts (RFC 8555 §7.3.4).

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;
use serde::Serialize;

use super::account;
use super::circumstances::operator;
use super::{Failure, configured_ca, print_json, print_listing, with_store};
use crate::acme::external_account::ExternalAccount;
use crate::clock::{Clock, Timestamp};
use crate::entropy::{Entropy, NoEntropy};
use crate::jose::external_account::MacAlgorithm;
use crate::ledger::{Entry, Kind};
use crate::policy::NamePattern;
use crate::store::Store;
use crate::x509::description::hex;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// External accounts read at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key; its MAC key is shown this once
    Create(Create),
    /// List the keys, without their MAC keys
    List(List),
    /// Revoke a key: it binds no more accounts
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The CA whose accounts it binds [default: the only one]
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// Whose it is, for people
    #[arg(long, value_name = "TEXT", value_parser = name)]
    name: Option<String>,
    /// What its accounts may order, within the CA's policy: example.test is that name, .example.test all
    /// below it, 10.0.0.0/8 a network; may be repeated [default: all that the policy allows]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = pattern)]
    allow: Vec<NamePattern>,
    /// For how long it binds accounts; their own lives are not shortened [default: for ever]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Let it bind any number of accounts, not only one
    #[arg(long)]
    reusable: bool,
    /// HS256, HS384 or HS512
    #[arg(long, value_name = "ALG", default_value = "HS256", value_parser = algorithm)]
    alg: MacAlgorithm,
    /// As JSON
    #[arg(long)]
    json: bool,
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
pub(super) struct Revoke {
    /// The key identifier
    kid: String,
    /// Deactivate the accounts that it has bound, too
    #[arg(long)]
    deactivate_accounts: bool,
}

pub(super) fn eab(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create(arguments) => create(config, arguments),
        Command::List(arguments) => list(config, arguments),
        Command::Revoke(arguments) => revoke(config, arguments),
    }
}

/// What the holder of a new key is to get.
#[derive(Serialize)]
struct Credentials {
    ca: String,
    kid: String,
    hmac_key: String,
    alg: String,
}

fn create(config: Option<&Path>, arguments: &Create) -> Result<(), Failure> {
    let now = Clock::System.now();
    let mac_key = mac_key(arguments.alg).map_err(Failure::failed)?;
    with_store(config, async |config, store| {
        let external = ExternalAccount {
            // In hex, so that no client takes it for an option.
            kid: hex(&Entropy.bytes::<16>().map_err(Failure::failed)?),
            ca: configured_ca(config, arguments.ca.as_deref())?,
            name: arguments.name.clone(),
            algorithm: arguments.alg.as_str().to_owned(),
            mac_key: Some(mac_key.clone()),
            allowed: arguments.allow.iter().map(NamePattern::to_string).collect(),
            reusable: arguments.reusable,
            created_at: now,
            expires_at: arguments.days.map(|days| now.plus(DAY * days)),
            revoked_at: None,
            accounts: 0,
        };
        let entry = by_operator(Kind::ExternalAccountCreated, &external, now)
            .with("name", external.name.clone())
            .with("allowed", external.allowed.as_slice())
            .with("reusable", external.reusable)
            .with("expires", external.expires_at.map(|time| time.to_string()));
        store.create_external_account(&external, &entry).await.map_err(Failure::failed)?;
        let credentials = Credentials {
            ca: external.ca.clone(),
            kid: external.kid.clone(),
            hmac_key: URL_SAFE_NO_PAD.encode(&mac_key),
            alg: external.algorithm.clone(),
        };
        if arguments.json {
            return print_json(&credentials);
        }
        let Credentials { ca, kid, hmac_key, alg } = &credentials;
        let times = if external.reusable { "any number of accounts" } else { "one account" };
        let until = match external.expires_at {
            None => String::new(),
            Some(expires_at) => format!(" until {expires_at}"),
        };
        print_listing(&format!(
            "key identifier : {kid}\nMAC key        : {hmac_key}\nalgorithm      : {alg}\n\n\
             It binds {times} of CA {ca:?}{until}. The MAC key is not shown again.\n\
             certbot: --eab-kid {kid} --eab-hmac-key {hmac_key}\n\
             lego:    --eab --kid {kid} --hmac {hmac_key}\n"
        ))
    })
}

fn by_operator(kind: Kind, external: &ExternalAccount, now: Timestamp) -> Entry {
    let actor = operator();
    Entry::new(kind, actor, external.kid.as_str(), now).ca(&external.ca)
}

/// As long as its algorithm's hash (RFC 7518 §3.2).
fn mac_key(algorithm: MacAlgorithm) -> Result<Vec<u8>, NoEntropy> {
    loop {
        let key = match algorithm {
            MacAlgorithm::Hs256 => Entropy.bytes::<32>()?.to_vec(),
            MacAlgorithm::Hs384 => Entropy.bytes::<48>()?.to_vec(),
            MacAlgorithm::Hs512 => Entropy.bytes::<64>()?.to_vec(),
        };
        // Clients would take base64url that begins with a hyphen for an option.
        if !URL_SAFE_NO_PAD.encode(&key).starts_with('-') {
            return Ok(key);
        }
    }
}

/// A key, as it is listed.
#[derive(Serialize)]
struct Listed {
    kid: String,
    ca: String,
    name: Option<String>,
    status: &'static str,
    alg: String,
    reusable: bool,
    allowed: Vec<String>,
    /// How many it has bound.
    accounts: i64,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

fn list(config: Option<&Path>, arguments: &List) -> Result<(), Failure> {
    let now = Clock::System.now();
    with_store(config, async |_, store| {
        let listed: Vec<_> = all(store, arguments.ca.as_deref())
            .await?
            .into_iter()
            .map(|external| Listed {
                status: external.status(now).as_str(),
                kid: external.kid,
                ca: external.ca,
                name: external.name,
                alg: external.algorithm,
                reusable: external.reusable,
                allowed: external.allowed,
                accounts: external.accounts,
                created_at: external.created_at,
                expires_at: external.expires_at,
                revoked_at: external.revoked_at,
            })
            .collect();
        if arguments.json { print_json(&listed) } else { print_listing(&text_of(&listed)) }
    })
}

fn text_of(listed: &[Listed]) -> String {
    let mut text = String::new();
    for key in listed {
        text += &format!("{}  {}\n", key.kid, key.name.as_deref().unwrap_or_default());
        let kind = if key.reusable { ", reusable" } else { "" };
        text += &format!("  status   : {}{kind}\n", key.status);
        text += &format!("  ca       : {}\n", key.ca);
        if !key.allowed.is_empty() {
            text += &format!("  allowed  : {}\n", key.allowed.join(", "));
        }
        text += &format!("  accounts : {}\n", key.accounts);
        text += &format!("  created  : {}\n", key.created_at);
        for (what, at) in [("expires ", key.expires_at), ("revoked ", key.revoked_at)] {
            if let Some(at) = at {
                text += &format!("  {what} : {at}\n");
            }
        }
    }
    text
}

async fn all(store: &Store, ca: Option<&str>) -> Result<Vec<ExternalAccount>, Failure> {
    let mut all: Vec<ExternalAccount> = Vec::new();
    loop {
        let page = store.external_accounts(ca, all.last(), PAGE).await.map_err(Failure::failed)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn revoke(config: Option<&Path>, arguments: &Revoke) -> Result<(), Failure> {
    let now = Clock::System.now();
    let kid = arguments.kid.as_str();
    with_store(config, async |_, store| {
        let Some(found) = store.external_account(kid).await.map_err(Failure::failed)? else {
            let what = format!("there is no key {kid:?}; see kipuka eab list");
            return Err(Failure::Failed(what));
        };
        let entry = by_operator(Kind::ExternalAccountRevoked, &found, now);
        let revoked = store.revoke_external_account(kid, now, &entry).await;
        let revoked = revoked.map_err(Failure::failed)?;
        let accounts = store.accounts_bound_by(kid).await.map_err(Failure::failed)?;
        let said = if revoked { "is revoked" } else { "was revoked before" };
        println!("{kid} of CA {:?} {said}; it binds no more accounts", found.ca);
        if !arguments.deactivate_accounts {
            if !accounts.is_empty() {
                println!(
                    "{} accounts that it has bound go on; --deactivate-accounts stops them",
                    accounts.len()
                );
            }
            return Ok(());
        }
        for account in accounts {
            let account = account::find(store, &account).await?;
            account::deactivate(store, &account, now).await?;
            println!("account {} is deactivated", account.id);
        }
        Ok(())
    })
}

/// For clap: an algorithm.
fn algorithm(text: &str) -> Result<MacAlgorithm, String> {
    MacAlgorithm::from_name(&text.to_ascii_uppercase())
        .ok_or_else(|| "write HS256, HS384 or HS512".to_owned())
}

/// For clap: a pattern of names.
fn pattern(text: &str) -> Result<NamePattern, String> {
    text.parse().map_err(|why| format!("{text:?} {why}"))
}

/// For clap: a name that can stand in a line.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err("write one line of at most 200 characters".to_owned());
    }
    Ok(text.to_owned())
}
