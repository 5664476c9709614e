//! A signature that is known to be right.

use super::{PublicKey, SignatureAlgorithm};

/// A signature that was verified, with all that it was verified by. [`PublicKey::verified`] alone makes one:
/// whoever is given it compares, and need not verify anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VerifiedSignature {
    key: PublicKey,
    algorithm: SignatureAlgorithm,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl PublicKey {
    /// The signature, if it is this key's of the message.
    pub(crate) fn verified(
        &self,
        algorithm: SignatureAlgorithm,
        message: Vec<u8>,
        signature: Vec<u8>,
    ) -> Option<VerifiedSignature> {
        self.verify(algorithm, &message, &signature).then(|| VerifiedSignature {
            key: self.clone(),
            algorithm,
            message,
            signature,
        })
    }
}

impl VerifiedSignature {
    /// Whether it is this key's, by this algorithm, of this message.
    pub(crate) fn is_by(
        &self,
        key: &PublicKey,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> bool {
        self.key == *key && self.algorithm == algorithm && self.message == message
    }

    /// As X.509 carries it: of ECDSA, its DER (RFC 5758 §3.2).
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.signature
    }
}
