//! `kipuka ca create-root` and `create-intermediate`.

use std::path::{Path, PathBuf};

use super::super::token::{Tokens, with_tokens};
use super::super::transcript::{self, Transcript};
use super::super::{Failure, files};
use super::issuer::Issuer;
use super::key::Place;
use super::{MADE_HERE, days, issuer, keep, key, lifetime, subject};
use crate::ca::{Lifetime, NewCa, PreparedCa, prepare_ca, prepare_request, stand_in_key};
use crate::clock::Clock;
use crate::config::Needs;
use crate::entropy::Entropy;
use crate::signer::Signer as _;
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};
use crate::x509::pem;
use crate::x509::request::CaRequest;
use crate::x509::subject::Subject;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Root {
    #[command(flatten)]
    key: key::Arguments,
    /// The root's name (RFC 4514), the common name first: "CN=Example Root,O=Example,C=DE"
    #[arg(long, value_name = "NAME", value_parser = subject)]
    subject: Subject,
    /// For how many days the root is valid
    #[arg(long, value_name = "N", value_parser = days)]
    days: Lifetime,
    /// How many CAs may stand one below the other under this one [default: any number]
    #[arg(long, value_name = "N")]
    path_len: Option<u8>,
    /// Where the certificate goes (PEM)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    transcript: transcript::Arguments,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "\
    kipuka ca create-intermediate --id <HEX> --subject <NAME> --issuer-id <HEX> --issuer-cert <FILE> --days <N|max> --out <FILE> [OPTIONS]\n       \
    kipuka ca create-intermediate --id <HEX> --subject <NAME> --csr-out <FILE> [OPTIONS]")]
pub(in crate::cli) struct Intermediate {
    #[command(flatten)]
    key: key::Arguments,
    /// The new CA's name (RFC 4514), the common name first: "CN=Example CA,O=Example,C=DE"
    #[arg(long, value_name = "NAME", value_parser = subject)]
    subject: Subject,
    #[command(flatten)]
    issuer: Option<issuer::Arguments>,
    /// For how many days the CA is valid, no longer than its issuer; max is as long as that
    #[arg(long, value_name = "N|max", value_parser = lifetime, required_unless_present = "csr_out", conflicts_with = "csr_out")]
    days: Option<Lifetime>,
    /// How many CAs may stand one below the other under this one [default: as many as the issuer
    /// allows]
    #[arg(long, value_name = "N")]
    path_len: Option<u8>,
    /// Where the certificate goes, with those above it behind (PEM), as [[ca]] cert takes it
    #[arg(long, value_name = "FILE", required_unless_present = "csr_out")]
    out: Option<PathBuf>,
    /// Write a request (PKCS #10) for a CA elsewhere to sign, and no certificate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "issuer"])]
    csr_out: Option<PathBuf>,
    #[command(flatten)]
    transcript: transcript::Arguments,
}

pub(super) fn root(config: Option<&Path>, arguments: &Root) -> Result<(), Failure> {
    with_tokens(config, Needs::Token, |tokens| {
        files::check_writable(&arguments.out, arguments.transcript.existing())?;
        let mut transcript =
            Transcript::begin("a root", &arguments.transcript, Some(&arguments.out), tokens)?;
        let place = Place::find(tokens, &arguments.key, &mut transcript)?;
        let prepare = |key: &PublicKey| {
            let new = NewCa {
                subject: &arguments.subject,
                public_key: key,
                key_identifier: None,
                issuer: None,
                path_len: arguments.path_len,
                lifetime: arguments.days,
            };
            let algorithm = SignatureAlgorithm::default_for(key.key_type());
            prepare_ca(&new, algorithm, Clock::System.now(), Entropy).map_err(Failure::failed)
        };
        let Some((key, prepared)) = ready(&place, arguments.transcript.dry_run, prepare)? else {
            return super::would_write(&arguments.out);
        };
        let (mut transcript, chain) = place.go_on(transcript, &key, || {
            let signer = place.signer(&key, tokens)?;
            tokens.runtime.block_on(prepared.sign(&signer)).map_err(Failure::failed)
        })?;
        place.tell(&mut transcript, &key)?;
        keep(transcript, &arguments.transcript, &arguments.out, &chain, &MADE_HERE)
    })
}

pub(super) fn intermediate(config: Option<&Path>, arguments: &Intermediate) -> Result<(), Failure> {
    match (&arguments.csr_out, &arguments.issuer, &arguments.out, arguments.days) {
        (Some(csr), ..) => with_tokens(config, Needs::Token, |tokens| request(tokens, arguments, csr)),
        (None, Some(issuer), Some(out), Some(days)) => with_tokens(config, Needs::Token, |tokens| {
            below(tokens, arguments, issuer, out, days)
        }),
        _ => Err(Failure::Misconfigured(
            "kipuka: who signs? Name the issuer here with --issuer-id and --issuer-cert, or write a request for a \
             CA elsewhere with --csr-out"
                .to_owned(),
        )),
    }
}

fn below(
    tokens: &Tokens,
    arguments: &Intermediate,
    issuer: &issuer::Arguments,
    out: &Path,
    lifetime: Lifetime,
) -> Result<(), Failure> {
    files::check_writable(out, arguments.transcript.existing())?;
    let what = "a CA below another";
    let mut transcript = Transcript::begin(what, &arguments.transcript, Some(out), tokens)?;
    let place = Place::find(tokens, &arguments.key, &mut transcript)?;
    let issuer = Issuer::find(tokens, issuer, Some(&place.open), &mut transcript)?;
    let prepare = |key: &PublicKey| {
        let new = NewCa {
            subject: &arguments.subject,
            public_key: key,
            key_identifier: None,
            issuer: Some(&issuer.chain),
            path_len: arguments.path_len,
            lifetime,
        };
        prepare_ca(&new, issuer.algorithm, Clock::System.now(), Entropy).map_err(super::refused)
    };
    let Some((key, prepared)) = ready(&place, arguments.transcript.dry_run, prepare)? else {
        return super::would_write(out);
    };
    let (mut transcript, chain) = place.go_on(transcript, &key, || {
        // The new CA must have its key, too: a certificate for a key that does not sign is of no use.
        place.signer(&key, tokens)?;
        let signer = issuer.signer(tokens)?;
        tokens.runtime.block_on(prepared.sign(&signer)).map_err(Failure::failed)
    })?;
    place.tell(&mut transcript, &key)?;
    issuer.tell(&mut transcript)?;
    keep(transcript, &arguments.transcript, out, &chain, &MADE_HERE)
}

/// The key and what is to be signed for it; `None` in a dry run. A key that is yet to be made is made
/// last: all else is tried before with another in its place.
fn ready(
    place: &Place<'_>,
    dry_run: bool,
    prepare: impl Fn(&PublicKey) -> Result<PreparedCa, Failure>,
) -> Result<Option<(PublicKey, PreparedCa)>, Failure> {
    let existing = place.existing_key()?;
    let rehearsed = match &existing {
        Some(key) => prepare(key)?,
        None => prepare(&stand_in_key().map_err(Failure::failed)?)?,
    };
    if dry_run {
        if existing.is_none() {
            say!("{}", place.intention());
        }
        say!("would sign: {}", super::summary(&rehearsed));
        return Ok(None);
    }
    match existing {
        Some(key) => Ok(Some((key, rehearsed))),
        None => {
            let key = place.make()?;
            let prepared = prepare(&key)?;
            Ok(Some((key, prepared)))
        }
    }
}

fn request(tokens: &Tokens, arguments: &Intermediate, csr: &Path) -> Result<(), Failure> {
    files::check_writable(csr, arguments.transcript.existing())?;
    let what = "a request for a CA certificate";
    let mut transcript = Transcript::begin(what, &arguments.transcript, Some(csr), tokens)?;
    let place = Place::find(tokens, &arguments.key, &mut transcript)?;
    let prepare = |key: &PublicKey| {
        prepare_request(&CaRequest {
            subject: &arguments.subject,
            public_key: key,
            algorithm: SignatureAlgorithm::default_for(key.key_type()),
            path_len: arguments.path_len,
        })
        .map_err(Failure::failed)
    };
    let key = match place.existing_key()? {
        existing if arguments.transcript.dry_run => {
            match existing {
                Some(key) => prepare(&key)?,
                None => {
                    say!("{}", place.intention());
                    prepare(&stand_in_key().map_err(Failure::failed)?)?
                }
            };
            say!("would sign: a request for {}", arguments.subject);
            return super::would_write(csr);
        }
        Some(key) => key,
        None => place.make()?,
    };
    let (mut transcript, (der, algorithm)) = place.go_on(transcript, &key, || {
        let prepared = prepare(&key)?;
        let signer = place.signer(&key, tokens)?;
        let der = tokens.runtime.block_on(prepared.sign(&signer)).map_err(Failure::failed)?;
        Ok((der, signer.algorithm()))
    })?;
    let file = pem::request(&der);
    files::write(csr, file.as_bytes(), 0o644, arguments.transcript.existing())?;
    say!("{}: a request for {}", csr.display(), arguments.subject);
    place.tell(&mut transcript, &key)?;
    transcript.section("Request");
    transcript.line("Subject", &arguments.subject);
    transcript.line("Signature algorithm", algorithm);
    transcript.line("SHA-256 of its DER", crate::x509::description::sha256_hex(&der));
    transcript.section("Checks");
    transcript.line("ok", MADE_HERE[0]);
    transcript.line("ok", MADE_HERE[1]);
    transcript.line("ok", "the request's signature verifies with the key in it");
    transcript.end(&[(csr, file.as_bytes())])
}
