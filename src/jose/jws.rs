//! Flattened JWS JSON (RFC 7515 §7.2.2), as RFC 8555 §6.2 narrows it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::jwk::{Jwk, JwkError};
use super::members::{Member, Members, NotText};
use super::verify::Algorithm;

/// The longest protected header: an RSA-8192 key in it has about 1,500 bytes.
const MAX_PROTECTED: usize = 8 * 1024;
const MAX_NONCE: usize = 128;
pub(super) const MAX_URL: usize = 2048;

/// A well-formed JWS; whether its signature is right is another question.
#[derive(Debug)]
pub(crate) struct Jws {
    algorithm: Algorithm,
    key: KeyReference,
    nonce: Option<String>,
    url: String,
    payload: Vec<u8>,
    signing_input: Vec<u8>,
    signature: Vec<u8>,
}

/// How a JWS names its key (RFC 8555 §6.2): one way or the other.
#[derive(Clone, Debug)]
pub(crate) enum KeyReference {
    Jwk(Jwk),
    /// An account URL.
    Kid(String),
}

/// Why a body is no JWS that could be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwsError {
    #[error("it is not a flattened JWS: {0}")]
    Json(String),
    #[error(
        "the JWS has the member {0:?}; it must have protected, payload and signature, no other"
    )]
    Member(String),
    #[error("the JWS lacks the member {0:?}")]
    Missing(&'static str),
    #[error("the JWS's {0} is not base64url without padding")]
    Base64(&'static str),
    #[error("the JWS's protected header is longer than {MAX_PROTECTED} bytes")]
    TooLong,
    #[error("the JWS's protected header cannot be read: {0}")]
    Header(String),
    #[error("the protected header's {0:?} is not a string")]
    NotText(&'static str),
    #[error("the protected header's {0:?} is not printable ASCII")]
    NotAscii(&'static str),
    #[error("the protected header has no {0:?}")]
    HeaderMissing(&'static str),
    #[error("the protected header's {0:?} is longer than anything this CA handed out")]
    HeaderTooLong(&'static str),
    #[error(
        "the protected header has {0:?}, which no ACME client needs and this CA does not follow"
    )]
    Forbidden(&'static str),
    #[error(
        "the protected header must have either \"jwk\" or \"kid\", and not both (RFC 8555 §6.2)"
    )]
    KeyReference,
    #[error("signatures with the algorithm {algorithm:?} are not accepted")]
    UnsupportedAlgorithm { algorithm: String },
    #[error("the account's key does not sign with {algorithm}")]
    KeyAlgorithm { algorithm: &'static str },
    #[error("the nonce is not base64url")]
    BadNonce,
    #[error(transparent)]
    BadKey(#[from] JwkError),
}

impl From<NotText> for JwsError {
    fn from(NotText(name): NotText) -> Self {
        Self::NotText(name)
    }
}

/// Reads a request's body.
pub(crate) fn parse(body: &[u8]) -> Result<Jws, JwsError> {
    let Flattened { header, payload, signature, signing_input } = Flattened::read(body)?;
    let header = Header::read(&header)?;
    Ok(Jws {
        algorithm: header.algorithm,
        key: header.key,
        nonce: header.nonce,
        url: header.url,
        payload,
        signature,
        signing_input,
    })
}

/// The parts of a flattened JWS; nothing is said yet of what its header may hold.
pub(super) struct Flattened {
    pub(super) header: Members,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) signing_input: Vec<u8>,
}

impl Flattened {
    pub(super) fn read(body: &[u8]) -> Result<Self, JwsError> {
        let outer: Members =
            serde_json::from_slice(body).map_err(|error| JwsError::Json(error.to_string()))?;
        if let Some(name) =
            outer.names().find(|name| !matches!(*name, "protected" | "payload" | "signature"))
        {
            return Err(JwsError::Member(name.to_owned()));
        }
        let member = |name| outer.text(name)?.ok_or(JwsError::Missing(name));
        let (protected, payload) = (member("protected")?, member("payload")?);
        if protected.len() > MAX_PROTECTED {
            return Err(JwsError::TooLong);
        }
        let decode =
            |name, text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| JwsError::Base64(name));
        let header: Members = serde_json::from_slice(&decode("protected", protected)?)
            .map_err(|error| JwsError::Header(error.to_string()))?;
        // `crit` obliges to understand what it names, and `b64` changes what is signed (RFC 7797).
        for name in ["crit", "b64"] {
            if header.has(name) {
                return Err(JwsError::Forbidden(name));
            }
        }
        Ok(Self {
            payload: decode("payload", payload)?,
            signature: decode("signature", member("signature")?)?,
            signing_input: format!("{protected}.{payload}").into_bytes(),
            header,
        })
    }
}

struct Header {
    algorithm: Algorithm,
    key: KeyReference,
    nonce: Option<String>,
    url: String,
}

impl Header {
    fn read(header: &Members) -> Result<Self, JwsError> {
        let text = |name| header.text(name)?.ok_or(JwsError::HeaderMissing(name));
        let algorithm = text("alg")?;
        let algorithm = Algorithm::from_name(algorithm)
            .ok_or_else(|| JwsError::UnsupportedAlgorithm { algorithm: algorithm.to_owned() })?;
        let url = text("url")?;
        if url.len() > MAX_URL {
            return Err(JwsError::HeaderTooLong("url"));
        }
        let nonce = header.text("nonce")?;
        if let Some(nonce) = nonce
            && (nonce.len() > MAX_NONCE || URL_SAFE_NO_PAD.decode(nonce).is_err())
        {
            return Err(JwsError::BadNonce);
        }
        let key = match (header.get("jwk"), header.text("kid")?) {
            (Some(Member::Object(jwk)), None) => {
                let key = Jwk::read(jwk)?;
                // RFC 7517 §4.4; `Jwk::read` saw to it that the key's type has this algorithm, and
                // only RSA has two. `Ed25519` is another name of `EdDSA` (RFC 9864).
                if key.is_rsa()
                    && jwk.text("alg").ok().flatten().is_some_and(|own| own != algorithm.as_str())
                {
                    return Err(JwsError::BadKey(JwkError::Use("alg")));
                }
                KeyReference::Jwk(key)
            }
            (Some(_), None) => return Err(JwsError::BadKey(JwkError::Object)),
            (None, Some(kid)) if kid.len() > MAX_URL => return Err(JwsError::HeaderTooLong("kid")),
            (None, Some(kid)) => KeyReference::Kid(kid.to_owned()),
            (Some(_), Some(_)) | (None, None) => return Err(JwsError::KeyReference),
        };
        if let KeyReference::Jwk(jwk) = &key
            && !algorithm.fits(jwk)
        {
            // RFC 8555 §6.2 has this very example of a badPublicKey.
            return Err(JwsError::BadKey(JwkError::Algorithm(algorithm.as_str())));
        }
        Ok(Self { algorithm, key, nonce: nonce.map(str::to_owned), url: url.to_owned() })
    }
}

impl Jws {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn key(&self) -> &KeyReference {
        &self.key
    }

    pub(crate) fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub(super) fn signing_input(&self) -> &[u8] {
        &self.signing_input
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

#[cfg(test)]
mod tests;
