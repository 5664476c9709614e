//! What a certificate and a CSR have in common: something, and a signature over its bytes.

use der::asn1::{Any, BitString};
use der::{Decode as _, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;

use super::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};

/// The key signed something else, or another key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssembleError {
    #[error("the signature is not one by the CA's key over this certificate")]
    Signature,
    #[error("the certificate cannot be written: {0}")]
    Der(#[from] der::Error),
}

/// The outer SEQUENCE of a `Certificate` (RFC 5280 §4.1) and of a `CertificationRequest` (RFC 2986
/// §4.2), with the bytes inside as they were signed.
#[derive(Sequence)]
pub(super) struct Signed {
    pub(super) content: Any,
    pub(super) algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

impl Signed {
    /// The DER of the whole, if the signature is of these bytes by this key with this algorithm.
    pub(super) fn assemble(
        content: &[u8],
        key: &PublicKey,
        algorithm: SignatureAlgorithm,
        signature: &VerifiedSignature,
    ) -> Result<Vec<u8>, AssembleError> {
        if !signature.is_by(key, algorithm, content) {
            return Err(AssembleError::Signature);
        }
        let signed = Self {
            content: Any::from_der(content)?,
            algorithm: algorithm.identifier(),
            signature: BitString::from_bytes(signature.as_bytes())?,
        };
        Ok(signed.to_der()?)
    }

    /// Whether this key signed it with this algorithm.
    pub(super) fn is_signed_by(&self, key: &PublicKey, algorithm: SignatureAlgorithm) -> bool {
        let (Ok(content), Some(signature)) = (self.content.to_der(), self.signature.as_bytes())
        else {
            return false;
        };
        self.algorithm == algorithm.identifier() && key.verify(algorithm, &content, signature)
    }
}
