//! The transcript of a key ceremony: plain text for an auditor's file, which says what was done, with
//! which program, token and key, and what came of it. No PIN stands in it.

use std::env;
use std::path::{Path, PathBuf};

use super::Failure;
use super::circumstances::{
    absolute, command_line, configuration_digest, digest_of, host, loaded_from, who,
};
use super::files::{self, Existing};
use super::token::{OpenToken, Tokens};
use crate::clock::{Clock, Timestamp};
use crate::signer::pkcs11::Token;
use crate::signer::pkcs11::attributes::{KeyFacts, key_facts};
use crate::signer::pkcs11::inventory;
use crate::x509::algorithm::PublicKey;
use crate::x509::description::{Description, sha256_hex};

/// Where values stand: behind the longest attribute's name.
const COLUMN: usize = 26;

/// What is written, and where to.
pub(super) struct Transcript {
    path: Option<PathBuf>,
    existing: Existing,
    witnesses: Vec<String>,
    text: String,
}

/// What every command of a ceremony takes.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "ceremony")]
pub(super) struct Arguments {
    /// Where the transcript goes [default: beside the file that is made, with .transcript.txt behind;
    /// where none is made there is no transcript]
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// Somebody who is present and will sign the transcript; may be given several times
    #[arg(long = "witness", value_name = "NAME")]
    witnesses: Vec<String>,
    /// Do everything but make, sign and write, and say what would be done
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
}

impl Arguments {
    pub(super) fn existing(&self) -> Existing {
        Existing::replace_if(self.force)
    }

    /// Where the transcript goes; `beside` is the file that is made, if one is.
    fn path(&self, beside: Option<&Path>) -> Option<PathBuf> {
        self.transcript.clone().or_else(|| {
            let mut path = beside?.as_os_str().to_owned();
            path.push(".transcript.txt");
            Some(PathBuf::from(path))
        })
    }
}

impl Transcript {
    /// Begins the transcript of `what`. Whether it can be written is found out now, not when there is
    /// something to tell.
    pub(super) fn begin(
        what: &str,
        arguments: &Arguments,
        beside: Option<&Path>,
        tokens: &Tokens,
    ) -> Result<Self, Failure> {
        let path = arguments.path(beside);
        let same = path.as_deref().zip(beside).is_some_and(|(one, other)| files::same(one, other));
        if same {
            return Err(Failure::Misconfigured(
                "kipuka: --transcript names the file that is made; name another".to_owned(),
            ));
        }
        if let Some(path) = &path {
            files::check_writable(path, arguments.existing())?;
        }
        let mut transcript = Self {
            path,
            existing: arguments.existing(),
            witnesses: arguments.witnesses.clone(),
            text: String::new(),
        };
        // Nothing of it would be kept.
        if arguments.dry_run || transcript.path.is_none() {
            transcript.path = None;
            return Ok(transcript);
        }
        transcript.text = format!("kipuka key ceremony: {what}\n");
        transcript.section("Circumstances");
        transcript.line("Begun", Clock::System.now());
        transcript.line("Program", format!("kipuka {}", env!("CARGO_PKG_VERSION")));
        transcript.line("  SHA-256", digest_of(env::current_exe().ok().as_deref()));
        transcript.line("Command", command_line(env::args()));
        transcript.line("Run by", who());
        transcript.line("On", host());
        transcript.line("Configuration", absolute(&tokens.config.file));
        transcript.line("  SHA-256", configuration_digest(tokens));
        Ok(transcript)
    }

    pub(super) fn section(&mut self, title: &str) {
        let line = "-".repeat(title.chars().count());
        self.text.push_str(&format!("\n{title}\n{line}\n"));
    }

