//! Randomness as an argument: serials, tokens and ids.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The source of everything that must be unguessable: OpenSSL's generator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entropy;

/// The system had no randomness to give; nothing may be issued until it has.
#[derive(Debug, thiserror::Error)]
#[error("the system's random generator failed: {0}")]
pub(crate) struct NoEntropy(#[from] openssl::error::ErrorStack);

impl Entropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws randomness")]
    pub(crate) fn bytes<const N: usize>(self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        openssl::rand::rand_bytes(&mut bytes)?;
        Ok(bytes)
    }

    /// Unlike any other, and close to those of the same millisecond (Unix time), so that they are neighbours
    /// in an index. Not for what nobody may guess: 48 of the bits are the time.
    pub(crate) fn bytes_of(self, now_ms: i64) -> Result<[u8; 16], NoEntropy> {
        let mut bytes = self.bytes::<16>()?;
        bytes[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
        Ok(bytes)
    }

    /// As [`Self::id`], of a resource of which there are many: as they are close to those of the same quarter
    /// of a second, few pages of an index change.
    pub(crate) fn id_of(self, now_ms: i64) -> Result<String, NoEntropy> {
        let mut bytes = [0; 5 + 16];
        bytes[..5].copy_from_slice(&(now_ms >> 8).to_be_bytes()[3..]);
        bytes[5..].copy_from_slice(&self.bytes::<16>()?);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The id of a resource in a URL: 128 bits, so that knowing one helps guess no other.
    pub(crate) fn id(self) -> Result<String, NoEntropy> {
        Ok(URL_SAFE_NO_PAD.encode(self.bytes::<16>()?))
    }

    /// A challenge token (RFC 8555 §8: at least 128 bits; these have 256).
    pub(crate) fn token(self) -> Result<String, NoEntropy> {
        Ok(URL_SAFE_NO_PAD.encode(self.bytes::<32>()?))
    }
}
