//! `[[ca]]`: one ACME server each, with its certificate and the place of its key.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use super::files::Shared;
use super::mistake::Place;
use super::reader::{Reader, Section, shortened};
use super::{Hsm, Needs, Policy, Profile, policy};

mod key;
mod key_usage;
mod proof;

pub(crate) use key::{CaKey, Sharing};
pub(crate) use key_usage::KeyUsage;
pub(crate) use proof::CaaMode;

pub(super) const KEYS: &[&str] = &[
    "id",
    "name",
    "cert",
    "alternate_chains",
    "hsm_slot",
    "hsm",
    "hsm_sharing",
    "key",
    "validity_days",
    "key_usage",
    "client_auth",
    "subdomain_authorizations",
    "profiles",
    "digest",
    "rsa_padding",
    "crl_validity_hours",
    "terms_of_service",
    "website",
    "renewal_explanation",
    "caa_identities",
    "external_account_required",
    "caa",
    "challenges",
    "attestation_roots",
    "policy",
];

const MAX_ID_BYTES: usize = 64;
const DEFAULT_VALIDITY_DAYS: u32 = 90;
/// A week, as the CA/Browser Forum's Baseline Requirements (§4.9.7) have it; a CRL is signed anew when
/// half of it has passed.
const DEFAULT_CRL_VALIDITY_HOURS: u64 = 168;

/// One `[[ca]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ca {
    /// `[a-z0-9-]+`, unique: the path segment that selects this CA.
    pub(crate) id: String,
    /// For people; the id where the file gives none.
    pub(crate) name: String,
    /// PEM: this CA's certificate, then any intermediates above it.
    pub(crate) cert: PathBuf,
    /// PEM, each like `cert` with the same name and key, and others above it (RFC 8555 §7.4.2).
    pub(crate) alternate_chains: Vec<PathBuf>,
    pub(crate) key: CaKey,
    /// How long issued certificates are valid: 1 to 36,500 days.
    pub(crate) validity_days: u32,
    /// What the CA certificate itself must carry, checked at start; empty: nothing beyond the rule.
    pub(crate) key_usage: Vec<KeyUsage>,
    /// Issued certificates are good for TLS clients too (extKeyUsage clientAuth).
    pub(crate) client_auth: bool,
    /// An authorization for a domain may stand for the names below it (RFC 9444).
    pub(crate) subdomain_authorizations: bool,
    /// What an order can choose from; the first is for orders that do not.
    pub(crate) profiles: Vec<Profile>,
    /// What signatures are made over; `None`: what suits the key.
    pub(crate) digest: Option<Digest>,
    pub(crate) rsa_padding: RsaPadding,
    /// From a CRL's thisUpdate to its nextUpdate: 1 hour to a year.
    pub(crate) crl_validity: Duration,
    /// The directory's `meta.termsOfService` (RFC 8555 §7.1.1).
    pub(crate) terms_of_service: Option<String>,
    /// The directory's `meta.website`.
    pub(crate) website: Option<String>,
    /// The `explanationURL` of renewal information (RFC 9773 §4.2).
    pub(crate) renewal_explanation: Option<String>,
    /// The directory's `meta.caaIdentities`: who CAA records must name, in lower case.
    pub(crate) caa_identities: Vec<String>,
    /// New accounts must be bound by a key of `kipuka eab create` (RFC 8555 §7.3.4).
    pub(crate) external_account_required: bool,
    /// What becomes of a certificate that CAA records do not permit.
    pub(crate) caa: CaaMode,
    /// The types of the challenges that are offered, as RFC 8555 §9.7.8 registers them.
    pub(crate) challenges: Vec<&'static str>,
    /// PEM: who vouches for devices; never empty where device-attest-01 is offered.
    pub(crate) attestation_roots: Vec<PathBuf>,
    /// `[ca.policy]`, each key of which replaces that of `[policy]`.
    pub(crate) policy: Policy,
    /// `[policy]`
    pub(crate) general_policy: Policy,
}

/// The digest under a CA's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256,
    Sha384,
    Sha512,
}

/// How an RSA key signs (RFC 8017 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RsaPadding {
    #[default]
    Pkcs1,
    Pss,
}

pub(super) fn read_all(
    reader: &Reader<'_>,
    root: &DeTable<'_>,
    hsms: &[Hsm],
    general_policy: &Policy,
    profiles: &[Profile],
) -> Vec<Ca> {
    let sections = reader.sections(root, "ca", KEYS);
    if sections.is_empty() && !root.contains_key("ca") && reader.needs == Needs::Serve {
        reader.mistake(
            &Place::new(None, "ca"),
            "there is no [[ca]] section, and so nothing to serve",
            "add a [[ca]] with id, cert and hsm_slot (`kipuka ca create-root` makes the \
             certificate)",
        );
    }
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut cas: Vec<Ca> = Vec::new();
    for section in &sections {
        let ca = read(section, hsms, general_policy, profiles);
        let line = section.line.unwrap_or_default();
        if let Some(first) = lines.get(&ca.id).filter(|_| !ca.id.is_empty()) {
            section.wrong(
                "id",
                format!("the [[ca]] on line {first} is called `{}` too", shortened(&ca.id)),
                "give each CA an id of its own",
            );
        } else {
            lines.insert(ca.id.clone(), line);
        }
        cas.push(ca);
    }
    cas
}

