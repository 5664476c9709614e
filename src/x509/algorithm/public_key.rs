//! A public key as certificates and CSRs carry it (RFC 5280 §4.1.2.7), and what it verifies.

use std::fmt;
use std::sync::OnceLock;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use data_encoding::HEXLOWER;
use der::Decode;
use openssl::asn1::Asn1Object;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Public};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use spki::SubjectPublicKeyInfoOwned;

use super::ml_dsa::MlDsaKey;
use super::{KeyType, ParameterSet, SignatureAlgorithm};

/// A curve that is made once, which takes as long as to read some keys.
struct Curve(Nid, OnceLock<EcGroup>);

static P256: Curve = Curve(Nid::X9_62_PRIME256V1, OnceLock::new());
static P384: Curve = Curve(Nid::SECP384R1, OnceLock::new());
static P521: Curve = Curve(Nid::SECP521R1, OnceLock::new());

impl Curve {
    fn group(&self) -> Result<&EcGroup, ErrorStack> {
        if let Some(group) = self.1.get() {
            return Ok(group);
        }
        let group = EcGroup::from_curve_name(self.0)?;
        Ok(self.1.get_or_init(|| group))
    }
}

/// A public key that could be read, as the DER of its SubjectPublicKeyInfo.
#[derive(Clone)]
pub(crate) struct PublicKey {
    spki: Vec<u8>,
    key_type: KeyType,
    key: Key,
}

/// What verifies with it.
#[derive(Clone)]
enum Key {
    OpenSsl(PKey<Public>),
    MlDsa(MlDsaKey),
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
        if let Some(set) =
            ParameterSet::ALL.into_iter().find(|set| set.oid() == parsed.algorithm.oid)
        {
            // RFC 9881 §4: no parameters, and the key's bytes as they are.
            let bytes = parsed.subject_public_key.as_bytes().unwrap_or_default();
            let key = MlDsaKey::new(set, bytes).filter(|_| parsed.algorithm.parameters.is_none());
            let key = Key::MlDsa(key.ok_or(KeyError::Malformed)?);
            return Ok(Self { spki: spki.to_vec(), key_type: KeyType::MlDsa(set), key });
        }
        let (key_type, key) = match parsed.algorithm.oid {
            rfc5912::ID_EC_PUBLIC_KEY => ec_key(&parsed)?,
            rfc5912::RSA_ENCRYPTION | rfc8410::ID_ED_25519 => {
                rsa_or_ed25519_key(spki).ok_or(KeyError::Malformed)?
            }
            oid => return Err(KeyError::Unsupported(oid.to_string())),
        };
        Ok(Self { spki: spki.to_vec(), key_type, key: Key::OpenSsl(key) })
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// OpenSSL's form of the key; none of an ML-DSA key, which not every OpenSSL knows.
    pub(crate) fn pkey(&self) -> Option<&PKey<Public>> {
        match &self.key {
            Key::OpenSsl(key) => Some(key),
            Key::MlDsa(_) => None,
        }
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
        HEXLOWER.encode(&self.key_identifier())
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
        match &self.key {
            Key::MlDsa(key) => key.verify(message, signature),
            Key::OpenSsl(key) => {
                let verified = verifier(key, algorithm)
                    .and_then(|mut verifier| verifier.verify_oneshot(signature, message));
                matches!(verified, Ok(true))
            }
        }
    }
}

fn verifier(key: &PKey<Public>, algorithm: SignatureAlgorithm) -> Result<Verifier<'_>, ErrorStack> {
    use SignatureAlgorithm as A;
    match algorithm {
        A::RsaPkcs1(hash) | A::Ecdsa(hash) => Verifier::new(hash.digest(), key),
        A::RsaPss(hash) => {
            let mut verifier = Verifier::new(hash.digest(), key)?;
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_mgf1_md(hash.digest())?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
            Ok(verifier)
        }
        A::Ed25519 | A::MlDsa(_) => Verifier::new_without_digest(key),
    }
}

