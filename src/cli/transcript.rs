//! The transcript of a key ceremony: plain text for an auditor's file, which says what was done, with
//! which program, token and key, and what came of it. No PIN stands in it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid, gethostname, getuid};
use secrecy::ExposeSecret as _;

use super::Failure;
use super::files::{self, Existing};
use super::token::{OpenToken, Tokens};
use crate::clock::{Clock, Timestamp};
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
    /// Where the transcript goes [default: beside what is written, with .transcript.txt behind]
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

    /// Where it will be.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    pub(super) fn section(&mut self, title: &str) {
        let line = "-".repeat(title.chars().count());
        self.text.push_str(&format!("\n{title}\n{line}\n"));
    }

    pub(super) fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        // One line for each value, whatever a token or a name holds.
        let value: String = value
            .to_string()
            .chars()
            .flat_map(|c| {
                let escaped = c.is_control().then(|| c.escape_default());
                escaped.into_iter().flatten().chain((!c.is_control()).then_some(c))
            })
            .collect();
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
                let name = if name.is_empty() { "_".repeat(30) } else { name.clone() };
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
        println!("Transcript: {}", path.display());
        Ok(())
    }
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
pub(super) fn doubts(key: &KeyFacts) -> Vec<&'static str> {
    let is = |name| key.flag(name);
    let mut doubts = Vec::new();
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
    if [is("CKA_DECRYPT"), is("CKA_UNWRAP"), is("CKA_DERIVE")].contains(&Some(true)) {
        doubts.push("the key may do more than sign");
    }
    doubts
}

/// The command as a shell would take it. No option takes a PIN, so none stands in it.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let word = |word: String| {
        let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    arguments.map(word).collect::<Vec<_>>().join(" ")
}

fn who() -> String {
    let name =
        |uid| User::from_uid(uid).ok().flatten().map_or("(no name)".to_owned(), |user| user.name);
    let (real, effective) = (getuid(), geteuid());
    let mut who = format!("{} (uid {real})", name(real));
    if effective != real {
        who += &format!(", as {} (uid {effective})", name(effective));
    }
    if let Ok(user) = env::var("SUDO_USER") {
        who += &format!(", by sudo for {user}");
    }
    who
}

fn host() -> String {
    gethostname().map_or_else(|error| error.to_string(), |name| name.to_string_lossy().into_owned())
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn digest_of(file: Option<&Path>) -> String {
    match file.map(fs::read) {
        Some(Ok(bytes)) => sha256_hex(&bytes),
        Some(Err(error)) => format!("not known: {error}"),
        None => "not known: the system's loader found the file".to_owned(),
    }
}

/// Not given where a short secret stands in the file: who knows the rest of it could try all PINs
/// against the digest.
fn configuration_digest(tokens: &Tokens) -> String {
    let config = &tokens.config;
    let pin = tokens.warnings.iter().any(|warning| warning.key.ends_with(".pin"));
    let password = url::Url::parse(config.database.url.expose_secret()).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    });
    match pin || password {
        true => "not given: a secret stands in the file, and could be guessed from it".to_owned(),
        false => digest_of(Some(&config.file)),
    }
}

/// The file of a library; where the loader found it by name, as the process's memory map has it.
fn loaded_from(library: &Path) -> Option<PathBuf> {
    if library.components().count() > 1 {
        return library.canonicalize().ok();
    }
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
    paths.find(|path| path.file_name() == Some(library.as_os_str())).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_there_as_a_shell_takes_it() {
        let arguments = ["kipuka", "ca", "create-root", "--subject", "CN=It's,O=a b", "--out", ""];
        let line = command_line(arguments.into_iter().map(str::to_owned));
        assert_eq!(line, r"kipuka ca create-root --subject 'CN=It'\''s,O=a b' --out ''");
    }
}
