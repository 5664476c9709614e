//! `[profile.NAME]`: what an order can choose (draft-ietf-acme-profiles).

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::mistake::Place;
use super::policy::key_types;
use super::reader::{Reader, Section, shortened};

pub(super) const KEYS: &[&str] = &[
    "description",
    "validity_days",
    "validity_hours",
    "key_types",
    "ext_key_usage",
    "subject",
    "basic_constraints",
];

const MAX_NAME_BYTES: usize = 64;

/// One `[profile.NAME]`. What it leaves out is as the `[[ca]]` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    /// One hour to twice 36,500 days.
    pub(crate) validity: Option<Duration>,
    /// Of [`super::KEY_TYPES`]; never empty.
    pub(crate) key_types: Option<Vec<&'static str>>,
    pub(crate) ext_key_usage: Option<ExtKeyUsage>,
    /// The subject is a common name, and not empty.
    pub(crate) common_name: bool,
    /// There is a basicConstraints extension, which says that the certificate is no CA's.
    pub(crate) basic_constraints: bool,
}

/// What certificates are good for; one of them at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtKeyUsage {
    pub(crate) server_auth: bool,
    pub(crate) client_auth: bool,
}

pub(super) fn read_all(reader: &Reader<'_>, root: &DeTable<'_>) -> Vec<Profile> {
    let Some((key, value)) = root.get_key_value("profile") else { return Vec::new() };
    let DeValue::Table(table) = value.get_ref() else {
        let place = Place::new(Some(reader.line_at(key.span().start)), "profile");
        reader.mistake(&place, "has no name", "write [profile.NAME] on a line of its own");
        return Vec::new();
    };
    let mut profiles = Vec::new();
    for key in table.keys() {
        let name: &str = key.get_ref();
        let Some(section) = reader.section_in(table, name, "profile", KEYS) else { continue };
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(good) {
            let what = format!("`{}` is no name for a profile", shortened(name));
            let remedy = "use letters, digits, - and _, at most 64 of them";
            reader.mistake(&Place::new(section.line, "profile"), what, remedy);
        }
        profiles.push(read(&section, name));
    }
    profiles
}

fn read(section: &Section<'_>, name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        description: section.string("description").map(|text| text.value.to_owned()),
        validity: validity(section),
        key_types: key_types(section),
        ext_key_usage: ext_key_usage(section),
        common_name: common_name(section),
        basic_constraints: section.boolean("basic_constraints").unwrap_or(true),
    }
}

fn validity(section: &Section<'_>) -> Option<Duration> {
    let days = section.integer("validity_days", 1..=36_500);
    let hours = section.integer("validity_hours", 1..=876_000);
    if days.is_none() && hours.is_none() {
        return None;
    }
    let hours = days.unwrap_or(0) * 24 + hours.unwrap_or(0);
    Some(Duration::from_secs(hours * 3600))
}

fn ext_key_usage(section: &Section<'_>) -> Option<ExtKeyUsage> {
    let names = section.strings("ext_key_usage")?;
    let mut usage = ExtKeyUsage { server_auth: false, client_auth: false };
    for name in &names {
        match name.value {
            "serverAuth" => usage.server_auth = true,
            "clientAuth" => usage.client_auth = true,
            other => section.reader.mistake(
                &name.place,
                format!("`{}` is not issued for", shortened(other)),
                "write \"serverAuth\", \"clientAuth\" or both",
            ),
        }
    }
    if section.is_empty_list("ext_key_usage") {
        section.wrong("ext_key_usage", "is empty", "write \"serverAuth\", \"clientAuth\" or both");
    }
    Some(usage)
}

fn common_name(section: &Section<'_>) -> bool {
    match section.string("subject").map(|subject| subject.value) {
        None | Some("empty") => false,
        Some("common-name") => true,
        Some(other) => {
            let what = format!("`{}` is no subject", shortened(other));
            section.wrong("subject", what, "write \"empty\" or \"common-name\"");
            false
        }
    }
}
