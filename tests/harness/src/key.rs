//! Account keys, and what they sign.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The signature algorithms that kipuka takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 6] =
        [Self::Rs256, Self::Ps256, Self::Es256, Self::Es384, Self::Es512, Self::EdDsa];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Curve, coordinate length and digest.
    fn curve(self) -> Option<(Nid, &'static str, i32, MessageDigest)> {
        match self {
            Self::Es256 => Some((Nid::X9_62_PRIME256V1, "P-256", 32, MessageDigest::sha256())),
            Self::Es384 => Some((Nid::SECP384R1, "P-384", 48, MessageDigest::sha384())),
            Self::Es512 => Some((Nid::SECP521R1, "P-521", 66, MessageDigest::sha512())),
            Self::Rs256 | Self::Ps256 | Self::EdDsa => None,
        }
    }
}

/// A key pair with the algorithm it signs with.
#[derive(Clone, Debug)]
pub struct Key {
    pub algorithm: Algorithm,
    pub private: PKey<Private>,
}

impl Key {
    pub fn new(algorithm: Algorithm) -> Self {
        let private = match (algorithm, algorithm.curve()) {
            (_, Some((nid, ..))) => {
                let group = EcGroup::from_curve_name(nid).unwrap();
                PKey::from_ec_key(EcKey::generate(&group).unwrap())
            }
            (Algorithm::EdDsa, _) => PKey::generate_ed25519(),
            _ => PKey::from_rsa(Rsa::generate(2048).unwrap()),
        };
        Self { algorithm, private: private.unwrap() }
    }

    pub fn jwk(&self) -> Value {
        if let Some((_, name, length, _)) = self.algorithm.curve() {
            let key = self.private.ec_key().unwrap();
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            let mut context = BigNumContext::new().unwrap();
            key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
            let coordinate = |number: &BigNum| base64url(number.to_vec_padded(length).unwrap());
            return json!({ "kty": "EC", "crv": name, "x": coordinate(&x), "y": coordinate(&y) });
        }
        if self.private.id() == Id::ED25519 {
            let x = base64url(self.private.raw_public_key().unwrap());
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        }
        let key = self.private.rsa().unwrap();
        json!({ "kty": "RSA", "n": base64url(key.n().to_vec()), "e": base64url(key.e().to_vec()) })
    }

    /// RFC 7638.
    pub fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let mut members: Vec<_> = jwk
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name:?}:{value}"))
            .collect();
        members.sort();
        let canonical = format!("{{{}}}", members.join(","));
        base64url(hash(MessageDigest::sha256(), canonical.as_bytes()).unwrap())
    }

    /// A flattened JWS of any protected header, JSON or not.
    pub fn sign_jws(&self, protected: impl AsRef<[u8]>, payload: &[u8]) -> Value {
        let (protected, payload) = (base64url(protected), base64url(payload));
        let signature = base64url(self.sign(format!("{protected}.{payload}").as_bytes()));
        json!({ "protected": protected, "payload": payload, "signature": signature })
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        if let Some((_, _, length, digest)) = self.algorithm.curve() {
            let digest = hash(digest, message).unwrap();
            let signature = EcdsaSig::sign(&digest, &self.private.ec_key().unwrap()).unwrap();
            let mut raw = signature.r().to_vec_padded(length).unwrap();
            raw.extend(signature.s().to_vec_padded(length).unwrap());
            return raw;
        }
        if self.private.id() == Id::ED25519 {
            let mut signer = Signer::new_without_digest(&self.private).unwrap();
            return signer.sign_oneshot_to_vec(message).unwrap();
        }
        let mut signer = Signer::new(MessageDigest::sha256(), &self.private).unwrap();
        if self.algorithm == Algorithm::Ps256 {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
        }
        signer.sign_oneshot_to_vec(message).unwrap()
    }
}
