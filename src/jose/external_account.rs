//! The JWS that binds an account key to an external account (RFC 8555 §7.3.4): the key as payload,
//! under a MAC.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::json;

use super::jwk::Jwk;
use super::jws::{Flattened, JwsError, MAX_URL};

/// The longest binding that is looked at: an RSA-8192 key in it has about 2,000 bytes.
const MAX_BINDING: usize = 16 * 1024;
/// Longer than any key identifier of ours.
const MAX_KID: usize = 256;

/// The algorithms of a MAC (RFC 7518 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacAlgorithm {
    Hs256,
    Hs384,
    Hs512,
}

impl MacAlgorithm {
    pub(crate) const ALL: [Self; 3] = [Self::Hs256, Self::Hs384, Self::Hs512];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::Hs256 => MessageDigest::sha256(),
            Self::Hs384 => MessageDigest::sha384(),
            Self::Hs512 => MessageDigest::sha512(),
        }
    }
}

/// A well-formed binding; whether its MAC is right is another question.
#[derive(Debug)]
pub(crate) struct ExternalAccountJws {
    pub(crate) algorithm: MacAlgorithm,
    /// The key identifier that the CA gave out.
    pub(crate) kid: String,
    pub(crate) url: String,
    /// The account key that is bound.
    pub(crate) key: Jwk,
    signing_input: Vec<u8>,
    signature: Vec<u8>,
}

impl ExternalAccountJws {
    /// Reads the value of `externalAccountBinding`. `None` where it binds nothing: clients that were
    /// configured with empty strings send an empty value, or an empty `kid`.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, JwsError> {
        if text.len() > MAX_BINDING {
            return Err(JwsError::Json(format!("it is longer than {MAX_BINDING} bytes")));
        }
        if is_empty(text) {
            return Ok(None);
        }
        let Flattened { header, payload, signature, signing_input } =
            Flattened::read(text.as_bytes())?;
        let text = |name| header.text(name)?.ok_or(JwsError::HeaderMissing(name));
        let kid = text("kid")?;
        if kid.is_empty() {
            return Ok(None);
        }
        for (name, value, longest) in [("kid", kid, MAX_KID), ("url", text("url")?, MAX_URL)] {
            if value.len() > longest {
                return Err(JwsError::HeaderTooLong(name));
            }
        }
        // RFC 8555 §7.3.4; and no database takes U+0000 for text that it could find.
        if !kid.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
            return Err(JwsError::NotAscii("kid"));
        }
        for name in ["nonce", "jwk"] {
            if header.has(name) {
                return Err(JwsError::Forbidden(name));
            }
        }
        let algorithm = text("alg")?;
        let algorithm = MacAlgorithm::from_name(algorithm)
            .ok_or_else(|| JwsError::UnsupportedAlgorithm { algorithm: algorithm.to_owned() })?;
        let payload = String::from_utf8(payload).unwrap_or_default();
        Ok(Some(Self {
            algorithm,
            kid: kid.to_owned(),
            url: text("url")?.to_owned(),
            key: Jwk::from_json(&payload)?,
            signing_input,
            signature,
        }))
    }

    /// Whether the MAC is of this key; takes as long for a wrong one as for a right one.
    pub(crate) fn verify(&self, mac_key: &[u8]) -> bool {
        let mac = || {
            let key = PKey::hmac(mac_key)?;
            Signer::new(self.algorithm.digest(), &key)?.sign_oneshot_to_vec(&self.signing_input)
        };
        mac().is_ok_and(|mac| {
            mac.len() == self.signature.len() && openssl::memcmp::eq(&mac, &self.signature)
        })
    }

    /// The members of the JWS and nothing else, as JSON.
    pub(crate) fn to_json(&self) -> String {
        // Three strings of base64url; what the signing input holds came out of the same JWS.
        let signing_input = String::from_utf8_lossy(&self.signing_input);
        let (protected, payload) = signing_input.split_once('.').unwrap_or_default();
        let signature = URL_SAFE_NO_PAD.encode(&self.signature);
        json!({ "protected": protected, "payload": payload, "signature": signature }).to_string()
    }
}

/// `null`, `""`, `{}`, or an object whose members are all empty strings.
fn is_empty(text: &str) -> bool {
    use serde_json::Value;
    match serde_json::from_str(text) {
        Ok(Value::Null) => true,
        Ok(Value::String(text)) => text.is_empty(),
        Ok(Value::Object(members)) => members.values().all(|value| value == ""),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
