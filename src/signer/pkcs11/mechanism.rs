//! Signature algorithms in PKCS#11's words: which CKM_* to use, what to hand to it, and what its
//! answer means in X.509.

use cryptoki::mechanism::{Mechanism, MechanismType};
use der::Encode;
use der::asn1::UintRef;
use openssl::error::ErrorStack;
use openssl::hash::hash;

use super::recovery::{Fault, Remedy};
use crate::x509::algorithm::{KeyType, PublicKey, SignatureAlgorithm};

/// How one key signs on one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signer) enum Recipe {
    /// The token hashes: `CKM_SHA256_RSA_PKCS`, `CKM_ECDSA_SHA384` and the like.
    Whole(SignatureAlgorithm),
    /// kipuka hashes; the token sees the digest: `CKM_RSA_PKCS` with a `DigestInfo`, `CKM_ECDSA`.
    Digest(SignatureAlgorithm),
}

/// The token offers no way to sign so; `needed` names the mechanisms, either of which would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoMechanism {
    pub(super) needed: &'static str,
}

impl Recipe {
    /// Chooses by what the token offers, never by whose token it is.
    pub(super) fn choose(
        algorithm: SignatureAlgorithm,
        can_sign: impl Fn(MechanismType) -> bool,
    ) -> Result<Self, NoMechanism> {
        use SignatureAlgorithm as A;
        let (whole, digest, needed) = match algorithm {
            A::RsaSha256 => (
                MechanismType::SHA256_RSA_PKCS,
                MechanismType::RSA_PKCS,
                "CKM_SHA256_RSA_PKCS or CKM_RSA_PKCS",
            ),
            A::RsaSha384 => (
                MechanismType::SHA384_RSA_PKCS,
                MechanismType::RSA_PKCS,
                "CKM_SHA384_RSA_PKCS or CKM_RSA_PKCS",
            ),
            A::RsaSha512 => (
                MechanismType::SHA512_RSA_PKCS,
                MechanismType::RSA_PKCS,
                "CKM_SHA512_RSA_PKCS or CKM_RSA_PKCS",
            ),
            A::EcdsaSha256 => {
                (MechanismType::ECDSA_SHA256, MechanismType::ECDSA, "CKM_ECDSA_SHA256 or CKM_ECDSA")
            }
            A::EcdsaSha384 => {
                (MechanismType::ECDSA_SHA384, MechanismType::ECDSA, "CKM_ECDSA_SHA384 or CKM_ECDSA")
            }
        };
        if can_sign(whole) {
            Ok(Self::Whole(algorithm))
        } else if can_sign(digest) {
            Ok(Self::Digest(algorithm))
        } else {
            Err(NoMechanism { needed })
        }
    }

    pub(super) fn mechanism(self) -> Mechanism<'static> {
        use SignatureAlgorithm as A;
        match self {
            Self::Whole(A::RsaSha256) => Mechanism::Sha256RsaPkcs,
            Self::Whole(A::RsaSha384) => Mechanism::Sha384RsaPkcs,
            Self::Whole(A::RsaSha512) => Mechanism::Sha512RsaPkcs,
            Self::Whole(A::EcdsaSha256) => Mechanism::EcdsaSha256,
            Self::Whole(A::EcdsaSha384) => Mechanism::EcdsaSha384,
            Self::Digest(A::RsaSha256 | A::RsaSha384 | A::RsaSha512) => Mechanism::RsaPkcs,
            Self::Digest(A::EcdsaSha256 | A::EcdsaSha384) => Mechanism::Ecdsa,
        }
    }

    /// What `C_Sign` is given for `message`.
    pub(super) fn input(self, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        use SignatureAlgorithm as A;
        let Self::Digest(algorithm) = self else {
            return Ok(message.to_vec());
        };
        let digest = hash(algorithm.digest(), message)?;
        Ok(match algorithm {
            A::RsaSha256 => [DIGEST_INFO_SHA256, &digest].concat(),
            A::RsaSha384 => [DIGEST_INFO_SHA384, &digest].concat(),
            A::RsaSha512 => [DIGEST_INFO_SHA512, &digest].concat(),
            A::EcdsaSha256 | A::EcdsaSha384 => digest.to_vec(),
        })
    }
}

