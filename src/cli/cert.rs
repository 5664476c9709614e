//! `kipuka cert`: the certificates that were issued, and their revocation.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::circumstances::who;
use super::{Failure, print_json, print_listing, with_store};
use crate::clock::{Clock, Timestamp};
use crate::flow;
use crate::store::{FoundCertificate, Store};
use crate::x509::certificate::CertificateFacts;
use crate::x509::pem;
use crate::x509::revocation_list::Reason;

/// Rows that are read from the database at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List issued certificates, the newest first
    List(Filter),
    /// Show a certificate, and whether it was revoked
    Show(Chosen),
    /// Revoke a certificate, for good; a running server publishes the CRL at once
    Revoke {
        #[command(flatten)]
        chosen: Chosen,
        /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or
        /// privilegeWithdrawn (RFC 5280 §5.3.1)
        #[arg(long, value_name = "REASON", default_value = "unspecified", value_parser = reason)]
        reason: Reason,
    },
}

#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only those of this [[ca]], by its id
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// Only the one with this serial, in hex
    #[arg(long, value_name = "HEX", value_parser = serial)]
    serial: Option<String>,
    /// Only those for this name or address; a name beginning with a dot finds all below it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only those that end before this day (2027-01-31) or time (2027-01-31T12:00:00Z), and have not yet
    #[arg(long, value_name = "TIME", value_parser = time)]
    expiring_before: Option<Timestamp>,
    /// No more than so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Chosen {
    /// Its serial in hex, as `openssl x509 -serial` prints it
    #[arg(long, value_name = "HEX", value_parser = serial)]
    serial: String,
    /// Its [[ca]], by its id, where several have issued one with this serial
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn cert(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    with_store(config, async |_, store| match command {
        Command::List(filter) => list(store, filter).await,
        Command::Show(chosen) => show(store, chosen).await,
        Command::Revoke { chosen, reason } => revoke(store, chosen, *reason).await,
    })
}

/// Text is printed page by page, so that little is held of very many certificates.
async fn list(store: &Store, filter: &Filter) -> Result<(), Failure> {
    let now = Clock::System.now();
    let (mut before, mut rows, mut left) = (None, Vec::new(), filter.limit.unwrap_or(u64::MAX));
    loop {
        let page = match &filter.serial {
            // The database finds it by itself.
            Some(serial) => store.certificates_by_serial(serial).await,
            None => store.certificates(filter.ca.as_deref(), before, PAGE).await,
        };
        let page = page.map_err(Failure::failed)?;
        let mut text = String::new();
        for found in &page {
            let certificate = Certificate::of(found)?;
            if left == 0 || !filter.lets_pass(&certificate, now) {
                continue;
            }
            left -= 1;
            if filter.json {
                rows.push(certificate.json());
            } else {
                text += &certificate.line(now);
            }
        }
        print_listing(&text)?;
        let full = filter.serial.is_none() && page.len() as i64 == PAGE;
        match page.last() {
            Some(last) if full && left > 0 => before = Some(last.cursor()),
            _ => break,
        }
    }
    if filter.json { print_json(&rows) } else { Ok(()) }
}

async fn show(store: &Store, chosen: &Chosen) -> Result<(), Failure> {
    let found = find(store, chosen).await?;
    let certificate = Certificate::of(&found)?;
    if chosen.json {
        return print_json(&certificate.json());
    }
    print_listing(&certificate.text(Clock::System.now()))
}

async fn revoke(store: &Store, chosen: &Chosen, reason: Reason) -> Result<(), Failure> {
    let found = find(store, chosen).await?;
    let now = Clock::System.now();
    let revoked = flow::revoke_as_operator(store, &found, reason, who(), now).await;
    if !revoked.map_err(Failure::failed)? {
        return Err(Failure::Failed(format!(
            "the certificate {} was revoked before; kipuka cert show --serial {0} tells when",
            found.serial
        )));
    }
    if chosen.json {
        let found = find(store, chosen).await?;
        return print_json(&Certificate::of(&found)?.json());
    }
    print_listing(&format!(
        "revoked: {} of CA {:?}, {}\nA running server publishes a CRL that tells of it.\n",
        found.serial,
        found.ca,
        reason.name()
    ))
}

async fn find(store: &Store, chosen: &Chosen) -> Result<FoundCertificate, Failure> {
    let found = store.certificates_by_serial(&chosen.serial).await.map_err(Failure::failed)?;
    let wanted = |found: &FoundCertificate| chosen.ca.as_ref().is_none_or(|ca| *ca == found.ca);
    let mut found: Vec<_> = found.into_iter().filter(wanted).collect();
    match (found.pop(), found.as_slice()) {
        (Some(only), []) => Ok(only),
        (Some(_), _) => Err(Failure::Failed(
            "several CAs have issued a certificate with this serial; say which with --ca"
                .to_owned(),
        )),
        (None, _) => Err(Failure::Failed(format!(
            "no certificate with the serial {} was issued{}",
            chosen.serial,
            chosen.ca.as_ref().map(|ca| format!(" by the CA {ca:?}")).unwrap_or_default()
        ))),
    }
}

