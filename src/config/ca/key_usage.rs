//! The names of keyUsage (RFC 5280 §4.2.1.3).

use super::{Section, shortened};

/// A bit of keyUsage (RFC 5280 §4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyUsage {
    DigitalSignature,
    NonRepudiation,
    KeyEncipherment,
    DataEncipherment,
    KeyAgreement,
    KeyCertSign,
    CrlSign,
    EncipherOnly,
    DecipherOnly,
}

impl KeyUsage {
    /// In the order of their bits.
    pub(crate) const ALL: [Self; 9] = [
        Self::DigitalSignature,
        Self::NonRepudiation,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::KeyCertSign,
        Self::CrlSign,
        Self::EncipherOnly,
        Self::DecipherOnly,
    ];

    /// As RFC 5280 writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DigitalSignature => "digitalSignature",
            Self::NonRepudiation => "nonRepudiation",
            Self::KeyEncipherment => "keyEncipherment",
            Self::DataEncipherment => "dataEncipherment",
            Self::KeyAgreement => "keyAgreement",
            Self::KeyCertSign => "keyCertSign",
            Self::CrlSign => "cRLSign",
            Self::EncipherOnly => "encipherOnly",
            Self::DecipherOnly => "decipherOnly",
        }
    }

    /// The number of its bit, 0 to 8.
    #[cfg(test)]
    pub(crate) fn bit(self) -> u8 {
        self as u8
    }

    /// `contentCommitment` is the newer name of nonRepudiation.
    fn named(name: &str) -> Option<Self> {
        let name = if name == "contentCommitment" { "nonRepudiation" } else { name };
        Self::ALL.into_iter().find(|usage| usage.name() == name)
    }
}

/// Each usage once, in the order of their bits.
pub(super) fn read(section: &Section<'_>) -> Vec<KeyUsage> {
    let mut usages = Vec::new();
    for name in section.strings("key_usage").unwrap_or_default() {
        match KeyUsage::named(name.value) {
            Some(usage) => usages.push(usage),
            None => section.reader.mistake(
                &name.place,
                format!("`{}` is not a key usage", shortened(name.value)),
                format!(
                    "write the names of RFC 5280: {}",
                    KeyUsage::ALL.map(KeyUsage::name).join(", ")
                ),
            ),
        }
    }
    usages.sort_unstable();
    usages.dedup();
    usages
}
