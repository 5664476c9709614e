//! What a certificate and a CSR have in common: something, and a signature over its bytes.

use der::asn1::{Any, BitString};
use der::{Encode, Sequence};
use spki::AlgorithmIdentifierOwned;

use super::algorithm::{PublicKey, SignatureAlgorithm};

/// The outer SEQUENCE of a `Certificate` (RFC 5280 §4.1) and of a `CertificationRequest` (RFC 2986
/// §4.2), with the bytes inside as they were signed.
#[derive(Sequence)]
pub(super) struct Signed {
    pub(super) content: Any,
    pub(super) algorithm: AlgorithmIdentifierOwned,
    pub(super) signature: BitString,
}

impl Signed {
    /// Whether this key signed it with this algorithm.
    pub(super) fn is_signed_by(&self, key: &PublicKey, algorithm: SignatureAlgorithm) -> bool {
        let (Ok(content), Some(signature)) = (self.content.to_der(), self.signature.as_bytes())
        else {
            return false;
        };
        self.algorithm == algorithm.identifier() && key.verify(algorithm, &content, signature)
    }
}
