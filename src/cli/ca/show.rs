//! `kipuka ca show`: what CA certificates say, where their keys are, and whether the two belong
//! together.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::token::{Tokens, with_tokens};
use super::super::transcript::fields;
use super::super::{Failure, files};
use crate::clock::Timestamp;
use crate::config::{Ca, CaKey, Needs};
use crate::signer::key_file::KeyFile;
use crate::x509::algorithm::PublicKey;
use crate::x509::description::{Description, hex};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The id of a [[ca]], or a file with certificates (PEM or DER) [default: every [[ca]]]
    #[arg(value_name = "CA|FILE")]
    what: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A CA, or a file.
#[derive(Debug, Serialize)]
struct Shown {
    /// The id of the `[[ca]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    file: PathBuf,
    certificates: Vec<Certificate>,
    /// Each place where the key of the first certificate is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<Key>>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    subject: String,
    issuer: String,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    key_type: String,
    is_ca: bool,
    path_len: Option<u8>,
    key_usage: Option<Vec<&'static str>>,
    subject_key_identifier: Option<String>,
    authority_key_identifier: Option<String>,
    signature_algorithm: String,
    sha256: String,
    public_key_sha256: String,
    #[serde(skip)]
    description: Description,
}

#[derive(Debug, Serialize)]
struct Key {
    place: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cka_id: Option<String>,
    /// Whether it is the certificate's key; `null` where that could not be found out.
    matches: Option<bool>,
    detail: String,
}

pub(super) fn show(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.what {
        Some(what) if !may_be_id(what) => {
            let shown = Shown {
                ca: None,
                file: what.clone(),
                certificates: certificates(what, "the command")?,
                keys: None,
            };
            print(&[shown], arguments.json)
        }
        what => with_tokens(config, Needs::Token, |tokens| {
            let id = what.as_ref().map(|id| id.to_string_lossy());
            let shown = configured(tokens, id.as_deref())?;
            print(&shown, arguments.json)
        }),
    }
}

/// Whether it is written as the id of a `[[ca]]`, and is no file.
fn may_be_id(what: &Path) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    what.as_os_str().as_encoded_bytes().iter().all(|b| good(*b)) && !what.exists()
}

fn configured(tokens: &Tokens, id: Option<&str>) -> Result<Vec<Shown>, Failure> {
    let config = &tokens.config;
    let meant: Vec<_> = config.cas.iter().filter(|ca| id.is_none_or(|id| ca.id == id)).collect();
    if meant.is_empty() {
        let known: Vec<_> = config.cas.iter().map(|ca| ca.id.as_str()).collect();
        let file = config.file.display();
        return Err(Failure::Misconfigured(match id {
            Some(id) => format!(
                "{file}: there is no [[ca]] with the id {id:?} (and no such file); there is: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ),
            None => format!("{file}: there is no [[ca]] yet; name a file, or add one"),
        }));
    }
    let shown = meant.into_iter().map(|ca| {
        let certificates = certificates(&ca.cert, "[[ca]] cert")?;
        let own = certificates.first().and_then(|own| own.description.public_key.as_ref());
        Ok(Shown {
            ca: Some(ca.id.clone()),
            file: ca.cert.clone(),
            keys: own.map(|own| keys(tokens, ca, own)).transpose()?,
            certificates,
        })
    });
    shown.collect()
}

fn certificates(path: &Path, named_by: &str) -> Result<Vec<Certificate>, Failure> {
    let ders = files::certificates(path, named_by)?;
    let described = ders.iter().map(|der| {
        let description = Description::of(der).map_err(|error| {
            Failure::Failed(format!("{}: a certificate {error}", path.display()))
        })?;
        let shown = description.clone();
        Ok(Certificate {
            subject: shown.subject,
            issuer: shown.issuer,
            serial: shown.serial,
            not_before: Timestamp::from_unix_s(shown.not_before_s),
            not_after: Timestamp::from_unix_s(shown.not_after_s),
            key_type: shown.key_type,
            is_ca: shown.is_ca,
            path_len: shown.path_len,
            key_usage: shown.key_usage,
            subject_key_identifier: shown.subject_key_identifier,
            authority_key_identifier: shown.authority_key_identifier,
            signature_algorithm: shown.signature_algorithm,
            sha256: shown.sha256,
            public_key_sha256: shown.public_key_sha256,
            description,
        })
    });
    described.collect()
}

/// Looks for the key in each of its places. It is not made to sign: `kipuka ca verify` does that.
fn keys(tokens: &Tokens, ca: &Ca, expected: &PublicKey) -> Result<Vec<Key>, Failure> {
    let CaKey::Hsm { cka_id, tokens: names, .. } = &ca.key else {
        let CaKey::File(path) = &ca.key else { return Ok(Vec::new()) };
        let opened = KeyFile::open(path, None, Some(expected));
        return Ok(vec![Key {
            place: format!("the file {}", path.display()),
            cka_id: None,
            matches: Some(opened.is_ok()),
            detail: opened.map_or_else(|error| error.to_string(), |_| "it matches".to_owned()),
        }]);
    };
    let mut keys = Vec::new();
    for name in names {
        let (place, found) = match tokens.open(Some(name)) {
            Ok(open) => {
                let token = &open.token;
                let place =
                    format!("the token {:?} of {}", token.label(), open.hsm.library.display());
                (place, token.public_key(cka_id).map_err(|error| error.to_string()))
            }
            // To go on would be to try the PIN again.
            Err(refused @ Failure::Misconfigured(_)) => return Err(refused),
            Err(failed) => {
                (format!("the token of [[hsm]] {name:?}"), Err(failed.text().to_owned()))
            }
        };
        let (matches, detail) = match found {
            Ok(found) if found == *expected => (Some(true), "it matches".to_owned()),
            Ok(found) => (
                Some(false),
                format!(
                    "another key has this id there, with key id {}",
                    found.key_identifier_hex()
                ),
            ),
            Err(why) => (None, why),
        };
        keys.push(Key { place, cka_id: Some(hex(cka_id)), matches, detail });
    }
    Ok(keys)
}

fn print(shown: &[Shown], json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(shown).map_err(Failure::failed)?);
        return Ok(());
    }
    for (place, one) in shown.iter().enumerate() {
        if place > 0 {
            println!();
        }
        match &one.ca {
            Some(id) => println!("CA {id:?}: {}", one.file.display()),
            None => println!("{}", one.file.display()),
        }
        for (place, certificate) in one.certificates.iter().enumerate() {
            if place > 0 {
                println!("  above it:");
            }
            for (name, value) in fields(&certificate.description) {
                println!("  {name:<26}{value}");
            }
            if place == 0 {
                for key in one.keys.iter().flatten() {
                    let id = key.cka_id.as_ref().map(|id| format!("CKA_ID {id} on "));
                    let id = id.unwrap_or_default();
                    println!("  {:<26}{id}{}: {}", "Key", key.place, key.detail);
                }
            }
        }
    }
    Ok(())
}
