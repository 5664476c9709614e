//! Anti-replay nonces (RFC 8555 §6.5), made without remembering them.
//!
//! A nonce is its expiry and 128 random bits, under a MAC that also covers the CA's id. So a nonce
//! of another CA, a forged one and an old one are refused without a look at the database, and only
//! a nonce that was spent has to be remembered, and only until it would have expired.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use crate::clock::Timestamp;

/// Long enough for a person at certbot's manual prompt; short enough to keep the spent few.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
const RANDOM: usize = 16;
const MAC: usize = 16;
const BODY: usize = 8 + RANDOM;

/// Makes and checks nonces; every instance of a CA has the same key.
pub(crate) struct NonceKey(PKey<Private>);

/// A nonce that this CA made and that has not expired; it may have been spent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nonce {
    /// The random part: what is remembered of a spent nonce.
    pub(crate) id: Vec<u8>,
    pub(crate) expires_at: Timestamp,
}

impl NonceKey {
    pub(crate) fn new(key: &[u8]) -> Result<Self, ErrorStack> {
        PKey::hmac(key).map(Self)
    }

    /// Makes the nonce of `random` for `ca`.
    pub(crate) fn make(
        &self,
        ca: &str,
        now: Timestamp,
        random: [u8; RANDOM],
    ) -> Result<String, ErrorStack> {
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.extend(now.plus(LIFETIME).unix_ms().to_be_bytes());
        bytes.extend(random);
        let mac = self.mac(ca, &bytes)?;
        bytes.extend(mac);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a nonce that came back; `None` where it is not one of `ca`'s or has expired.
    pub(crate) fn open(&self, ca: &str, now: Timestamp, nonce: &str) -> Option<Nonce> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        let expected = self.mac(ca, body).ok()?;
        if mac.len() != MAC || !openssl::memcmp::eq(mac, &expected) {
            return None;
        }
        let (expires_at, id) = body.split_first_chunk::<8>()?;
        let expires_at = Timestamp::from_unix_ms(i64::from_be_bytes(*expires_at));
        (now < expires_at).then(|| Nonce { id: id.to_vec(), expires_at })
    }

    fn mac(&self, ca: &str, body: &[u8]) -> Result<[u8; MAC], ErrorStack> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.0)?;
        // The body's length is fixed, so the id after it cannot be taken for a part of it.
        signer.update(body)?;
        signer.update(ca.as_bytes())?;
        let mut mac = [0; 32];
        signer.sign(&mut mac)?;
        let mut short = [0; MAC];
        short.copy_from_slice(&mac[..MAC]);
        Ok(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);

    #[test]
    fn a_nonce_comes_back_only_to_its_ca_and_only_in_time() {
        let key = NonceKey::new(&[7; 32]).unwrap();
        let nonce = key.make("ca", NOW, [1; RANDOM]).unwrap();
        assert_eq!(key.open("ca", NOW, &nonce).unwrap().id, [1; RANDOM]);
        assert_eq!(key.open("other", NOW, &nonce), None);
        assert_eq!(key.open("ca", NOW.plus(LIFETIME), &nonce), None);
        assert_eq!(NonceKey::new(&[8; 32]).unwrap().open("ca", NOW, &nonce), None);
    }

    #[test]
    fn a_nonce_that_was_changed_anywhere_is_refused() {
        let key = NonceKey::new(&[7; 32]).unwrap();
        let nonce = key.make("ca", NOW, [1; RANDOM]).unwrap();
        for index in 0..nonce.len() {
            let mut changed = nonce.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(key.open("ca", NOW, &changed), None, "{index}");
        }
        for bad in ["", "A", &nonce[..nonce.len() - 1], &format!("{nonce}AAAA")] {
            assert_eq!(key.open("ca", NOW, bad), None, "{bad}");
        }
    }
}
