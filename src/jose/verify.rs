//! Signature algorithms (RFC 7518 §3, RFC 8037 §3.1) and their verification, by josekit.

use josekit::JoseError;
use josekit::jwk::Jwk as JosekitJwk;
use josekit::jws::{self, JwsVerifier};

use super::jwk::{Curve, Jwk};
use super::jws::{Jws, JwsError};

/// What a request may be signed with. No MAC: a MAC proves nothing to a server that has the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Algorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 6] =
        [Self::Es256, Self::Rs256, Self::EdDsa, Self::Es384, Self::Es512, Self::Ps256];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether a key of this type signs so.
    pub(super) fn fits(self, key: &Jwk) -> bool {
        match self {
            Self::Rs256 | Self::Ps256 => key.is_rsa(),
            Self::Es256 => key.curve() == Some(Curve::P256),
            Self::Es384 => key.curve() == Some(Curve::P384),
            Self::Es512 => key.curve() == Some(Curve::P521),
            Self::EdDsa => key.is_ed25519(),
        }
    }

    /// Whether one verification takes about a millisecond, so that it should not run on a thread
    /// that serves connections.
    pub(crate) const fn is_slow(self) -> bool {
        matches!(self, Self::Es384 | Self::Es512)
    }
}

/// Verifies the signatures of one key with one algorithm; costly to make, cheap to keep.
pub(crate) struct Verifier(Box<dyn JwsVerifier + Send + Sync>);

impl Verifier {
    pub(crate) fn new(key: &Jwk, algorithm: Algorithm) -> Result<Self, JwsError> {
        let refused = || JwsError::KeyAlgorithm { algorithm: algorithm.as_str() };
        if !algorithm.fits(key) {
            return Err(refused());
        }
        make(key, algorithm).map(Self).map_err(|_| refused())
    }

    /// Whether the signature is this key's.
    pub(crate) fn verify(&self, jws: &Jws) -> bool {
        self.0.verify(jws.signing_input(), jws.signature()).is_ok()
    }
}

fn make(key: &Jwk, algorithm: Algorithm) -> Result<Box<dyn JwsVerifier + Send + Sync>, JoseError> {
    let jwk = JosekitJwk::from_bytes(key.canonical_json())?;
    Ok(match algorithm {
        Algorithm::Rs256 => Box::new(jws::RS256.verifier_from_jwk(&jwk)?),
        Algorithm::Ps256 => Box::new(jws::PS256.verifier_from_jwk(&jwk)?),
        Algorithm::Es256 => Box::new(jws::ES256.verifier_from_jwk(&jwk)?),
        Algorithm::Es384 => Box::new(jws::ES384.verifier_from_jwk(&jwk)?),
        Algorithm::Es512 => Box::new(jws::ES512.verifier_from_jwk(&jwk)?),
        Algorithm::EdDsa => Box::new(jws::EdDSA.verifier_from_jwk(&jwk)?),
    })
}
