//! `kipuka ca import`: the certificate that a CA elsewhere made for a key here.

use std::path::{Path, PathBuf};

use super::super::token::{Id, with_tokens};
use super::super::transcript::{self, Transcript};
use super::super::{Failure, files};
use super::{keep, subject};
use crate::ca;
use crate::clock::Clock;
use crate::config::Needs;
use crate::x509::request::ReceivedRequest;
use crate::x509::subject::Subject;

#[derive(Debug, clap::Args)]
#[command(override_usage = "\
    kipuka ca import --id <HEX> --cert <FILE> --csr <FILE> --out <FILE> [OPTIONS]\n       \
    kipuka ca import --id <HEX> --cert <FILE> --subject <NAME> --out <FILE> [OPTIONS]")]
pub(in crate::cli) struct Arguments {
    /// The `CKA_ID` of the CA's key in hex
    #[arg(long, value_name = "HEX", value_parser = Id::parse)]
    id: Id,
    /// The name of the [[hsm]] with the key's token; needed where there are several
    #[arg(long, value_name = "NAME")]
    hsm: Option<String>,
    /// The certificate that came back (PEM or DER); others may stand in the file, in any order
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The certificates above it up to the root, where they are not in the file of --cert
    #[arg(long, value_name = "FILE")]
    issuer_cert: Option<PathBuf>,
    /// The request that it answers: the certificate must have its name and key
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "subject",
        conflicts_with = "subject"
    )]
    csr: Option<PathBuf>,
    /// The name that was asked for, where the request is gone
    #[arg(long, value_name = "NAME", value_parser = subject)]
    subject: Option<Subject>,
    /// Where the certificate goes, with those above it behind (PEM), as [[ca]] cert takes it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    transcript: transcript::Arguments,
}

const CHECKED: [&str; 4] = [
    "the certificate is for the key in the token, which made a test signature",
    "its subject is the one that was asked for",
    "it is a CA's, may sign certificates and CRLs, and is in force",
    "its signature and path verify as of now (RFC 5280 §6)",
];

pub(super) fn import(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let shown = arguments.cert.display();
    let mut certificates = files::ca_certificates(&arguments.cert, "--cert")?;
    if let Some(above) = &arguments.issuer_cert {
        certificates.extend(files::ca_certificates(above, "--issuer-cert")?);
    }
    let request = match &arguments.csr {
        Some(path) => {
            let der = files::request(path, "--csr")?;
            let request = ReceivedRequest::from_der(&der);
            Some(request.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?)
        }
        None => None,
    };
    let asked = request.as_ref().map(|request| &request.subject).or(arguments.subject.as_ref());
    let Some(subject) = asked else {
        return Err(Failure::Misconfigured("kipuka: give --csr or --subject".to_owned()));
    };
    with_tokens(config, Needs::Token, |tokens| {
        let out = &arguments.out;
        files::check_writable(out, arguments.transcript.existing())?;
        let what = "a certificate made elsewhere for a key here";
        let mut transcript = Transcript::begin(what, &arguments.transcript, Some(out), tokens)?;
        let open = tokens.open(arguments.hsm.as_deref())?;
        transcript.token("Token", &open)?;
        let key = open.token.public_key(&arguments.id.0).map_err(Failure::failed)?;
        if let Some(request) = request.as_ref().filter(|request| request.public_key != key) {
            return Err(Failure::Failed(format!(
                "the request is for key id {}, and the key with CKA_ID {} has key id {}: they \
                 do not belong together; check --csr and --id",
                request.public_key.key_identifier_hex(),
                arguments.id,
                key.key_identifier_hex()
            )));
        }
        let chain =
            ca::import(&certificates, &key, subject, Clock::System.now()).map_err(|error| {
                let remedy = match &error {
                    ca::ImportError::NoIssuer(..) => "; give it with --issuer-cert",
                    _ => "",
                };
                Failure::Failed(format!("{shown}: {error}{remedy}"))
            })?;
        let usage = chain.issuer().key_usage();
        if usage.is_some_and(|usage| !usage.contains("digitalSignature")) {
            eprintln!(
                "warning: the certificate's key usage lacks digitalSignature; key_usage in [[ca]] must not \
                 demand it"
            );
        }
        if arguments.transcript.dry_run {
            say!("would take: the certificate of {}", chain.issuer().subject());
            return super::would_write(out);
        }
        tokens.signer(&open, &arguments.id, &key)?;
        transcript.key("Key", &open, &arguments.id.0, &key)?;
        keep(transcript, &arguments.transcript, out, &chain, &CHECKED)
    })
}
