//! Signature algorithms in PKCS#11's words: which CKM_* to use, what to hand to it, and what its
//! answer means in X.509.

use std::borrow::Cow;

use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use der::Encode;
use der::asn1::UintRef;
use openssl::error::ErrorStack;
use openssl::hash::hash;

use super::recovery::{Fault, Remedy};
use crate::x509::algorithm::{Hash, KeyType, PublicKey, SignatureAlgorithm};

/// Tokens bound what `C_Sign` takes, and a CRL can be a megabyte: where a token offers both ways,
/// kipuka hashes what is longer than this.
const MAX_WHOLE: usize = 16 * 1024;

/// How one key signs on one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signer) enum Recipe {
    /// The token gets the message: `CKM_SHA256_RSA_PKCS`, `CKM_ECDSA_SHA384`, `CKM_EDDSA` and the
    /// like.
    Whole(SignatureAlgorithm),
    /// kipuka hashes; the token sees the digest: `CKM_RSA_PKCS` with a `DigestInfo`,
    /// `CKM_RSA_PKCS_PSS`, `CKM_ECDSA`.
    Digest(SignatureAlgorithm),
    /// The token can do both: [`Self::Whole`] for short messages, [`Self::Digest`] for long ones.
    Either(SignatureAlgorithm),
}

/// The token offers no way to sign so; `needed` names the mechanisms, any of which would do.
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
        let whole = can_sign(whole(algorithm).mechanism_type());
        let digest = digest(algorithm).is_some_and(|bare| can_sign(bare.mechanism_type()));
        match (whole, digest) {
            (true, true) => Ok(Self::Either(algorithm)),
            (true, false) => Ok(Self::Whole(algorithm)),
            (false, true) => Ok(Self::Digest(algorithm)),
            (false, false) => Err(NoMechanism { needed: needed(algorithm) }),
        }
    }

    /// What `C_SignInit` and `C_Sign` are given to have `message` signed with a key of this type.
    pub(super) fn request(
        self,
        key_type: KeyType,
        message: &[u8],
    ) -> Result<(Mechanism<'static>, Cow<'_, [u8]>), ErrorStack> {
        let (algorithm, hashed) = match self {
            Self::Whole(algorithm) => (algorithm, None),
            Self::Either(algorithm) if message.len() <= MAX_WHOLE => (algorithm, None),
            Self::Digest(algorithm) | Self::Either(algorithm) => (algorithm, digest(algorithm)),
        };
        Ok(match hashed {
            None => (whole(algorithm), Cow::Borrowed(message)),
            Some(bare) => (bare, Cow::Owned(bare_input(algorithm, key_type, message)?)),
        })
    }
}

/// The mechanism that takes the message itself.
fn whole(algorithm: SignatureAlgorithm) -> Mechanism<'static> {
    use SignatureAlgorithm as A;
    match algorithm {
        A::RsaPkcs1(Hash::Sha256) => Mechanism::Sha256RsaPkcs,
        A::RsaPkcs1(Hash::Sha384) => Mechanism::Sha384RsaPkcs,
        A::RsaPkcs1(Hash::Sha512) => Mechanism::Sha512RsaPkcs,
        A::RsaPss(hash @ Hash::Sha256) => Mechanism::Sha256RsaPkcsPss(pss(hash)),
        A::RsaPss(hash @ Hash::Sha384) => Mechanism::Sha384RsaPkcsPss(pss(hash)),
        A::RsaPss(hash @ Hash::Sha512) => Mechanism::Sha512RsaPkcsPss(pss(hash)),
        A::Ecdsa(Hash::Sha256) => Mechanism::EcdsaSha256,
        A::Ecdsa(Hash::Sha384) => Mechanism::EcdsaSha384,
        A::Ecdsa(Hash::Sha512) => Mechanism::EcdsaSha512,
        A::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        A::MlDsa(_) => Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None)),
    }
}

