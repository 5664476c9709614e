//! `kipuka ca sign-csr` and `cross-sign`: the side of the CA that signs.

use std::path::{Path, PathBuf};

use super::super::token::with_tokens;
use super::super::transcript::{self, Transcript};
use super::super::{Failure, files};
use super::issuer::Issuer;
use super::{MADE_HERE, issuer, keep, lifetime};
use crate::ca::{Lifetime, NewCa, prepare_ca};
use crate::clock::{Clock, Timestamp};
use crate::config::Needs;
use crate::entropy::Entropy;
use crate::x509::description::sha256_hex;
use crate::x509::request::ReceivedRequest;
use crate::x509::subject::Subject;

/// What both commands take.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Common {
    #[command(flatten)]
    issuer: issuer::Arguments,
    /// For how many days the certificate is valid, no longer than its issuer; max is as long as that
    #[arg(long, value_name = "N|max", value_parser = lifetime)]
    days: Lifetime,
    /// Where the certificate goes, with those above it behind (PEM)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    transcript: transcript::Arguments,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Csr {
    /// The request (PKCS #10, PEM or DER); its signature is verified
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// How many CAs may stand one below the other under the new one [default: what the request says]
    #[arg(long, value_name = "N")]
    path_len: Option<u8>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Cross {
    /// The certificate that the CA has; the second one is for the same name and key
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// How many CAs may stand one below the other under it [default: what its certificate says]
    #[arg(long, value_name = "N")]
    path_len: Option<u8>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn csr(config: Option<&Path>, arguments: &Csr) -> Result<(), Failure> {
    let shown = arguments.csr.display();
    let der = files::request(&arguments.csr, "--csr")?;
    let request = ReceivedRequest::from_der(&der)
        .map_err(|error| Failure::Failed(format!("{shown}: {error}")))?;
    say!("{shown}: a request for {}, signed by its key", request.subject);
    let new = NewCa {
        subject: &request.subject,
        public_key: &request.public_key,
        key_identifier: None,
        issuer: None,
        path_len: arguments.path_len.or(request.path_len),
        lifetime: arguments.common.days,
    };
    sign(config, &arguments.common, "the signing of a request", new, |transcript| {
        transcript.section("Request");
        transcript.line("File", &shown);
        transcript.line("SHA-256 of its DER", sha256_hex(&der));
        transcript.line("Subject", &request.subject);
        transcript.line("ok", "its signature verifies with the key in it");
        Ok(())
    })
}

pub(super) fn cross(config: Option<&Path>, arguments: &Cross) -> Result<(), Failure> {
    let shown = arguments.cert.display();
    let failed = |what: String| Failure::Failed(format!("{shown}: {what}"));
    // Those above it must fit, too, where the file holds them.
    let chain = files::chain(&arguments.cert, "--cert")?;
    let present = chain.issuer();
    let now = Clock::System.now().unix_s();
    if now > present.not_after_s() {
        let end = Timestamp::from_unix_s(present.not_after_s());
        return Err(failed(format!("the CA's certificate expired at {end}")));
    }
    let subject =
        Subject::from_der(present.subject_der()).map_err(|error| failed(error.to_string()))?;
    say!("{shown}: the certificate of {subject}");
    let new = NewCa {
        subject: &subject,
        public_key: present.public_key(),
        key_identifier: Some(present.subject_key_identifier()),
        issuer: None,
        path_len: arguments.path_len.or_else(|| present.path_len()),
        lifetime: arguments.common.days,
    };
    sign(config, &arguments.common, "a second certificate for a CA", new, |transcript| {
        transcript.certificate("Certificate that the CA has", present.der())
    })
}

fn sign(
    config: Option<&Path>,
    arguments: &Common,
    what: &str,
    new: NewCa<'_>,
    tell: impl Fn(&mut Transcript) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_tokens(config, Needs::Token, |tokens| {
        let out = &arguments.out;
        files::check_writable(out, arguments.transcript.existing())?;
        let mut transcript = Transcript::begin(what, &arguments.transcript, Some(out), tokens)?;
        let issuer = Issuer::find(tokens, &arguments.issuer, None, &mut transcript)?;
        let new = NewCa { issuer: Some(&issuer.chain), ..new };
        let prepared = prepare_ca(&new, issuer.algorithm, Clock::System.now(), Entropy)
            .map_err(super::refused)?;
        if arguments.transcript.dry_run {
            say!("would sign: {}", super::summary(&prepared));
            return super::would_write(out);
        }
        let signer = issuer.signer(tokens)?;
        let chain = tokens.runtime.block_on(prepared.sign(&signer)).map_err(Failure::failed)?;
        issuer.tell(&mut transcript)?;
        tell(&mut transcript)?;
        keep(transcript, &arguments.transcript, out, &chain, &MADE_HERE)
    })
}
