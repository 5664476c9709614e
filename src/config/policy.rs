//! `[policy]`, for every CA, and `[ca.policy]`, for one: what may be issued, and what not.

use super::mistake::At;
use super::pattern::{NamePattern, network};
use super::reader::{Section, shortened};

pub(super) const KEYS: &[&str] = &[
    "allow",
    "deny",
    "allow_networks",
    "deny_networks",
    "allow_devices",
    "wildcards",
    "ip_addresses",
    "single_labels",
    "underscores",
    "max_identifiers",
    "key_types",
];

/// The key types that a certificate can be had for, as `kipuka hsm keygen` calls them.
pub(crate) const KEY_TYPES: [&str; 10] = [
    "rsa-2048",
    "rsa-3072",
    "rsa-4096",
    "ec-p256",
    "ec-p384",
    "ec-p521",
    "ed25519",
    "ml-dsa-44",
    "ml-dsa-65",
    "ml-dsa-87",
];

/// The most names that any order may have: a certificate with more is a burden to everyone who
/// reads it.
pub(crate) const MAX_IDENTIFIERS: usize = 100;

/// The keys of one section that are set. What is not is left to the section above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Never empty.
    pub(crate) allow: Option<Vec<NamePattern>>,
    pub(crate) deny: Option<Vec<NamePattern>>,
    /// Never empty.
    pub(crate) allow_networks: Option<Vec<NamePattern>>,
    pub(crate) deny_networks: Option<Vec<NamePattern>>,
    /// Never empty.
    pub(crate) allow_devices: Option<Vec<String>>,
    pub(crate) wildcards: Option<bool>,
    pub(crate) ip_addresses: Option<bool>,
    pub(crate) single_labels: Option<bool>,
    pub(crate) underscores: Option<bool>,
    /// 1 to [`MAX_IDENTIFIERS`].
    pub(crate) max_identifiers: Option<usize>,
    /// Of [`KEY_TYPES`]; never empty.
    pub(crate) key_types: Option<Vec<&'static str>>,
}

pub(super) fn read(section: &Section<'_>) -> Policy {
    Policy {
        allow: allowed(section, "allow", names(section, "allow")),
        deny: names(section, "deny"),
        allow_networks: allowed(section, "allow_networks", networks(section, "allow_networks")),
        deny_networks: networks(section, "deny_networks"),
        allow_devices: devices(section),
        wildcards: section.boolean("wildcards"),
        ip_addresses: section.boolean("ip_addresses"),
        single_labels: section.boolean("single_labels"),
        underscores: section.boolean("underscores"),
        max_identifiers: section
            .integer("max_identifiers", 1..=MAX_IDENTIFIERS as u64)
            .and_then(|number| usize::try_from(number).ok()),
        key_types: key_types(section),
    }
}

fn names(section: &Section<'_>, key: &str) -> Option<Vec<NamePattern>> {
    let remedy = "write \"host.example\" for that name, \".example\" for all below it, \
                  \"*.example\" for one label below it, \"*\" for every name";
    let texts = section.strings(key)?;
    let mut patterns = Vec::new();
    for text in texts {
        match text.value.parse() {
            Ok(NamePattern::Network(_)) => wrong(
                section,
                &text,
                "is an address, not a name",
                &format!("move it to {key}_networks"),
            ),
            Ok(pattern) => patterns.push(pattern),
            Err(why) => wrong(section, &text, why, remedy),
        }
    }
    Some(patterns)
}

fn networks(section: &Section<'_>, key: &str) -> Option<Vec<NamePattern>> {
    let remedy = "write an address, or one and the length of its prefix: \"192.0.2.1\", \
                  \"10.0.0.0/8\", \"fd00::/8\"";
    let texts = section.strings(key)?;
    let mut patterns = Vec::new();
    for text in texts {
        match network(text.value) {
            Ok(network) => patterns.push(NamePattern::Network(network)),
            Err(why) => wrong(section, &text, why, remedy),
        }
    }
    Some(patterns)
}

fn devices(section: &Section<'_>) -> Option<Vec<String>> {
    let remedy = "write \"C02XG1234\" for that device, \"C02*\" for those that begin so, \"*\" for every one";
    if section.is_empty_list("allow_devices") {
        section.wrong("allow_devices", "is empty", "remove the line: then no device is issued for");
    }
    let texts = section.strings("allow_devices")?;
    for text in &texts {
        let star = text.value.find('*');
        if text.value.is_empty() || star.is_some_and(|place| place + 1 != text.value.len()) {
            wrong(section, text, "is no pattern of devices", remedy);
        }
    }
    Some(texts.into_iter().map(|text| text.value.to_owned()).collect())
}

/// An empty list could mean everything or nothing.
fn allowed(
    section: &Section<'_>,
    key: &str,
    patterns: Option<Vec<NamePattern>>,
) -> Option<Vec<NamePattern>> {
    if section.is_empty_list(key) {
        let remedy = match key {
            "allow" => "write [\"*\"] to allow every name, or remove the line",
            _ => "remove the line; ip_addresses = false refuses every address",
        };
        section.wrong(key, "is empty, and would allow nothing", remedy);
    }
    patterns
}

pub(super) fn key_types(section: &Section<'_>) -> Option<Vec<&'static str>> {
    let texts = section.strings("key_types")?;
    if section.is_empty_list("key_types") {
        let remedy = "remove the line to take every type";
        section.wrong("key_types", "is empty, and would allow no key", remedy);
    }
    let mut types = Vec::new();
    for text in texts {
        match KEY_TYPES.into_iter().find(|known| *known == text.value) {
            Some(known) => types.push(known),
            None => {
                let remedy = format!("write some of {}", KEY_TYPES.join(", "));
                wrong(section, &text, "is no type of key", &remedy);
            }
        }
    }
    Some(types)
}

fn wrong(section: &Section<'_>, text: &At<&str>, why: &str, remedy: &str) {
    section.reader.mistake(&text.place, format!("`{}` {why}", shortened(text.value)), remedy);
}
