//! Keys and signature algorithms: what an SPKI holds, and what a CA key signs with (RFC 5280
//! §4.1.1.2, §4.1.2.7).

mod ml_dsa;
mod pss;
mod public_key;
mod verified;

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::{fips204, rfc5912, rfc8410};
use der::asn1::{Any, Null};
use openssl::hash::MessageDigest;
use spki::AlgorithmIdentifierOwned;

pub(super) use pss::PssParameters;
pub(crate) use public_key::{KeyError, PublicKey};
pub(crate) use verified::VerifiedSignature;

/// What kind of key an SPKI holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// With the length of the modulus in bits.
    Rsa(u32),
    EcP256,
    EcP384,
    EcP521,
    Ed25519,
    MlDsa(ParameterSet),
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::EcP256 => f.write_str("EC P-256"),
            Self::EcP384 => f.write_str("EC P-384"),
            Self::EcP521 => f.write_str("EC P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::MlDsa(set) => set.fmt(f),
        }
    }
}

/// A parameter set of ML-DSA (FIPS 204 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterSet {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl ParameterSet {
    pub(crate) const ALL: [Self; 3] = [Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// What names keys and signatures alike (RFC 9881 §2).
    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::MlDsa44 => fips204::ID_ML_DSA_44,
            Self::MlDsa65 => fips204::ID_ML_DSA_65,
            Self::MlDsa87 => fips204::ID_ML_DSA_87,
        }
    }
}

impl fmt::Display for ParameterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MlDsa44 => "ML-DSA-44",
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
        })
    }
}

/// The hash function of a signature that is made over a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(crate) const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// OpenSSL's form of it.
    pub(crate) fn digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    /// The length of a digest in bytes.
    pub(crate) fn length(self) -> u8 {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => rfc5912::ID_SHA_256,
            Self::Sha384 => rfc5912::ID_SHA_384,
            Self::Sha512 => rfc5912::ID_SHA_512,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// How a CA key signs certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 4055 §5).
    RsaPkcs1(Hash),
    /// RSASSA-PSS (RFC 4055 §3) with MGF1 over the same hash and a salt as long as its digest.
    RsaPss(Hash),
    /// ECDSA with the signature as DER (RFC 5758 §3.2).
    Ecdsa(Hash),
    /// RFC 8410 §6.
    Ed25519,
    /// ML-DSA over the message itself, with an empty context (RFC 9881 §3).
    MlDsa(ParameterSet),
}

impl SignatureAlgorithm {
    /// What a CA key signs with where nothing else is asked: the digest as strong as the key.
    pub(crate) fn default_for(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Rsa(_) => Self::RsaPkcs1(Hash::Sha256),
            KeyType::EcP256 => Self::Ecdsa(Hash::Sha256),
            KeyType::EcP384 => Self::Ecdsa(Hash::Sha384),
            KeyType::EcP521 => Self::Ecdsa(Hash::Sha512),
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::MlDsa(set) => Self::MlDsa(set),
        }
    }

    /// The one that writes itself so, if a key of this type can sign with it.
    pub(crate) fn from_name(name: &str, key_type: KeyType) -> Option<Self> {
        let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
        let hashed = hashes
            .into_iter()
            .flat_map(|hash| [Self::RsaPkcs1(hash), Self::RsaPss(hash), Self::Ecdsa(hash)]);
        let mut all = hashed.chain([Self::default_for(key_type)]);
        all.find(|algorithm| algorithm.to_string() == name && algorithm.fits(key_type))
    }

    /// Whether a key of this type can sign so.
    pub(crate) fn fits(self, key_type: KeyType) -> bool {
        match self {
            Self::RsaPkcs1(_) | Self::RsaPss(_) => matches!(key_type, KeyType::Rsa(_)),
            Self::Ecdsa(_) => {
                matches!(key_type, KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521)
            }
            Self::Ed25519 => key_type == KeyType::Ed25519,
            Self::MlDsa(set) => key_type == KeyType::MlDsa(set),
        }
    }

    /// The AlgorithmIdentifier of a certificate signed so: NULL parameters for RSA PKCS#1 v1.5
    /// (RFC 4055 §5), spelled-out ones for PSS (§3.1), none for the rest (RFC 5758 §3.2, RFC 8410
    /// §3, RFC 9881 §2).
    pub(crate) fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::RsaPkcs1(hash) => {
                let oid = match hash {
                    Hash::Sha256 => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
                    Hash::Sha384 => rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
                    Hash::Sha512 => rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
                };
                (oid, Some(null()))
            }
            Self::RsaPss(hash) => (rfc5912::ID_RSASSA_PSS, Some(pss::parameters(hash))),
            Self::Ecdsa(Hash::Sha256) => (rfc5912::ECDSA_WITH_SHA_256, None),
            Self::Ecdsa(Hash::Sha384) => (rfc5912::ECDSA_WITH_SHA_384, None),
            Self::Ecdsa(Hash::Sha512) => (rfc5912::ECDSA_WITH_SHA_512, None),
            Self::Ed25519 => (rfc8410::ID_ED_25519, None),
            Self::MlDsa(set) => (set.oid(), None),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }
}

fn null() -> Any {
    Null.into()
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaPkcs1(hash) => write!(f, "RSA with {hash}"),
            Self::RsaPss(hash) => write!(f, "RSASSA-PSS with {hash}"),
            Self::Ecdsa(hash) => write!(f, "ECDSA with {hash}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::MlDsa(set) => set.fmt(f),
        }
    }
}