/// A point on a named curve, uncompressed: a compressed point or a spelled-out curve would be a second
/// encoding of the same key. OpenSSL's own decoder allows both, and takes several times as long.
fn ec_key(spki: &SubjectPublicKeyInfoOwned) -> Result<(KeyType, PKey<Public>), KeyError> {
    let curve = spki.algorithm.parameters.as_ref().ok_or(KeyError::Malformed)?;
    let curve = curve.decode_as::<ObjectIdentifier>().map_err(|_| KeyError::Malformed)?;
    let (key_type, curve, length) = match curve {
        rfc5912::SECP_256_R_1 => (KeyType::EcP256, &P256, 32),
        rfc5912::SECP_384_R_1 => (KeyType::EcP384, &P384, 48),
        rfc5912::SECP_521_R_1 => (KeyType::EcP521, &P521, 66),
        other => {
            let known = Asn1Object::from_str(&other.to_string()).map(|object| object.nid());
            let name = known.and_then(|nid| nid.short_name().map(str::to_owned));
            let name = name.unwrap_or_else(|_| other.to_string());
            return Err(KeyError::Unsupported(format!("EC {name}")));
        }
    };
    let point = spki.subject_public_key.as_bytes().unwrap_or_default();
    if point.first() != Some(&4) || point.len() != 1 + 2 * length {
        return Err(KeyError::Malformed);
    }
    let key = || {
        let group = curve.group()?;
        let mut context = BigNumContext::new()?;
        // An error unless the point is on the curve.
        let point = EcPoint::from_bytes(group, point, &mut context)?;
        PKey::from_ec_key(EcKey::from_public_key(group, &point)?)
    };
    Ok((key_type, key().map_err(|_: ErrorStack| KeyError::Malformed)?))
}

fn rsa_or_ed25519_key(spki: &[u8]) -> Option<(KeyType, PKey<Public>)> {
    let key = PKey::public_key_from_der(spki).ok()?;
    let key_type = match key.id() {
        Id::RSA => KeyType::Rsa(u32::try_from(key.rsa().ok()?.n().num_bits()).unwrap_or(0)),
        Id::ED25519 => KeyType::Ed25519,
        _ => return None,
    };
    // One key has one encoding.
    (key.public_key_to_der().ok()? == spki).then_some((key_type, key))
}

#[cfg(test)]
mod tests {
    use super::super::Hash;
    use super::*;
    use der::Encode;
    use openssl::ec::PointConversionForm;
    use openssl::hash::MessageDigest;

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
        assert!(public.verify(SignatureAlgorithm::Ecdsa(Hash::Sha384), b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::Ecdsa(Hash::Sha256), b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::RsaPkcs1(Hash::Sha384), b"message", &signature));
        assert!(!public.verify(SignatureAlgorithm::Ecdsa(Hash::Sha384), b"massage", &signature));
    }

    #[test]
    fn pss_has_one_hash_function_and_a_salt_as_long_as_its_digest() {
        let key = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
        let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        let sign = |salt: i32, mask: Hash| {
            let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &key).unwrap();
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::custom(salt)).unwrap();
            signer.set_rsa_mgf1_md(mask.digest()).unwrap();
            signer.sign_oneshot_to_vec(b"message").unwrap()
        };
        let pss = SignatureAlgorithm::RsaPss(Hash::Sha256);
        let good = sign(32, Hash::Sha256);
        assert!(public.verify(pss, b"message", &good));
        assert!(!public.verify(pss, b"massage", &good));
        assert!(!public.verify(SignatureAlgorithm::RsaPss(Hash::Sha384), b"message", &good));
        assert!(!public.verify(SignatureAlgorithm::RsaPkcs1(Hash::Sha256), b"message", &good));
        assert!(!public.verify(pss, b"message", &sign(20, Hash::Sha256)), "a shorter salt");
        assert!(!public.verify(pss, b"message", &sign(32, Hash::Sha384)), "another mask");
        let left = ErrorStack::get();
        assert!(left.errors().is_empty(), "TLS on this thread would stumble over {left}");
    }

    #[test]
    fn an_ml_dsa_key_has_one_encoding() {
        for (set, length) in [
            (ParameterSet::MlDsa44, 1312),
            (ParameterSet::MlDsa65, 1952),
            (ParameterSet::MlDsa87, 2592),
        ] {
            let spki = |parameters, bits: Vec<u8>, unused| {
                let algorithm = spki::AlgorithmIdentifierOwned { oid: set.oid(), parameters };
                let subject_public_key = der::asn1::BitString::new(unused, bits).unwrap();
                SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap()
            };
            let key = PublicKey::from_spki(&spki(None, vec![8; length], 0)).unwrap();
            assert_eq!(key.key_type(), KeyType::MlDsa(set));
            assert!(key.pkey().is_none());
            let null = Some(der::asn1::Any::null());
            for wrong in [
                spki(null, vec![8; length], 0),
                spki(None, vec![8; length - 1], 0),
                spki(None, vec![8; length + 1], 0),
                spki(None, vec![8; length], 3),
            ] {
                assert_eq!(PublicKey::from_spki(&wrong), Err(KeyError::Malformed), "{set}");
            }
            let mut trailing = spki(None, vec![8; length], 0);
            trailing.push(0);
            assert_eq!(PublicKey::from_spki(&trailing), Err(KeyError::Malformed), "{set}");
        }
    }
}
