//! The kinds of key pair, in PKCS#11's words: which CKM_* makes one, and what it is told.

use std::fmt;
use std::str::FromStr;

use cryptoki::mechanism::{Mechanism, MechanismInfo};
use cryptoki::object::Attribute;

use super::key::{Curve, parameter_set};
use crate::x509::algorithm::ParameterSet;

/// The kinds of key that kipuka makes, under the names that `kipuka hsm keygen --type` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySpec {
    Rsa2048,
    Rsa3072,
    Rsa4096,
    EcP256,
    EcP384,
    EcP521,
    Ed25519,
    MlDsa(ParameterSet),
}

impl KeySpec {
    pub(crate) const ALL: [Self; 10] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EcP256,
        Self::EcP384,
        Self::EcP521,
        Self::Ed25519,
        Self::MlDsa(ParameterSet::MlDsa44),
        Self::MlDsa(ParameterSet::MlDsa65),
        Self::MlDsa(ParameterSet::MlDsa87),
    ];

    /// The mechanism that makes it, and its name.
    pub(super) fn mechanism(self) -> (Mechanism<'static>, &'static str) {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                (Mechanism::RsaPkcsKeyPairGen, "CKM_RSA_PKCS_KEY_PAIR_GEN")
            }
            Self::EcP256 | Self::EcP384 | Self::EcP521 => {
                (Mechanism::EccKeyPairGen, "CKM_EC_KEY_PAIR_GEN")
            }
            Self::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, "CKM_EC_EDWARDS_KEY_PAIR_GEN"),
            Self::MlDsa(_) => (Mechanism::MlDsaKeyPairGen, "CKM_ML_DSA_KEY_PAIR_GEN"),
        }
    }

    /// Whether the key is of a size that the mechanism takes. Asked only to explain a failure:
    /// tokens count in bits, as they should, in bytes, or not at all.
    pub(super) fn is_in_range(self, info: &MechanismInfo) -> bool {
        let bits = match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::EcP256 => 256,
            Self::EcP384 => 384,
            Self::EcP521 => 521,
            Self::Ed25519 | Self::MlDsa(_) => return true,
        };
        (info.min_key_size()..=info.max_key_size()).contains(&bits)
    }

    /// What tells the key from others that its mechanism makes, in each form that tokens want.
    pub(super) fn attributes(self) -> Vec<Vec<Attribute>> {
        let rsa = |bits: u64| {
            vec![vec![
                Attribute::ModulusBits(bits.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
            ]]
        };
        let ec =
            |curve: Curve| curve.params().into_iter().map(|form| vec![Attribute::EcParams(form)]);
        match self {
            Self::Rsa2048 => rsa(2048),
            Self::Rsa3072 => rsa(3072),
            Self::Rsa4096 => rsa(4096),
            Self::EcP256 => ec(Curve::P256).collect(),
            Self::EcP384 => ec(Curve::P384).collect(),
            Self::EcP521 => ec(Curve::P521).collect(),
            Self::Ed25519 => ec(Curve::Ed25519).collect(),
            Self::MlDsa(set) => vec![vec![Attribute::ParameterSet(parameter_set(set))]],
        }
    }

    /// What a key of this kind could do besides signing and verifying, denied: for the public half
    /// and for the private.
    pub(super) fn denials(self) -> (Vec<Attribute>, Vec<Attribute>) {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => (
                vec![Attribute::Encrypt(false), Attribute::Wrap(false)],
                vec![Attribute::Decrypt(false), Attribute::Unwrap(false)],
            ),
            Self::EcP256 | Self::EcP384 | Self::EcP521 | Self::Ed25519 => {
                (Vec::new(), vec![Attribute::Derive(false)])
            }
            Self::MlDsa(_) => (Vec::new(), Vec::new()),
        }
    }
}

impl fmt::Display for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::EcP521 => "ec-p521",
            Self::Ed25519 => "ed25519",
            Self::MlDsa(ParameterSet::MlDsa44) => "ml-dsa-44",
            Self::MlDsa(ParameterSet::MlDsa65) => "ml-dsa-65",
            Self::MlDsa(ParameterSet::MlDsa87) => "ml-dsa-87",
        })
    }
}

/// A key type that kipuka cannot make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key type: use one of {all}", all = KeySpec::ALL.map(|spec| spec.to_string()).join(", "))]
pub(crate) struct UnknownKeySpec(String);

impl FromStr for KeySpec {
    type Err = UnknownKeySpec;

    fn from_str(text: &str) -> Result<Self, UnknownKeySpec> {
        Self::ALL
            .into_iter()
            .find(|spec| spec.to_string() == text)
            .ok_or_else(|| UnknownKeySpec(text.to_owned()))
    }
}
