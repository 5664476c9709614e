//! Where a CA's key is.

use std::path::PathBuf;

use super::{Hsm, Needs, Section, Shared, shortened};

/// Longer than any token's `CKA_ID`.
const MAX_ID_BYTES: usize = 255;

/// Where a CA's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaKey {
    /// In each of these tokens, under this `CKA_ID`.
    Hsm {
        cka_id: Vec<u8>,
        /// Names of `[[hsm]]` tables, each once; at least one.
        tokens: Vec<String>,
        sharing: Sharing,
    },
    /// In a PEM file that only its owner can read.
    File(PathBuf),
}

/// How several tokens with the same key divide the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The first that is well signs; the others wait for it to fail.
    #[default]
    InOrder,
    /// The one with the least to do signs.
    ByLoad,
}

pub(super) fn read(section: &Section<'_>, hsms: &[Hsm]) -> CaKey {
    if section.has("hsm_slot") {
        return in_token(section, hsms);
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

fn in_token(section: &Section<'_>, hsms: &[Hsm]) -> CaKey {
    if hsms.is_empty() {
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
    CaKey::Hsm {
        cka_id: cka_id(section).unwrap_or_default(),
        tokens: tokens(section, hsms),
        sharing: sharing(section),
    }
}

/// The tokens that `hsm` names; without it the only one there is.
fn tokens(section: &Section<'_>, hsms: &[Hsm]) -> Vec<String> {
    let known = || hsms.iter().map(|hsm| hsm.name.as_str()).collect::<Vec<_>>().join(", ");
    if !section.has("hsm") {
        if hsms.len() > 1 {
            section.wrong(
                "hsm",
                "is missing, and there are several tokens",
                format!("name those that hold this CA's key, of: {}", known()),
            );
        }
        return hsms.iter().take(1).map(|hsm| hsm.name.clone()).collect();
    }
    let named = match section.is_string("hsm") {
        true => section.string("hsm").into_iter().collect(),
        false => section.strings("hsm").unwrap_or_default(),
    };
    let mut tokens: Vec<String> = Vec::new();
    for name in named {
        if !hsms.iter().any(|hsm| hsm.name == name.value) {
            let what = format!("there is no [[hsm]] with the name `{}`", shortened(name.value));
            section.reader.mistake(&name.place, what, format!("write one of: {}", known()));
        } else if tokens.iter().any(|token| token == name.value) {
            let what = format!("names `{}` twice", name.value);
            section.reader.mistake(&name.place, what, "name each token once");
        } else {
            tokens.push(name.value.to_owned());
        }
    }
    if tokens.is_empty() {
        section.wrong("hsm", "names no token", format!("write one of: {}", known()));
    }
    tokens
}

fn sharing(section: &Section<'_>) -> Sharing {
    let Some(name) = section.string("hsm_sharing") else { return Sharing::default() };
    match name.value {
        "in-order" => Sharing::InOrder,
        "by-load" => Sharing::ByLoad,
        other => {
            let what = format!("`{}` is no way to share", shortened(other));
            section.wrong("hsm_sharing", what, "write \"in-order\" or \"by-load\"");
            Sharing::default()
        }
    }
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