/// The mechanism that takes a digest. Ed25519 and ML-DSA have none that X.509 allows: what they sign
/// prehashed is another algorithm (RFC 8410 §3, RFC 9881 §2).
fn digest(algorithm: SignatureAlgorithm) -> Option<Mechanism<'static>> {
    use SignatureAlgorithm as A;
    match algorithm {
        A::RsaPkcs1(_) => Some(Mechanism::RsaPkcs),
        A::RsaPss(hash) => Some(Mechanism::RsaPkcsPss(pss(hash))),
        A::Ecdsa(_) => Some(Mechanism::Ecdsa),
        A::Ed25519 | A::MlDsa(_) => None,
    }
}

fn needed(algorithm: SignatureAlgorithm) -> &'static str {
    use SignatureAlgorithm as A;
    match algorithm {
        A::RsaPkcs1(Hash::Sha256) => "CKM_SHA256_RSA_PKCS or CKM_RSA_PKCS",
        A::RsaPkcs1(Hash::Sha384) => "CKM_SHA384_RSA_PKCS or CKM_RSA_PKCS",
        A::RsaPkcs1(Hash::Sha512) => "CKM_SHA512_RSA_PKCS or CKM_RSA_PKCS",
        A::RsaPss(Hash::Sha256) => "CKM_SHA256_RSA_PKCS_PSS or CKM_RSA_PKCS_PSS",
        A::RsaPss(Hash::Sha384) => "CKM_SHA384_RSA_PKCS_PSS or CKM_RSA_PKCS_PSS",
        A::RsaPss(Hash::Sha512) => "CKM_SHA512_RSA_PKCS_PSS or CKM_RSA_PKCS_PSS",
        A::Ecdsa(Hash::Sha256) => "CKM_ECDSA_SHA256 or CKM_ECDSA",
        A::Ecdsa(Hash::Sha384) => "CKM_ECDSA_SHA384 or CKM_ECDSA",
        A::Ecdsa(Hash::Sha512) => "CKM_ECDSA_SHA512 or CKM_ECDSA",
        A::Ed25519 => "CKM_EDDSA",
        A::MlDsa(_) => "CKM_ML_DSA",
    }
}

/// `CK_RSA_PKCS_PSS_PARAMS` of what [`SignatureAlgorithm::RsaPss`] means.
fn pss(hash: Hash) -> PkcsPssParams {
    let (hash_alg, mgf) = match hash {
        Hash::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        Hash::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384),
        Hash::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512),
    };
    PkcsPssParams { hash_alg, mgf, s_len: u64::from(hash.length()).into() }
}

/// The input of [`digest`]'s mechanism.
fn bare_input(
    algorithm: SignatureAlgorithm,
    key_type: KeyType,
    message: &[u8],
) -> Result<Vec<u8>, ErrorStack> {
    use SignatureAlgorithm as A;
    Ok(match algorithm {
        A::RsaPkcs1(function) => {
            let prefix = match function {
                Hash::Sha256 => DIGEST_INFO_SHA256,
                Hash::Sha384 => DIGEST_INFO_SHA384,
                Hash::Sha512 => DIGEST_INFO_SHA512,
            };
            [prefix, &hash(function.digest(), message)?].concat()
        }
        A::RsaPss(function) => hash(function.digest(), message)?.to_vec(),
        A::Ecdsa(function) => {
            // FIPS 186-5 §6.4.1 takes the leftmost bits; not every token takes more than those.
            let digest = hash(function.digest(), message)?;
            digest.iter().copied().take(order_length(key_type).unwrap_or(usize::MAX)).collect()
        }
        A::Ed25519 | A::MlDsa(_) => message.to_vec(),
    })
}

/// The length of a curve's order in bytes.
fn order_length(key_type: KeyType) -> Option<usize> {
    match key_type {
        KeyType::EcP256 => Some(32),
        KeyType::EcP384 => Some(48),
        KeyType::EcP521 => Some(66),
        KeyType::Rsa(_) | KeyType::Ed25519 | KeyType::MlDsa(_) => None,
    }
}

