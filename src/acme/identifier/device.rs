//! Identities of devices as identifiers (draft-ietf-acme-device-attest §3).

/// Longer than any serial number; the draft sets no limit.
const MAX_VALUE: usize = 128;
const MAX_ASSIGNER: usize = 64;

/// Why a value is none.
pub(super) enum Fault {
    /// It is not what the draft's grammar makes.
    Malformed(&'static str),
    /// It is, and not to be had here.
    Rejected(&'static str),
}

/// Checks a `permanent-identifier-value`: an identity, octet for octet, and behind a slash perhaps the
/// dotted OID of who assigned it.
pub(super) fn check(value: &str) -> Result<(), Fault> {
    let (device, assigner) = parts(value);
    if device.is_empty() {
        return Err(Fault::Malformed("names no device"));
    }
    if assigner.is_some_and(|assigner| assigner.len() > MAX_ASSIGNER || !is_oid(assigner)) {
        return Err(Fault::Malformed("has no dotted object identifier behind its slash"));
    }
    if device.len() > MAX_VALUE {
        return Err(Fault::Rejected("is longer than 128 octets"));
    }
    if device.chars().any(char::is_control) {
        return Err(Fault::Rejected("has control characters in it"));
    }
    Ok(())
}

/// The identity, and who assigned it.
pub(super) fn parts(value: &str) -> (&str, Option<&str>) {
    match value.split_once('/') {
        Some((device, assigner)) => (device, Some(assigner)),
        None => (value, None),
    }
}

/// `assigner-value`: two arcs at least, without zeros in front, the second below 40 behind 0 and 1.
fn is_oid(text: &str) -> bool {
    let is_arc = |arc: &str| {
        !arc.is_empty()
            && arc.bytes().all(|byte| byte.is_ascii_digit())
            && (arc == "0" || !arc.starts_with('0'))
            && arc.parse::<u32>().is_ok()
    };
    let arcs: Vec<&str> = text.split('.').collect();
    let [first, second, ..] = arcs[..] else { return false };
    arcs.iter().all(|arc| is_arc(arc))
        && match first {
            "0" | "1" => second.parse::<u32>().is_ok_and(|arc| arc < 40),
            "2" => true,
            _ => false,
        }
}
