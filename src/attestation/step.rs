//! `step`: what the `step` client makes of a YubiKey, whose certificate is for the attested key
//! itself, and which signs the key authorization with it.

use const_oid::ObjectIdentifier;
use der::asn1::{Any, Int};
use der::{Decode, Tag, Tagged};

use super::certificate::AttestationCertificate;
use super::object::{Statement, only_byte_string};
use super::{AttestationError, Expected};
use crate::x509::algorithm::{Hash, KeyType, SignatureAlgorithm};

/// An INTEGER: the serial number of a YubiKey.
const YUBIKEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
/// A SEQUENCE of one text: Smallstep's name of a managed device.
const MANAGED_DEVICE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.37476.9000.64.4");

pub(super) fn check(
    statement: &Statement<'_>,
    leaf: &AttestationCertificate,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, AttestationError> {
    let signature = statement.sig.ok_or(AttestationError::Missing("sig"))?;
    // The client wraps it once more.
    let signature = only_byte_string(signature).unwrap_or(signature);
    let algorithm = match leaf.public_key.key_type() {
        KeyType::Rsa(_) => SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => {
            SignatureAlgorithm::Ecdsa(Hash::Sha256)
        }
        KeyType::Ed25519 => SignatureAlgorithm::Ed25519,
        KeyType::MlDsa(_) => return Err(AttestationError::Key("is of no type that tokens attest")),
    };
    let message = expected.key_authorization.as_bytes();
    if !leaf.public_key.verify(algorithm, message, signature) {
        return Err(AttestationError::Signature);
    }
    if expected.assigner.is_some() || device(leaf)?.as_deref() != Some(expected.device) {
        return Err(AttestationError::Device);
    }
    Ok(leaf.public_key.spki().to_vec())
}

fn device(leaf: &AttestationCertificate) -> Result<Option<String>, AttestationError> {
    let unreadable = |_| AttestationError::Certificate("names its device in no way that is known");
    if let Some(value) = leaf.optional(&YUBIKEY)? {
        let serial = Int::from_der(value).map_err(unreadable)?;
        let octets = serial.as_bytes();
        // No serial number has more than four octets, and none is negative.
        let positive = octets.len() <= 8 && octets.first().is_some_and(|first| first & 0x80 == 0);
        let number = octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        return Ok(positive.then(|| number.to_string()));
    }
    let Some(value) = leaf.optional(&MANAGED_DEVICE)? else { return Ok(None) };
    let fields = Vec::<Any>::from_der(value).map_err(unreadable)?;
    let [field] = fields.as_slice() else { return Ok(None) };
    let is_text = matches!(field.tag(), Tag::Utf8String | Tag::PrintableString | Tag::Ia5String);
    Ok(String::from_utf8(field.value().to_vec()).ok().filter(|_| is_text))
}
