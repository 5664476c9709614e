//! DNS names as identifiers (RFC 8555 §7.1.3).

use std::net::IpAddr;

/// The longest DNS name in presentation form without its final dot (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The name in normal form, without the `*.` of a wildcard, and whether it had one.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn read(value: &str) -> Result<(String, bool), &'static str> {
    if !value.is_ascii() {
        return Err("is not ASCII; write an internationalised name as A-labels (xn--…)");
    }
    let folded = value.to_ascii_lowercase();
    let folded = folded.strip_suffix('.').unwrap_or(&folded);
    let (base, wildcard) = match folded.strip_prefix("*.") {
        Some(base) => (base, true),
        None => (folded, false),
    };
    if base.is_empty() {
        return Err("is empty");
    }
    if folded.len() > MAX_NAME {
        return Err("is longer than 253 characters");
    }
    if folded.parse::<IpAddr>().is_ok() {
        return Err("is an IP address; its type is \"ip\" (RFC 8738)");
    }
    for label in base.split('.') {
        check_label(label)?;
    }
    let last = base.rsplit('.').next().unwrap_or(base);
    let hex =
        last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    // A URL with such a host would be read as one with an IPv4 address.
    if hex || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("ends in a numeric label, so it is not a DNS name");
    }
    // To IDNA, an underscore is a mistake; here it is for the policy to refuse.
    let plain = base.replace('_', "a");
    if idna::domain_to_ascii_strict(&plain).ok().as_deref() != Some(&plain) {
        return Err("has a label that is not a valid A-label (RFC 5891)");
    }
    Ok((base.to_owned(), wildcard))
}

/// Letters, digits and hyphens, hyphens not at the ends (RFC 5890 §2.3.1); and underscores, which no
/// host name has, but names in DNS do.
fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("has an empty label");
    }
    if label.len() > MAX_LABEL {
        return Err("has a label of more than 63 characters");
    }
    if label.contains('*') {
        return Err("has a * where none may be: a wildcard is *. followed by a name");
    }
    if label.starts_with("xn--") && label.contains('_') {
        return Err("has a label that is not a valid A-label (RFC 5891)");
    }
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if !label.bytes().all(known) {
        return Err("has a character other than letters, digits, hyphens and dots");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("has a label that begins or ends with a hyphen");
    }
    if label.as_bytes().get(2..4) == Some(b"--") && !label.starts_with("xn--") {
        return Err("has a label with hyphens in its third and fourth place");
    }
    Ok(())
}
