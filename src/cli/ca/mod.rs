//! `kipuka ca`: the key ceremony. Each command does its work in the same order: what it needs is
//! found and checked, the bytes are prepared and linted, the key signs, the result is verified as a
//! client would, and only then are files written.

mod create;
mod import;
mod issuer;
mod key;
mod show;
mod sign;
mod verify;

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;

use super::Failure;
use super::files;
use super::transcript::{self, Transcript};
use crate::ca::{CeremonyError, Lifetime, PreparedCa};
use crate::x509::chain::Chain;
use crate::x509::description::sha256_hex;
use crate::x509::subject::Subject;
use crate::x509::tbs::TbsError;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a root: a CA certificate that its own key signs
    CreateRoot(create::Root),
    /// Make a CA below another: with the other's key here, or by a request (CSR) for one elsewhere
    CreateIntermediate(create::Intermediate),
    /// Sign a request for a CA certificate with the key of a CA here
    SignCsr(sign::Csr),
    /// Take the certificate that came back for a request, check it, and write the chain for [[ca]]
    Import(import::Arguments),
    /// Give a CA that exists a second certificate, from another CA here
    CrossSign(sign::Cross),
    /// Show the certificates of the configured CAs, or of a file, and where their keys are
    Show(show::Arguments),
    /// Check each configured CA: path to the root, dates, key usage, path length, test signature
    Verify(verify::Arguments),
}

pub(super) fn ca(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    match command {
        Command::CreateRoot(arguments) => create::root(config, arguments),
        Command::CreateIntermediate(arguments) => create::intermediate(config, arguments),
        Command::SignCsr(arguments) => sign::csr(config, arguments),
        Command::Import(arguments) => import::import(config, arguments),
        Command::CrossSign(arguments) => sign::cross(config, arguments),
        Command::Show(arguments) => show::show(config, arguments),
        Command::Verify(arguments) => verify::verify(config, arguments),
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A hundred years, as `validity_days` in the configuration.
const MAX_DAYS: u32 = 36_500;

/// For clap: a number of days, or `max`.
fn lifetime(text: &str) -> Result<Lifetime, String> {
    match text.parse() {
        Ok(days @ 1..=MAX_DAYS) => Ok(Lifetime::For(DAY * days)),
        _ if text == "max" => Ok(Lifetime::AsIssuer),
        _ => Err(format!(
            "write a number of days, 1 to {MAX_DAYS}, or max for as long as the issuer"
        )),
    }
}

/// For clap: as [`lifetime`], of a root.
fn days(text: &str) -> Result<Lifetime, String> {
    match text.parse() {
        Ok(days @ 1..=MAX_DAYS) => Ok(Lifetime::For(DAY * days)),
        _ => Err(format!("write a number of days, 1 to {MAX_DAYS}")),
    }
}

/// For clap: a name as RFC 4514 writes it.
fn subject(text: &str) -> Result<Subject, String> {
    text.parse().map_err(|error: crate::x509::subject::SubjectError| error.to_string())
}

/// What the ceremony refuses, and which option mends it.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn refused(error: CeremonyError) -> Failure {
    let remedy = match &error {
        CeremonyError::Tbs(TbsError::OutlivesIssuer { days: days @ 1.. }) => {
            format!("; write --days {days} or fewer, or --days max for as long as the issuer")
        }
        CeremonyError::Tbs(TbsError::PathLengthOfIssuer { most }) => {
            format!("; write --path-len {most}")
        }
        _ => String::new(),
    };
    Failure::Failed(format!("{error}{remedy}"))
}

/// What a dry run says of the certificate.
fn summary(prepared: &PreparedCa) -> String {
    format!(
        "the certificate of {}, issued by {}, valid from {} until {}",
        prepared.subject, prepared.issuer, prepared.not_before, prepared.not_after
    )
}

/// How a dry run ends.
fn would_write(out: &Path) -> Result<(), Failure> {
    say!("would write: {} and a transcript", out.display());
    say!("Dry run: nothing was made, signed or written");
    Ok(())
}

/// Writes the chain and ends the transcript.
fn keep(
    mut transcript: Transcript,
    arguments: &transcript::Arguments,
    out: &Path,
    chain: &Chain,
    checks: &[&str],
) -> Result<(), Failure> {
    let file = chain.to_file();
    files::write(out, file.as_bytes(), 0o644, arguments.existing())?;
    let certificate = chain.issuer();
    say!("{}: the certificate of {}", out.display(), certificate.subject());
    // To be read aloud and compared.
    say!("SHA-256 fingerprint: {}", sha256_hex(certificate.der()));
    transcript.certificate("Certificate", certificate.der())?;
    transcript.section("Checks");
    for check in checks {
        transcript.line("ok", check);
    }
    let above: Vec<_> = chain.certificates().skip(1).map(|above| above.subject()).collect();
    if !above.is_empty() {
        transcript.line("ok", format!("the path leads to {}", above.join(", then ")));
    }
    transcript.end(&[(out, file.as_bytes())])
}

const MADE_HERE: [&str; 3] = [
    "the bytes were read back and linted before the key signed them",
    "the key made a test signature, which its public key verifies",
    "the certificate's signature and path verify as of now (RFC 5280 §6)",
];
