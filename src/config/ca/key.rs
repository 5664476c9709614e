//! Where a CA's key is.

use std::path::PathBuf;

use super::{Needs, Section, Shared, shortened};

/// Longer than any token's `CKA_ID`.
const MAX_ID_BYTES: usize = 255;

/// Where a CA's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaKey {
    /// In the token of `[hsm]`, under this `CKA_ID`.
    Hsm { cka_id: Vec<u8> },
    /// In a PEM file that only its owner can read.
    File(PathBuf),
}

pub(super) fn read(section: &Section<'_>, has_hsm: bool) -> CaKey {
    if section.has("hsm_slot") {
        return in_token(section, has_hsm);
    }
    if !section.has("key") {
        section.wrong(
            "hsm_slot",
            "neither hsm_slot nor key is set",
            "write hsm_slot, the ID that pkcs11-tool --list-objects shows for this CA's key",
        );
    }
    let Some(key) = section.path("key") else { return CaKey::File(PathBuf::new()) };
    if section.reader.needs == Needs::Serve {
        section.reader.check_secret("CA key", &key, Shared::Nobody);
    }
    CaKey::File(key.value)
}

fn in_token(section: &Section<'_>, has_hsm: bool) -> CaKey {
    if !has_hsm {
        section.wrong(
            "hsm_slot",
            "there is no [hsm] section that says which token the key is in",
            "add [hsm] with library, and slot or token_label",
        );
    }
    // The string is read, though ignored, so that a mistake in it is not hidden.
    if section.string("key").is_some() {
        let place = section.place("key");
        section.reader.warn(&place, "is ignored, for hsm_slot is set", "remove key");
    }
    CaKey::Hsm { cka_id: cka_id(section).unwrap_or_default() }
}

/// A number is its big-endian bytes without zeros in front (3 is 03, 256 is 01 00); a string is
/// hex, two digits for each byte.
fn cka_id(section: &Section<'_>) -> Option<Vec<u8>> {
    if !section.is_string("hsm_slot") {
        return section.integer("hsm_slot", 0..=u64::MAX).map(minimal_bytes);
    }
    let text = section.string("hsm_slot")?;
    let bytes = hex_bytes(text.value).filter(|bytes| bytes.len() <= MAX_ID_BYTES);
    if bytes.is_none() {
        section.wrong(
            "hsm_slot",
            format!("`{}` is not a key ID in hex", shortened(text.value)),
            "write the ID as pkcs11-tool --list-objects prints it, two digits for each byte: \"0a1b\"",
        );
    }
    bytes
}

fn minimal_bytes(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
    bytes[zeros..].to_vec()
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    let byte = |[high, low]: &[u32; 2]| u8::try_from(high * 16 + low).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_its_shortest_bytes() {
        for (number, bytes) in [
            (0, vec![0]),
            (3, vec![3]),
            (255, vec![255]),
            (256, vec![1, 0]),
            (0x0a1b, vec![10, 27]),
        ] {
            assert_eq!(minimal_bytes(number), bytes);
        }
        assert_eq!(minimal_bytes(u64::MAX), vec![255; 8]);
    }

    #[test]
    fn a_string_is_hex_and_keeps_its_zeros() {
        assert_eq!(hex_bytes("0a1B"), Some(vec![10, 27]));
        assert_eq!(hex_bytes("0003"), Some(vec![0, 3]));
        for wrong in ["3", "0x03", "0g", "01:02", "é1"] {
            assert_eq!(hex_bytes(wrong), None, "{wrong}");
        }
    }
}
