//! `[hsm]`, or several `[[hsm]]`: the PKCS#11 library, the token and its PIN.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use toml::de::DeTable;

use super::mistake::At;
use super::reader::{Reader, Section, shortened};
use super::{Needs, secret};

pub(super) const KEYS: &[&str] = &[
    "name",
    "library",
    "slot",
    "token_label",
    "pin_env",
    "pin_file",
    "pin",
    "max_sessions",
    "sign_deadline_s",
    "keepalive_s",
    "environment",
];

/// `CK_TOKEN_INFO.label` has 32 bytes (PKCS#11 v3.0 §3.2).
const MAX_LABEL_BYTES: usize = 32;

/// Below the 30 s after which a YubiHSM 2 drops a session.
const DEFAULT_KEEPALIVE_S: u64 = 15;

/// Longer names would not fit into a line of `kipuka check`.
const MAX_NAME_BYTES: usize = 64;

/// `[hsm]`.
#[derive(Clone, Debug)]
pub(crate) struct Hsm {
    /// What a `[[ca]]` calls it by; unique. A single `[hsm]` without a name is called `hsm`.
    pub(crate) name: String,
    /// A name without a slash is for the system's loader to find.
    pub(crate) library: PathBuf,
    /// Where both are set, the token must have this slot and this label; at least one is set.
    pub(crate) slot: Option<u64>,
    pub(crate) token_label: Option<String>,
    /// `None` where no source is configured: not every token asks for a login.
    pub(crate) pin: Option<SecretString>,
    /// Signing sessions kept open, 1 to 1024; `None`: what the token allows, at most 16.
    pub(crate) max_sessions: Option<usize>,
    /// How long one signature may take; `None`: the signer's default.
    pub(crate) sign_deadline: Option<Duration>,
    /// How long a session may lie idle before it is used, so that the token does not drop it; `None`
    /// where it may for ever.
    pub(crate) keepalive: Option<Duration>,
    /// What the library must find in the environment of the process, such as `SOFTHSM2_CONF`.
    pub(crate) environment: BTreeMap<String, String>,
}

/// Every token, in the order of the file.
pub(super) fn read_all(reader: &Reader<'_>, root: &DeTable<'_>) -> Vec<Hsm> {
    let sections = reader.one_or_more(root, "hsm", KEYS);
    let several = sections.len() > 1;
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut variables: HashMap<String, (String, String)> = HashMap::new();
    let mut hsms = Vec::new();
    for section in &sections {
        if several {
            section.missing(
                "name",
                "name this token, for [[ca]] to say which it means: name = \"east\"",
            );
        }
        let hsm = read(section);
        let line = section.line.unwrap_or_default();
        if let Some(first) = names.get(&hsm.name).filter(|_| section.has("name")) {
            section.wrong(
                "name",
                format!("the [[hsm]] on line {first} is called `{}` too", shortened(&hsm.name)),
                "give each token a name of its own",
            );
        }
        names.insert(hsm.name.clone(), line);
        // There is one environment for all libraries of the process.
        for (variable, value) in &hsm.environment {
            let here = (value.clone(), hsm.name.clone());
            if let Some((other, name)) = variables.insert(variable.clone(), here)
                && other != *value
            {
                section.wrong(
                    "environment",
                    format!("{} has another value in the [[hsm]] `{name}`", shortened(variable)),
                    "give it the same value in both: a process has one environment",
                );
            }
        }
        hsms.push(hsm);
    }
    hsms
}

fn read(section: &Section<'_>) -> Hsm {
    if !section.has("slot") && !section.has("token_label") {
        section.wrong(
            "token_label",
            "neither token_label nor slot is set",
            "name the token: token_label = \"…\" (`kipuka hsm slots` lists them)",
        );
    }
    Hsm {
        name: name(section),
        library: library(section),
        slot: slot(section),
        token_label: token_label(section),
        pin: secret::pin(section),
        max_sessions: section
            .integer("max_sessions", 1..=1024)
            .and_then(|sessions| usize::try_from(sessions).ok()),
        sign_deadline: section.integer("sign_deadline_s", 1..=600).map(Duration::from_secs),
        keepalive: match section.integer("keepalive_s", 0..=3600) {
            Some(0) => None,
            seconds => Some(Duration::from_secs(seconds.unwrap_or(DEFAULT_KEEPALIVE_S))),
        },
        environment: environment(section),
    }
}

fn name(section: &Section<'_>) -> String {
    let Some(name) = section.string("name") else { return "hsm".to_owned() };
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !name.value.bytes().all(good) || name.value.len() > MAX_NAME_BYTES {
        section.wrong(
            "name",
            format!("`{}` is no name for a token", shortened(name.value)),
            "use a to z, 0 to 9 and -, at most 64 of them",
        );
    }
    name.value.to_owned()
}

fn library(section: &Section<'_>) -> PathBuf {
    section.missing(
        "library",
        "name the token's PKCS#11 library: \"/usr/lib/softhsm/libsofthsm2.so\"",
    );
    let Some(text) = section.string("library") else { return PathBuf::new() };
    if !text.value.contains('/') {
        return PathBuf::from(text.value);
    }
    let path = text.map(|text| section.reader.resolved(text));
    if section.reader.needs >= Needs::Token {
        section.reader.check_readable("PKCS#11 library", &path);
    }
    path.value
}

/// A slot ID: a number, or a string with a decimal or a 0x number, as pkcs11-tool prints it.
fn slot(section: &Section<'_>) -> Option<u64> {
    if !section.is_string("slot") {
        return section.integer("slot", 0..=u64::MAX);
    }
    let text = section.string("slot")?;
    let slot = match text.value.strip_prefix("0x").or_else(|| text.value.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')),
        None => text.value.parse().ok().filter(|_| !text.value.starts_with('+')),
    };
    if slot.is_none() {
        section.wrong(
            "slot",
            format!("`{}` is not a slot ID", shortened(text.value)),
            "write it as pkcs11-tool --list-slots prints it: 0 or \"0x1d6d28f6\"; a label goes \
             into token_label",
        );
    }
    slot
}

fn token_label(section: &Section<'_>) -> Option<String> {
    let label = section.string("token_label")?;
    if label.value.len() > MAX_LABEL_BYTES {
        section.wrong(
            "token_label",
            "is longer than 32 bytes, and no token's label is",
            "write it as pkcs11-tool --list-slots prints it",
        );
    }
    Some(label.value.to_owned())
}

fn environment(section: &Section<'_>) -> BTreeMap<String, String> {
    let entries = section.table("environment").unwrap_or_default();
    let checked = |(name, value): (At<&str>, &str)| {
        if name.value.is_empty()
            || name.value.contains('=')
            || name.value.contains(char::is_control)
        {
            section.reader.mistake(
                &name.place,
                "is not the name of an environment variable",
                "write it as in SOFTHSM2_CONF = \"/etc/softhsm/softhsm2.conf\"",
            );
        }
        (name.value.to_owned(), value.to_owned())
    };
    entries.into_iter().map(checked).collect()
}
