//! The parameters of RSASSA-PSS (RFC 4055 §3.1).

use const_oid::db::rfc5912::ID_MGF_1;
use der::Sequence;
use der::asn1::Any;
use spki::AlgorithmIdentifierOwned;

use super::{Hash, null};

/// `RSASSA-PSS-params`. What is absent stands for SHA-1, a salt of 20 bytes and the trailer 1.
#[derive(Sequence)]
pub(in crate::x509) struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    hash: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    mask_generation: Option<AlgorithmIdentifierOwned>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    salt_length: Option<u16>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

impl PssParameters {
    /// The hash function, where MGF1 has it too and it is one of [`Hash`]. The salt may have any
    /// length: OpenSSL's program makes it as long as it can.
    pub(in crate::x509) fn hash(&self) -> Option<Hash> {
        let hash = function(self.hash.as_ref()?)?;
        let generation = self.mask_generation.as_ref().filter(|found| found.oid == ID_MGF_1)?;
        let inner = generation.parameters.as_ref()?.decode_as::<AlgorithmIdentifierOwned>().ok()?;
        (function(&inner)? == hash && self.trailer.is_none_or(|trailer| trailer == 1))
            .then_some(hash)
    }
}

/// RFC 4055 §2.1: with NULL or without parameters, both are right.
fn function(identifier: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let plain = identifier.parameters.as_ref().is_none_or(|parameters| *parameters == null());
    Hash::ALL.into_iter().find(|hash| hash.oid() == identifier.oid && plain)
}

/// MGF1 with the same hash function, and a salt as long as the digest.
pub(super) fn parameters(hash: Hash) -> Any {
    let function = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: Some(null()) };
    encoded(&function)
        .and_then(|inner| {
            encoded(&PssParameters {
                hash: Some(function),
                mask_generation: Some(AlgorithmIdentifierOwned {
                    oid: ID_MGF_1,
                    parameters: Some(inner),
                }),
                salt_length: Some(hash.length().into()),
                trailer: None,
            })
        })
        .expect("constants of a few dozen bytes encode")
}

fn encoded(value: &impl der::Encode) -> der::Result<Any> {
    der::Decode::from_der(&value.to_der()?)
}

#[cfg(test)]
mod tests {
    use super::super::SignatureAlgorithm;
    use super::*;
    use der::Encode as _;

    /// Clients compare it byte for byte (CA/Browser Forum Baseline Requirements §7.1.3.2.1).
    #[test]
    fn the_identifier_is_written_as_the_baseline_requirements_have_it() {
        for (hash, last_arc) in [(Hash::Sha256, 1), (Hash::Sha384, 2), (Hash::Sha512, 3)] {
            let function = [
                &b"\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02"[..],
                &[last_arc],
                b"\x05\x00",
            ]
            .concat();
            let expected = [
                b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\xa0\x0f",
                &function[..],
                b"\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08",
                &function,
                &[0xa2, 3, 2, 1, hash.length()],
            ]
            .concat();
            let identifier = SignatureAlgorithm::RsaPss(hash).identifier();
            assert_eq!(identifier.to_der().unwrap(), expected, "{hash}");
        }
    }
}