/// `C_Sign`'s answer as X.509 carries it. ECDSA comes as r and s side by side, each as long as the
/// curve's order (PKCS#11 v3.1 §6.3.1), and leaves as the SEQUENCE of RFC 5758 §3.2.
pub(super) fn x509_form(key: &PublicKey, raw: Vec<u8>) -> Result<Vec<u8>, Fault> {
    let Some(order) = order_length(key.key_type()) else { return Ok(raw) };
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

    use crate::x509::algorithm::ParameterSet;

    fn offers(list: &[MechanismType]) -> impl Fn(MechanismType) -> bool {
        move |asked| list.contains(&asked)
    }

    #[test]
    fn the_token_hashes_where_it_can_and_kipuka_where_it_cannot() {
        use MechanismType as M;
        let pss = SignatureAlgorithm::RsaPss(Hash::Sha384);
        let ecdsa = SignatureAlgorithm::Ecdsa(Hash::Sha512);
        let ml_dsa = SignatureAlgorithm::MlDsa(ParameterSet::MlDsa65);
        let none = |needed| Err(NoMechanism { needed });
        for (algorithm, offered, chosen) in [
            (pss, &[M::SHA384_RSA_PKCS_PSS, M::RSA_PKCS_PSS][..], Ok(Recipe::Either(pss))),
            (pss, &[M::SHA384_RSA_PKCS_PSS], Ok(Recipe::Whole(pss))),
            (pss, &[M::RSA_PKCS_PSS], Ok(Recipe::Digest(pss))),
            (
                pss,
                &[M::RSA_PKCS, M::SHA384_RSA_PKCS],
                none("CKM_SHA384_RSA_PKCS_PSS or CKM_RSA_PKCS_PSS"),
            ),
            (ecdsa, &[M::ECDSA], Ok(Recipe::Digest(ecdsa))),
            (ecdsa, &[M::ECDSA_SHA512], Ok(Recipe::Whole(ecdsa))),
            (SignatureAlgorithm::Ed25519, &[M::ECDSA], none("CKM_EDDSA")),
            (ml_dsa, &[M::ML_DSA], Ok(Recipe::Whole(ml_dsa))),
            (ml_dsa, &[M::HASH_ML_DSA, M::HASH_ML_DSA_SHA512], none("CKM_ML_DSA")),
        ] {
            assert_eq!(Recipe::choose(algorithm, offers(offered)), chosen);
        }
    }

    #[test]
    fn a_long_message_is_hashed_here_where_the_token_takes_digests() {
        let algorithm = SignatureAlgorithm::Ecdsa(Hash::Sha384);
        let (short, long) = (vec![7; MAX_WHOLE], vec![7; MAX_WHOLE + 1]);
        let asked = |recipe: Recipe, message: &[u8]| {
            let (mechanism, input) = recipe.request(KeyType::EcP384, message).unwrap();
            (mechanism.mechanism_type(), input.len())
        };
        let whole = MechanismType::ECDSA_SHA384;
        assert_eq!(asked(Recipe::Either(algorithm), &short), (whole, MAX_WHOLE));
        assert_eq!(asked(Recipe::Either(algorithm), &long), (MechanismType::ECDSA, 48));
        assert_eq!(asked(Recipe::Whole(algorithm), &long), (whole, MAX_WHOLE + 1));
        assert_eq!(asked(Recipe::Digest(algorithm), &short), (MechanismType::ECDSA, 48));
    }

    #[test]
    fn a_digest_is_no_longer_than_the_curve_takes() {
        for (hash, key_type, length) in [
            (Hash::Sha512, KeyType::EcP256, 32),
            (Hash::Sha512, KeyType::EcP384, 48),
            (Hash::Sha512, KeyType::EcP521, 64),
            (Hash::Sha256, KeyType::EcP384, 32),
        ] {
            let input = bare_input(SignatureAlgorithm::Ecdsa(hash), key_type, b"message").unwrap();
            assert_eq!(input.len(), length, "{hash} with {key_type}");
        }
    }

    #[test]
    fn a_digest_info_signed_bare_is_the_x509_signature() {
        let rsa = Rsa::generate(2048).unwrap();
        let key = PKey::from_rsa(rsa.clone()).unwrap();
        let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        for algorithm in Hash::ALL.map(SignatureAlgorithm::RsaPkcs1) {
            let (_, input) =
                Recipe::Digest(algorithm).request(public.key_type(), b"message").unwrap();
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