impl Filter {
    fn lets_pass(&self, certificate: &Certificate<'_>, now: Timestamp) -> bool {
        let end = certificate.not_after();
        self.ca.as_ref().is_none_or(|ca| *ca == certificate.found.ca)
            && self.expiring_before.is_none_or(|before| end < before && end >= now)
            && self.name.as_ref().is_none_or(|name| certificate.has_name(name))
    }
}

/// A row with what its certificate says.
struct Certificate<'a> {
    found: &'a FoundCertificate,
    facts: CertificateFacts,
}

impl<'a> Certificate<'a> {
    fn of(found: &'a FoundCertificate) -> Result<Self, Failure> {
        let facts = CertificateFacts::of(&found.certificate).map_err(|error| {
            Failure::Failed(format!("the stored certificate {} {error}", found.serial))
        })?;
        Ok(Self { found, facts })
    }

    fn not_after(&self) -> Timestamp {
        Timestamp::from_unix_s(self.facts.not_after_s)
    }

    fn has_name(&self, wanted: &str) -> bool {
        let wanted = wanted.to_ascii_lowercase();
        self.facts
            .names()
            .any(|name| name == wanted || (wanted.starts_with('.') && name.ends_with(&wanted)))
    }

    fn status(&self, now: Timestamp) -> &'static str {
        match &self.found.revocation {
            Some(_) => "revoked",
            None if self.not_after() < now => "expired",
            None => "valid",
        }
    }

    fn names(&self) -> String {
        self.facts.names().collect::<Vec<_>>().join(" ")
    }

    /// One line of the list.
    fn line(&self, now: Timestamp) -> String {
        let (serial, ca) = (&self.found.serial, &self.found.ca);
        format!("{serial}  {ca}  {:7}  {}  {}\n", self.status(now), self.not_after(), self.names())
    }

    fn text(&self, now: Timestamp) -> String {
        let mut text = format!(
            "serial    : {}\nCA        : {}\nstatus    : {}\nnames     : {}\nvalid     : {} to {}\n\
             issued    : {}\nordered by: {}\n",
            self.found.serial,
            self.found.ca,
            self.status(now),
            self.names(),
            Timestamp::from_unix_s(self.facts.not_before_s),
            self.not_after(),
            self.found.issued_at,
            self.found.account_id.as_deref().map_or_else(
                || "nobody: it is kipuka's own".to_owned(),
                |account| format!("account {account}")
            ),
        );
        if let Some(revocation) = &self.found.revocation {
            text += &format!(
                "revoked   : {}, {}, by {}\n",
                revocation.revoked_at,
                reason_name(revocation.reason),
                revocation.revoked_by
            );
        }
        text + &pem::certificate(&self.found.certificate)
    }

    fn json(&self) -> Value {
        let revocation = self.found.revocation.as_ref().map(|revocation| {
            json!({
                "reason": reason_name(revocation.reason),
                "revoked_at": revocation.revoked_at,
                "revoked_by": revocation.revoked_by,
            })
        });
        json!({
            "serial": self.found.serial,
            "ca": self.found.ca,
            "account": self.found.account_id,
            "names": self.facts.names().collect::<Vec<_>>(),
            "not_before": Timestamp::from_unix_s(self.facts.not_before_s),
            "not_after": self.not_after(),
            "issued_at": self.found.issued_at,
            "revocation": revocation,
            "pem": pem::certificate(&self.found.certificate),
        })
    }
}

fn reason_name(code: i64) -> String {
    Reason::from_code(code).map_or_else(|| code.to_string(), |reason| reason.name().to_owned())
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::from_name(text).ok_or_else(|| {
        let names = Reason::ALL.map(Reason::name).join(", ");
        format!("write one of {names}")
    })
}

/// With or without colons, in either case.
pub(super) fn serial(text: &str) -> Result<String, String> {
    let serial: String = text.chars().filter(|c| *c != ':').collect();
    if serial.is_empty() || !serial.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("write hexadecimal digits".to_owned());
    }
    Ok(serial.to_ascii_lowercase())
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let midnight = format!("{text}T00:00:00Z");
    let time = text.parse::<jiff::Timestamp>().or_else(|_| midnight.parse());
    time.map(|time| Timestamp::from_unix_s(time.as_second()))
        .map_err(|_| "write 2027-01-31 or 2027-01-31T12:00:00Z".to_owned())
}
