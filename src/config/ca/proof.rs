//! `caa` and `challenges`: how control of a name is proved.

use crate::config::reader::{Section, shortened};

/// The challenges that can be offered, those first that are unless others are asked for.
const CHALLENGES: [&str; 6] =
    ["http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01", "device-attest-01"];
const DEFAULT: usize = 3;

/// As many issuer domain names as a dns-persist-01 challenge may list.
const MAX_ISSUERS: usize = 10;

/// What becomes of a certificate that CAA records do not permit (RFC 8659).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CaaMode {
    /// They are not asked.
    #[default]
    Off,
    /// It is issued, and the log says what stood against it.
    Report,
    /// It is refused; no answer is no permission.
    Enforce,
}

pub(super) fn caa(section: &Section<'_>, identities: &[String]) -> CaaMode {
    let Some(mode) = section.string("caa") else { return CaaMode::Off };
    match mode.value {
        "off" => CaaMode::Off,
        "report" => CaaMode::Report,
        "enforce" => {
            if identities.is_empty() {
                let what = "records would have nothing to name: caa_identities is not set";
                section.wrong("caa", what, "set caa_identities = [\"ca.example\"]");
            }
            CaaMode::Enforce
        }
        other => {
            let what = format!("`{}` is no way to go about CAA", shortened(other));
            section.wrong("caa", what, "write \"off\", \"report\" or \"enforce\"");
            CaaMode::Off
        }
    }
}

pub(super) fn challenges(section: &Section<'_>, identities: &[String]) -> Vec<&'static str> {
    let Some(names) = section.strings("challenges") else { return CHALLENGES[..DEFAULT].to_vec() };
    let mut offered = Vec::new();
    for name in &names {
        match CHALLENGES.iter().find(|known| **known == name.value) {
            Some(known) if !offered.contains(known) => offered.push(*known),
            Some(_) => {}
            None => section.reader.mistake(
                &name.place,
                format!("`{}` is no type of challenge that kipuka knows", shortened(name.value)),
                format!("write some of {}", CHALLENGES.join(", ")),
            ),
        }
    }
    if names.is_empty() {
        section.wrong("challenges", "offers nothing", "name at least one, or remove the line");
    }
    if offered.contains(&"dns-persist-01") {
        let remedy = "set caa_identities = [\"ca.example\"], which the records then name";
        if identities.is_empty() {
            section.wrong("challenges", "dns-persist-01 needs caa_identities", remedy);
        } else if identities.len() > MAX_ISSUERS {
            let what = format!("dns-persist-01 takes at most {MAX_ISSUERS} caa_identities");
            section.wrong("challenges", what, "shorten caa_identities, or leave it out");
        }
    }
    let rootless = section.strings("attestation_roots").unwrap_or_default().is_empty();
    if offered.contains(&"device-attest-01") && rootless {
        let remedy = "set attestation_roots = [\"/etc/kipuka/devices.pem\"], whose certificates vouch for \
                      devices";
        section.wrong("challenges", "device-attest-01 needs attestation_roots", remedy);
    }
    offered
}