    pub(super) fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let value = one_line(&value.to_string());
        self.text.push_str(&format!("{name:<COLUMN$}{value}\n"));
    }

    /// The library and the token in it.
    pub(super) fn token(&mut self, title: &str, open: &OpenToken) -> Result<(), Failure> {
        if self.path.is_none() {
            return Ok(());
        }
        self.section(title);
        let (library, found) = (&open.hsm.library, loaded_from(&open.hsm.library));
        self.line("Library", library.display());
        match &found {
            Some(real) if real != library => self.line("  loaded from", real.display()),
            _ => {}
        }
        self.line("  SHA-256", digest_of(found.as_deref()));
        let info = inventory::library(library).map_err(Failure::failed)?;
        self.line("  manufacturer", info.manufacturer);
        self.line("  description", info.description);
        self.line("  version", info.version);
        self.line("  PKCS#11 version", info.cryptoki_version);
        let Some(slot) = open.token.slot() else { return Ok(()) };
        self.line("Slot", format!("{slot:#x} ({slot})"));
        let slots = inventory::slots(library).map_err(Failure::failed)?;
        let entry = slots.into_iter().find(|entry| entry.slot == slot);
        if let Some(token) = entry.and_then(|entry| entry.token) {
            self.line("Token", format!("{:?}", token.label));
            self.line("  manufacturer", token.manufacturer);
            self.line("  model", token.model);
            self.line("  serial number", token.serial_number);
            self.line("  hardware version", token.hardware_version);
            self.line("  firmware version", token.firmware_version);
            self.line("  flags", token.flags.join(", "));
        }
        Ok(())
    }

    /// The private key with this `CKA_ID`, as the token shows it now.
    pub(super) fn key(
        &mut self,
        title: &str,
        open: &OpenToken,
        cka_id: &[u8],
        public_key: &PublicKey,
    ) -> Result<(), Failure> {
        if self.path.is_none() {
            return Ok(());
        }
        self.section(title);
        self.text.push_str("The private key's attributes, read back from the token:\n");
        let keys = key_facts(&open.token, Some(cka_id)).map_err(Failure::failed)?;
        for key in keys.iter().filter(|key| key.entry.private) {
            for (name, shown) in &key.attributes {
                self.line(name, shown);
            }
            for doubt in doubts(key) {
                self.line("NOTE", doubt);
            }
        }
        self.line("Public key", public_key.key_type());
        self.line("  SHA-256 of its SPKI", sha256_hex(public_key.spki()));
        self.line("  key identifier", public_key.key_identifier_hex());
        Ok(())
    }

    pub(super) fn certificate(&mut self, title: &str, der: &[u8]) -> Result<(), Failure> {
        let read = Description::of(der);
        let description =
            read.map_err(|error| Failure::failed(format!("the certificate {error}")))?;
        self.section(title);
        for (name, value) in fields(&description) {
            self.line(name, value);
        }
        Ok(())
    }

    /// Ends it where something was made, and what should have come after was not.
    pub(super) fn end_early(mut self, failure: &Failure) -> Result<(), Failure> {
        self.section("NOT DONE");
        self.line("Reason", failure.text());
        self.end(&[])
    }

    /// Ends it with the files that were written, and the places for signatures, and writes it.
    pub(super) fn end(mut self, written: &[(&Path, &[u8])]) -> Result<(), Failure> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        if !written.is_empty() {
            self.section("Files written");
            for (path, bytes) in written {
                self.line("File", absolute(path));
                self.line("  SHA-256", sha256_hex(bytes));
            }
        }
        self.section("End");
        self.line("Ended", Clock::System.now());
        self.section("Signatures");
        self.text.push_str("We were present, and what is written above is what we saw.\n");
        let unnamed = [String::new(), String::new()];
        let names = if self.witnesses.is_empty() { &unnamed[..] } else { &self.witnesses };
        let places: String = names
            .iter()
            .map(|name| {
                let name = if name.is_empty() { "_".repeat(30) } else { one_line(name) };
                format!(
                    "\n{name:<30}  {}  {}\n{:<30}  {:<30}  date\n",
                    "_".repeat(30),
                    "_".repeat(12),
                    "name",
                    "signature"
                )
            })
            .collect();
        self.text.push_str(&places);
        files::write(&path, self.text.as_bytes(), 0o644, self.existing)?;
        say!("Transcript: {}", path.display());
        Ok(())
    }
}

/// A value as one line, whatever a token or a name holds.
fn one_line(text: &str) -> String {
    text.chars().fold(String::new(), |mut line, c| {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// What a certificate says, by the names that a transcript and `ca show` have for it.
pub(super) fn fields(description: &Description) -> Vec<(&'static str, String)> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    let time = |s| Timestamp::from_unix_s(s).to_string();
    let ca = match (description.is_ca, description.path_len) {
        (false, _) => "no CA".to_owned(),
        (true, None) => "CA, any number of CAs below it".to_owned(),
        (true, Some(room)) => format!("CA, path length {room}"),
    };
    vec![
        ("Subject", description.subject.clone()),
        ("Issuer", description.issuer.clone()),
        ("Serial number", description.serial.clone()),
        ("Valid from", time(description.not_before_s)),
        ("Valid until", time(description.not_after_s)),
        ("Public key", description.key_type.clone()),
        ("  SHA-256 of its SPKI", description.public_key_sha256.clone()),
        ("Basic constraints", ca),
        (
            "Key usage",
            description.key_usage.as_ref().map_or_else(|| "any".to_owned(), |list| list.join(", ")),
        ),
        ("Subject key identifier", or_none(&description.subject_key_identifier)),
        ("Authority key identifier", or_none(&description.authority_key_identifier)),
        ("Signature algorithm", description.signature_algorithm.clone()),
        ("SHA-256 fingerprint", description.sha256.clone()),
    ]
}

/// What an auditor will ask about a CA's key.
pub(super) fn doubts(key: &KeyFacts) -> Vec<String> {
    let is = |name| key.flag(name);
    let mut doubts: Vec<&str> = Vec::new();
    if is("CKA_LOCAL") == Some(false) {
        doubts.push("the key was not made in this token");
    }
    if is("CKA_SENSITIVE") == Some(false) || is("CKA_EXTRACTABLE") == Some(true) {
        doubts.push("the key can be taken out of the token");
    } else if is("CKA_ALWAYS_SENSITIVE") == Some(false)
        || is("CKA_NEVER_EXTRACTABLE") == Some(false)
    {
        doubts.push("there was a time when the key could be taken out of the token");
    }
    let mut doubts: Vec<_> = doubts.into_iter().map(str::to_owned).collect();
    let more = ["CKA_DECRYPT", "CKA_UNWRAP", "CKA_DERIVE"].into_iter();
    let more: Vec<_> = more.filter(|name| is(name) == Some(true)).collect();
    if !more.is_empty() {
        doubts.push(format!("the key may do more than sign: {}", more.join(", ")));
    }
    doubts
}

/// Tells them of the private key with this `CKA_ID`.
pub(super) fn warn_of_doubts(token: &Token, cka_id: &[u8]) -> Result<(), Failure> {
    let keys = key_facts(token, Some(cka_id)).map_err(Failure::failed)?;
    for doubt in keys.iter().filter(|key| key.entry.private).flat_map(doubts) {
        eprintln!("warning: {doubt}");
    }
    Ok(())
}