fn read(section: &Section<'_>, hsms: &[Hsm], general_policy: &Policy, profiles: &[Profile]) -> Ca {
    let id = id(section);
    let caa_identities = caa_identities(section);
    Ca {
        name: section.string("name").map_or_else(|| id.clone(), |name| name.value.to_owned()),
        id,
        cert: cert(section),
        alternate_chains: alternate_chains(section),
        key: key::read(section, hsms),
        validity_days: section
            .integer("validity_days", 1..=36_500)
            .and_then(|days| u32::try_from(days).ok())
            .unwrap_or(DEFAULT_VALIDITY_DAYS),
        key_usage: key_usage::read(section),
        client_auth: section.boolean("client_auth").unwrap_or(false),
        subdomain_authorizations: section.boolean("subdomain_authorizations").unwrap_or(false),
        profiles: chosen_profiles(section, profiles),
        digest: digest(section),
        rsa_padding: rsa_padding(section).unwrap_or_default(),
        crl_validity: Duration::from_secs(
            3600 * section
                .integer("crl_validity_hours", 1..=8784)
                .unwrap_or(DEFAULT_CRL_VALIDITY_HOURS),
        ),
        terms_of_service: web_page(section, "terms_of_service"),
        website: web_page(section, "website"),
        renewal_explanation: web_page(section, "renewal_explanation"),
        caa: proof::caa(section, &caa_identities),
        challenges: proof::challenges(section, &caa_identities),
        attestation_roots: attestation_roots(section),
        caa_identities,
        external_account_required: section.boolean("external_account_required").unwrap_or(false),
        policy: policy::read(&section.section_or_empty("policy", "ca.policy", policy::KEYS)),
        general_policy: general_policy.clone(),
    }
}

fn id(section: &Section<'_>) -> String {
    section.missing("id", "name this CA: id = \"my-ca\"");
    let Some(id) = section.string("id") else { return String::new() };
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !id.value.bytes().all(good) || id.value.len() > MAX_ID_BYTES {
        section.wrong(
            "id",
            format!("`{}` cannot stand in a URL", shortened(id.value)),
            "use a to z, 0 to 9 and -, at most 64 of them",
        );
    }
    id.value.to_owned()
}

fn cert(section: &Section<'_>) -> PathBuf {
    section.missing("cert", "name the PEM file with this CA's certificate");
    let Some(cert) = section.path("cert") else { return PathBuf::new() };
    if section.reader.needs == Needs::Serve {
        section.reader.check_readable("CA certificate", &cert);
    }
    cert.value
}

fn alternate_chains(section: &Section<'_>) -> Vec<PathBuf> {
    let chains = section.paths("alternate_chains").unwrap_or_default();
    if section.reader.needs == Needs::Serve {
        for chain in &chains {
            section.reader.check_readable("alternate chain", chain);
        }
    }
    chains.into_iter().map(|chain| chain.value).collect()
}

fn attestation_roots(section: &Section<'_>) -> Vec<PathBuf> {
    let roots = section.paths("attestation_roots").unwrap_or_default();
    if section.reader.needs == Needs::Serve {
        for root in &roots {
            section.reader.check_readable("attestation root", root);
        }
    }
    roots.into_iter().map(|root| root.value).collect()
}

fn chosen_profiles(section: &Section<'_>, profiles: &[Profile]) -> Vec<Profile> {
    let mut chosen: Vec<Profile> = Vec::new();
    for name in section.strings("profiles").unwrap_or_default() {
        let twice = chosen.iter().any(|profile| profile.name == name.value);
        match profiles.iter().find(|profile| profile.name == name.value) {
            Some(profile) if !twice => chosen.push(profile.clone()),
            Some(_) => section.reader.mistake(
                &name.place,
                format!("`{}` stands there twice", shortened(name.value)),
                "remove one of the two",
            ),
            None => section.reader.mistake(
                &name.place,
                format!("there is no [profile.{}]", shortened(name.value)),
                "name one that is in this file, or add it",
            ),
        }
    }
    chosen
}

fn digest(section: &Section<'_>) -> Option<Digest> {
    let name = section.string("digest")?;
    match name.value {
        "sha256" => Some(Digest::Sha256),
        "sha384" => Some(Digest::Sha384),
        "sha512" => Some(Digest::Sha512),
        other => {
            let what = format!("`{}` is no digest that kipuka signs with", shortened(other));
            section.wrong("digest", what, "write \"sha256\", \"sha384\" or \"sha512\"");
            None
        }
    }
}

fn rsa_padding(section: &Section<'_>) -> Option<RsaPadding> {
    let name = section.string("rsa_padding")?;
    match name.value {
        "pkcs1" => Some(RsaPadding::Pkcs1),
        "pss" => Some(RsaPadding::Pss),
        other => {
            let what = format!("`{}` is no padding that kipuka signs with", shortened(other));
            section.wrong("rsa_padding", what, "write \"pkcs1\" or \"pss\"");
            None
        }
    }
}

fn web_page(section: &Section<'_>, key: &str) -> Option<String> {
    let remedy = "write a web page's whole URL: \"https://ca.example/terms\"";
    let url = section.parsed::<Url>(key, remedy)?;
    if !matches!(url.value.scheme(), "http" | "https") {
        section.wrong(key, "is not a web page", remedy);
    }
    section.string(key).map(|text| text.value.to_owned())
}

fn caa_identities(section: &Section<'_>) -> Vec<String> {
    let mut identities = Vec::new();
    for name in section.strings("caa_identities").unwrap_or_default() {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.value.len() > 253 || !name.value.split('.').all(label) {
            section.reader.mistake(
                &name.place,
                format!("`{}` is not a domain name", shortened(name.value)),
                "write the name that CAA records give for this CA: \"ca.example\"",
            );
        }
        identities.push(name.value.to_ascii_lowercase());
    }
    identities
}
