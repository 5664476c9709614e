//! Keys that sign: a PEM file for development, a PKCS#11 token for everything else.
//!
//! [`Signer`] is all that the rest of the program knows of a CA's private key.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::x509::algorithm::{KeyType, PublicKey, SignatureAlgorithm, VerifiedSignature};

pub(crate) mod failover;
pub(crate) mod key_file;
pub(crate) mod pkcs11;
#[cfg(test)]
mod tests;

/// A future behind a pointer, so that [`Signer`] can be used as `dyn`.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One private key that answers with signatures.
pub(crate) trait Signer: Send + Sync {
    /// The public half, as it stands in the CA certificate.
    fn public_key(&self) -> &PublicKey;

    /// What [`Self::sign`] signs with; it fits the key.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// Signs `message` (not its digest) and returns the signature, which has been verified with
    /// [`Self::public_key`].
    ///
    /// # Errors
    /// Each [`SignError`] says what the caller can do.
    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>>;

    /// Whether a signature can be expected. It never waits for the key.
    fn health(&self) -> Health;

    /// How many signatures are waited for.
    fn load(&self) -> usize {
        0
    }

    /// Which key this is, for logs and `kipuka check`; no secret in it.
    fn describe(&self) -> String;

    /// Each place where the key is, and how it is.
    fn places(&self) -> Vec<(String, Health)> {
        vec![(self.describe(), self.health())]
    }
}

/// Why there is no signature, by what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignError {
    /// Try again later: the key does not answer, or too many callers wait for it.
    #[error("the signing key is unavailable: {detail}")]
    Unavailable { detail: String },
    /// Try again later; the call may still be running inside the PKCS#11 library.
    #[error("the token gave no signature within {} ms", deadline.as_millis())]
    Deadline { deadline: Duration },
    /// Do not try again: an operator must correct the PIN, or the token locks itself.
    #[error(
        "the token refused the PIN; kipuka does not try it again, because tokens lock after a few \
         wrong PINs: correct the PIN, then reload kipuka (SIGHUP), or restart it where the PIN comes \
         from pin_env, which a running process does not see change"
    )]
    PinRefused,
    /// Do not try again with this key: it is not the one in the certificate, or its token is broken.
    #[error("the signature does not verify with the public key {key_identifier}; it was discarded")]
    WrongSignature { key_identifier: String },
}

/// Whether a key can be expected to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    /// With the reason, for people.
    Down(String),
}

/// A key that kipuka does not sign with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnfitKey {
    #[error("an {0} key is too short to sign certificates: RSA keys have 2048 bits or more")]
    TooShort(KeyType),
    #[error("an {key_type} key cannot sign {algorithm}")]
    Algorithm { key_type: KeyType, algorithm: SignatureAlgorithm },
}

/// What a key of this kind signs with: `asked` where it fits, else the key type's default.
fn algorithm_for(
    key: &PublicKey,
    asked: Option<SignatureAlgorithm>,
) -> Result<SignatureAlgorithm, UnfitKey> {
    let key_type = key.key_type();
    if matches!(key_type, KeyType::Rsa(bits) if bits < 2048) {
        return Err(UnfitKey::TooShort(key_type));
    }
    let algorithm = asked.unwrap_or_else(|| SignatureAlgorithm::default_for(key_type));
    match algorithm.fits(key_type) {
        true => Ok(algorithm),
        false => Err(UnfitKey::Algorithm { key_type, algorithm }),
    }
}

/// Lets a signature out only if it verifies. Every implementation of [`Signer`] ends with this: a
/// token may answer with another key after a reconnect, or with garbage.
fn verified(
    key: &PublicKey,
    algorithm: SignatureAlgorithm,
    message: Vec<u8>,
    signature: Vec<u8>,
) -> Result<VerifiedSignature, SignError> {
    key.verified(algorithm, message, signature)
        .ok_or_else(|| SignError::WrongSignature { key_identifier: key.key_identifier_hex() })
}
