//! Keys and signature algorithms: what an SPKI holds, and what a CA key signs with (RFC 5280
//! §4.1.1.2, §4.1.2.7).

use std::fmt;

use const_oid::db::{rfc5912, rfc8410};
use der::Decode;
use openssl::bn::BigNumContext;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::Verifier;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

/// What kind of key an SPKI holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// With the length of the modulus in bits.
    Rsa(u32),
    EcP256,
    EcP384,
    EcP521,
    Ed25519,
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::EcP256 => f.write_str("EC P-256"),
            Self::EcP384 => f.write_str("EC P-384"),
            Self::EcP521 => f.write_str("EC P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A public key that could be read, as the DER of its SubjectPublicKeyInfo.
#[derive(Clone)]
pub(crate) struct PublicKey {
    spki: Vec<u8>,
    key_type: KeyType,
    key: PKey<Public>,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, key id {})", self.key_type, self.key_identifier_hex())
    }
}

/// Why an SPKI is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the public key is not a well-formed SubjectPublicKeyInfo")]
    Malformed,
    #[error("keys of algorithm {0} are not supported")]
    Unsupported(String),
}

impl PublicKey {
    /// Reads the DER of a SubjectPublicKeyInfo, which must be exactly as DER demands.
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let parsed = SubjectPublicKeyInfoOwned::from_der(spki).map_err(|_| KeyError::Malformed)?;
        let key = PKey::public_key_from_der(spki).map_err(|_| {
            // OpenSSL knows more algorithms than kipuka: what it cannot read is either broken or
            // foreign, and the OID tells which.
            match parsed.algorithm.oid {
                rfc5912::RSA_ENCRYPTION | rfc5912::ID_EC_PUBLIC_KEY | rfc8410::ID_ED_25519 => {
                    KeyError::Malformed
                }
                oid => KeyError::Unsupported(oid.to_string()),
            }
        })?;
        let key_type = key_type(&key).ok_or_else(|| {
            KeyError::Unsupported(match key.ec_key() {
                Ok(ec) => match ec.group().curve_name().map(|nid| nid.short_name()) {
                    Some(Ok(name)) => format!("EC {name}"),
                    _ => "EC with explicit parameters".to_owned(),
                },
                Err(_) => parsed.algorithm.oid.to_string(),
            })
        })?;
        // One key has one encoding: a compressed point or spelled-out curve would make a second.
        let is_ec = parsed.algorithm.oid == rfc5912::ID_EC_PUBLIC_KEY;
        let plain_point = parsed.subject_public_key.raw_bytes().first() == Some(&4);
        let named_curve = parsed
            .algorithm
            .parameters
            .as_ref()
            .is_some_and(|curve| der::Tagged::tag(curve) == der::Tag::ObjectIdentifier);
        if (is_ec && !(plain_point && named_curve))
            || key.public_key_to_der().ok().as_deref() != Some(spki)
        {
            return Err(KeyError::Malformed);
        }
        Ok(Self { spki: spki.to_vec(), key_type, key })
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// OpenSSL's form of the key.
    pub(crate) fn pkey(&self) -> &PKey<Public> {
        &self.key
    }

    /// The key identifier of RFC 5280 §4.2.1.2 method 1: SHA-1 of the subjectPublicKey bits.
    pub(crate) fn key_identifier(&self) -> [u8; 20] {
        // The SPKI was parsed when this value was made; its bits are there.
        let parsed = SubjectPublicKeyInfoOwned::from_der(&self.spki);
        openssl::sha::sha1(
            parsed.as_ref().map_or(&[][..], |spki| spki.subject_public_key.raw_bytes()),
        )
    }

    pub(crate) fn key_identifier_hex(&self) -> String {
        self.key_identifier().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `signature` is this key's signature of `message`.
    pub(crate) fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        if !algorithm.fits(self.key_type) {
            return false;
        }
        let verified = Verifier::new(algorithm.digest(), &self.key)
            .and_then(|mut verifier| verifier.verify_oneshot(signature, message));
        matches!(verified, Ok(true))
    }
}

fn key_type(key: &PKey<Public>) -> Option<KeyType> {
    match key.id() {
        Id::RSA => {
            key.rsa().ok().map(|rsa| KeyType::Rsa(u32::try_from(rsa.n().num_bits()).unwrap_or(0)))
        }
        Id::EC => {
            let ec = key.ec_key().ok()?;
            let mut context = BigNumContext::new().ok()?;
            ec.public_key().is_on_curve(ec.group(), &mut context).ok()?.then_some(())?;
            match ec.group().curve_name()? {
                Nid::X9_62_PRIME256V1 => Some(KeyType::EcP256),
                Nid::SECP384R1 => Some(KeyType::EcP384),
                Nid::SECP521R1 => Some(KeyType::EcP521),
                _ => None,
            }
        }
        Id::ED25519 => Some(KeyType::Ed25519),
        _ => None,
    }
}

