//! What binds an account key to an external account (RFC 8555 §7.3.4), each part of which a test may
//! set.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::key::base64url;

/// What `kipuka eab create --json` prints.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub kid: String,
    /// In base64url.
    pub hmac_key: String,
    pub alg: String,
}

/// The bytes of a MAC key.
pub fn decode(hmac_key: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(hmac_key).unwrap()
}

impl Credentials {
    /// # Panics
    /// Unless it is what the command prints.
    pub fn from_json(text: &str) -> Self {
        let object: Value = serde_json::from_str(text).unwrap();
        let member = |name: &str| object[name].as_str().unwrap().to_owned();
        Self { kid: member("kid"), hmac_key: member("hmac_key"), alg: member("alg") }
    }

    /// The protected header of a right binding.
    pub fn header(&self, url: &str) -> Value {
        json!({ "alg": self.alg, "kid": self.kid, "url": url })
    }

    /// A right binding of this account key.
    pub fn bind(&self, url: &str, jwk: &Value) -> Value {
        self.sign(&self.header(url), jwk.to_string().as_bytes())
    }

    /// A JWS of any header and payload, under the MAC.
    pub fn sign(&self, header: &Value, payload: &[u8]) -> Value {
        let digest = match self.alg.as_str() {
            "HS384" => MessageDigest::sha384(),
            "HS512" => MessageDigest::sha512(),
            _ => MessageDigest::sha256(),
        };
        let key = PKey::hmac(&decode(&self.hmac_key)).unwrap();
        let (protected, payload) = (base64url(header.to_string()), base64url(payload));
        let mut signer = Signer::new(digest, &key).unwrap();
        let mac = signer.sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes()).unwrap();
        json!({ "protected": protected, "payload": payload, "signature": base64url(mac) })
    }
}