/// `C_Sign`'s answer as X.509 carries it. ECDSA comes as r and s side by side, each as long as the
/// curve's order (PKCS#11 v3.1 §6.3.1), and leaves as the SEQUENCE of RFC 5758 §3.2.
pub(super) fn x509_form(key: &PublicKey, raw: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let order = match key.key_type() {
        KeyType::EcP256 => 32,
        KeyType::EcP384 => 48,
        _ => return Ok(raw),
    };
    if raw.len() != 2 * order {
        return Err(Fault::new(
            Remedy::Fail,
            format!("C_Sign answered with {} bytes for r and s, not {}", raw.len(), 2 * order),
        ));
    }
    let (r, s) = raw.split_at(order);
    UintRef::new(r)
        .and_then(|r| EcdsaSigValue { r, s: UintRef::new(s)? }.to_der())
        .map_err(|error| Fault::new(Remedy::Fail, format!("r and s do not encode: {error}")))
}

/// RFC 3279 §2.2.3.
#[derive(der::Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

// The DER of DigestInfo up to the digest (RFC 8017 §9.2, note 1).
const DIGEST_INFO_SHA256: &[u8] =
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const DIGEST_INFO_SHA384: &[u8] =
    b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30";
const DIGEST_INFO_SHA512: &[u8] =
    b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::pkey::PKey;
    use openssl::rsa::{Padding, Rsa};

    #[test]
    fn the_token_hashes_where_it_can_and_kipuka_where_it_cannot() {
        use SignatureAlgorithm::{EcdsaSha384, RsaSha512};
        assert_eq!(Recipe::choose(RsaSha512, |_| true), Ok(Recipe::Whole(RsaSha512)));
        let only = |only: MechanismType| move |offered: MechanismType| offered == only;
        assert_eq!(
            Recipe::choose(RsaSha512, only(MechanismType::RSA_PKCS)),
            Ok(Recipe::Digest(RsaSha512))
        );
        assert_eq!(
            Recipe::choose(EcdsaSha384, only(MechanismType::ECDSA)),
            Ok(Recipe::Digest(EcdsaSha384))
        );
        let none = Recipe::choose(EcdsaSha384, only(MechanismType::RSA_PKCS)).unwrap_err();
        assert_eq!(none.needed, "CKM_ECDSA_SHA384 or CKM_ECDSA");
    }

    #[test]
    fn a_digest_info_signed_bare_is_the_x509_signature() {
        let rsa = Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(rsa.clone()).unwrap();
        let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        for algorithm in [
            SignatureAlgorithm::RsaSha256,
            SignatureAlgorithm::RsaSha384,
            SignatureAlgorithm::RsaSha512,
        ] {
            let input = Recipe::Digest(algorithm).input(b"message").unwrap();
            let mut signature = vec![0; 256];
            rsa.private_encrypt(&input, &mut signature, Padding::PKCS1).unwrap();
            assert!(public.verify(algorithm, b"message", &signature), "{algorithm}");
        }
    }

    #[test]
    fn r_and_s_become_positive_integers_without_leading_zeros() {
        let group =
            openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let key = openssl::ec::EcKey::generate(&group).unwrap();
        let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        let mut raw = vec![0; 64];
        raw[30] = 0x80;
        raw[63] = 7;
        let der = x509_form(&public, raw).unwrap();
        assert_eq!(der, [0x30, 8, 2, 3, 0, 0x80, 0, 2, 1, 7]);
        let short = x509_form(&public, vec![1; 63]).unwrap_err();
        assert!(short.detail.contains("63 bytes"), "{}", short.detail);
    }
}
