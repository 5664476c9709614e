//! Anti-replay nonces (RFC 8555 §6.5), made without remembering them.
//!
//! A nonce is its expiry and an id of its own, under a MAC that also covers the CA's id. So a nonce
//! of another CA, a forged one and an old one are refused without a look at the database, and only
//! a nonce that was spent has to be remembered, and only until it would have expired.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::clock::Timestamp;

/// Long enough for a person at certbot's manual prompt; short enough to keep the spent few.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
const ID: usize = 16;
const MAC: usize = 16;
const BODY: usize = 8 + ID;

/// Makes and checks nonces; every instance of a CA has the same key.
///
/// Not by OpenSSL, whose HMAC looks up its algorithms each time, for ten times as long as it then takes.
pub(crate) struct NonceKey(Hmac<Sha256>);

/// A nonce that this CA made and that has not expired; it may have been spent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nonce {
    /// What is remembered of a spent nonce.
    pub(crate) id: Vec<u8>,
    pub(crate) expires_at: Timestamp,
}

impl NonceKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        // RFC 2104 §2: a shorter key is followed by zeros, up to the block of the hash function.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&key);
        Self(Hmac::new(&block.into()))
    }

    /// Makes the nonce with this id, which no other has, for `ca`.
    pub(crate) fn make(&self, ca: &str, now: Timestamp, id: [u8; ID]) -> String {
        let mut bytes = Vec::with_capacity(BODY + MAC);
        bytes.extend(now.plus(LIFETIME).unix_ms().to_be_bytes());
        bytes.extend(id);
        let mac = self.mac(ca, &bytes).finalize().into_bytes();
        bytes.extend(&mac[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a nonce that came back; `None` where it is not one of `ca`'s or has expired.
    pub(crate) fn open(&self, ca: &str, now: Timestamp, nonce: &str) -> Option<Nonce> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY)?;
        if mac.len() != MAC || self.mac(ca, body).verify_truncated_left(mac).is_err() {
            return None;
        }
        let (expires_at, id) = body.split_first_chunk::<8>()?;
        let expires_at = Timestamp::from_unix_ms(i64::from_be_bytes(*expires_at));
        (now < expires_at).then(|| Nonce { id: id.to_vec(), expires_at })
    }

    fn mac(&self, ca: &str, body: &[u8]) -> Hmac<Sha256> {
        // The body's length is fixed, so the id after it cannot be taken for a part of it.
        self.0.clone().chain_update(body).chain_update(ca.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);

    #[test]
    fn a_nonce_comes_back_only_to_its_ca_and_only_in_time() {
        let key = NonceKey::new([7; 32]);
        let nonce = key.make("ca", NOW, [1; ID]);
        assert_eq!(key.open("ca", NOW, &nonce).unwrap().id, [1; ID]);
        assert_eq!(key.open("other", NOW, &nonce), None);
        assert_eq!(key.open("ca", NOW.plus(LIFETIME), &nonce), None);
        assert_eq!(NonceKey::new([8; 32]).open("ca", NOW, &nonce), None);
    }

    #[test]
    fn a_nonce_that_was_changed_anywhere_is_refused() {
        let key = NonceKey::new([7; 32]);
        let nonce = key.make("ca", NOW, [1; ID]);
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