/// How a CA key signs certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 4055 §5).
    RsaSha256,
    RsaSha384,
    RsaSha512,
    /// ECDSA with the signature as DER (RFC 5758 §3.2).
    EcdsaSha256,
    EcdsaSha384,
}

impl SignatureAlgorithm {
    /// What a CA key signs with where nothing else is asked: the digest as strong as the key.
    pub(crate) fn default_for(key_type: KeyType) -> Option<Self> {
        match key_type {
            KeyType::Rsa(_) => Some(Self::RsaSha256),
            KeyType::EcP256 => Some(Self::EcdsaSha256),
            KeyType::EcP384 => Some(Self::EcdsaSha384),
            KeyType::EcP521 | KeyType::Ed25519 => None,
        }
    }

    /// Whether a key of this type can sign so.
    pub(crate) fn fits(self, key_type: KeyType) -> bool {
        match self {
            Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512 => {
                matches!(key_type, KeyType::Rsa(_))
            }
            Self::EcdsaSha256 | Self::EcdsaSha384 => {
                matches!(key_type, KeyType::EcP256 | KeyType::EcP384)
            }
        }
    }

    /// The digest that OpenSSL names for it.
    pub(crate) fn digest(self) -> MessageDigest {
        match self {
            Self::RsaSha256 | Self::EcdsaSha256 => MessageDigest::sha256(),
            Self::RsaSha384 | Self::EcdsaSha384 => MessageDigest::sha384(),
            Self::RsaSha512 => MessageDigest::sha512(),
        }
    }

    /// The AlgorithmIdentifier of a certificate signed so: NULL parameters for RSA (RFC 4055 §5),
    /// none for ECDSA (RFC 5758 §3.2).
    pub(crate) fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, null) = match self {
            Self::RsaSha256 => (rfc5912::SHA_256_WITH_RSA_ENCRYPTION, true),
            Self::RsaSha384 => (rfc5912::SHA_384_WITH_RSA_ENCRYPTION, true),
            Self::RsaSha512 => (rfc5912::SHA_512_WITH_RSA_ENCRYPTION, true),
            Self::EcdsaSha256 => (rfc5912::ECDSA_WITH_SHA_256, false),
            Self::EcdsaSha384 => (rfc5912::ECDSA_WITH_SHA_384, false),
        };
        AlgorithmIdentifierOwned { oid, parameters: null.then(|| der::asn1::Null.into()) }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaSha256 => "RSA with SHA-256",
            Self::RsaSha384 => "RSA with SHA-384",
            Self::RsaSha512 => "RSA with SHA-512",
            Self::EcdsaSha256 => "ECDSA with SHA-256",
            Self::EcdsaSha384 => "ECDSA with SHA-384",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Encode;
    use openssl::ec::{EcGroup, EcKey, PointConversionForm};

    #[test]
    fn one_key_has_one_encoding() {
        let mut group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let ec = EcKey::generate(&group).unwrap();
        let plain = ec.public_key_to_der().unwrap();
        assert_eq!(PublicKey::from_spki(&plain).unwrap().key_type(), KeyType::EcP256);
        let mut trailing = plain.clone();
        trailing.push(0);
        assert_eq!(PublicKey::from_spki(&trailing), Err(KeyError::Malformed));

        let mut context = BigNumContext::new().unwrap();
        let point = ec
            .public_key()
            .to_bytes(&group, PointConversionForm::COMPRESSED, &mut context)
            .unwrap();
        let mut compressed = SubjectPublicKeyInfoOwned::from_der(&plain).unwrap();
        compressed.subject_public_key = der::asn1::BitString::from_bytes(&point).unwrap();
        let compressed = compressed.to_der().unwrap();
        assert!(PublicKey::from_spki(&compressed).is_err(), "a compressed point");
        group.set_asn1_flag(openssl::ec::Asn1Flag::EXPLICIT_CURVE);
        let explicit = EcKey::from_public_key(&group, ec.public_key()).unwrap();
        let explicit = explicit.public_key_to_der().unwrap();
        assert!(PublicKey::from_spki(&explicit).is_err(), "explicit parameters");
    }

    #[test]
    fn an_unknown_curve_is_unsupported_and_garbage_is_malformed() {
        let group = EcGroup::from_curve_name(Nid::SECP256K1).unwrap();
        let ec = EcKey::generate(&group).unwrap();
        assert_eq!(
            PublicKey::from_spki(&ec.public_key_to_der().unwrap()),
            Err(KeyError::Unsupported("EC secp256k1".to_owned()))
        );
        assert_eq!(PublicKey::from_spki(b"garbage"), Err(KeyError::Malformed));
    }

    #[test]
    fn a_signature_under_another_algorithm_does_not_verify() {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha384(), &key).unwrap();
        let signature = signer.sign_oneshot_to_vec(b"message").unwrap();
        assert!(public.verify(SignatureAlgorithm::EcdsaSha384, b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::EcdsaSha256, b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::RsaSha384, b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::EcdsaSha384, b"massage", &signature));
    }
}
