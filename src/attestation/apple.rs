//! `apple`: Managed Device Attestation. Apple's own authority certifies the key, with the device's
//! identity and a nonce of which it knows the token alone.

use const_oid::ObjectIdentifier;
use openssl::sha::sha256;

use super::certificate::AttestationCertificate;
use super::object::Statement;
use super::{AttestationError, Expected};

const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.9.1");
const UDID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.9.2");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113635.100.8.11.1");

pub(super) fn check(
    _: &Statement<'_>,
    leaf: &AttestationCertificate,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, AttestationError> {
    if leaf.extension(&NONCE)? != sha256(expected.token.as_bytes()) {
        return Err(AttestationError::Challenge("nonce"));
    }
    // Values are texts without a tag. Apple assigns them, and says so nowhere.
    let identities = [leaf.optional(&SERIAL_NUMBER)?, leaf.optional(&UDID)?];
    let is_it = |identity: &&[u8]| *identity == expected.device.as_bytes();
    if expected.assigner.is_some() || !identities.iter().flatten().any(is_it) {
        return Err(AttestationError::Device);
    }
    Ok(leaf.public_key.spki().to_vec())
}
