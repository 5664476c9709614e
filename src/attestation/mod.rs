//! What a device says of a key, and who vouches for the device (draft-ietf-acme-device-attest): bytes in,
//! the key out.
//!
//! A statement counts where its certificates lead to a configured root, it was made for this very
//! challenge, it names the device that was ordered, and it tells which key it is about.

mod android;
mod apple;
mod certificate;
mod error;
mod object;
mod roots;
mod step;
#[cfg(test)]
mod tests;
mod tpm;

pub(crate) use error::AttestationError;
pub(crate) use object::MAX_LENGTH;
pub(crate) use roots::Roots;

use certificate::AttestationCertificate;
use object::Object;

use crate::x509::algorithm::PublicKey;

/// What a statement must be about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) token: &'a str,
    /// RFC 8555 §8.1.
    pub(crate) key_authorization: &'a str,
    /// The identity of the device (RFC 4043, identifierValue), octet for octet.
    pub(crate) device: &'a str,
    /// Who gave it that identity, as a dotted OID.
    pub(crate) assigner: Option<&'a str>,
    pub(crate) now_s: i64,
}

/// What a statement that counts says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attested {
    /// As the registry of WebAuthn calls it.
    pub(crate) format: &'static str,
    /// The DER of the attested key's SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
}

/// Verifies a WebAuthn attestation object, of which the draft leaves out `authData`.
pub(crate) fn verify(
    object: &[u8],
    roots: &Roots,
    expected: &Expected<'_>,
) -> Result<Attested, AttestationError> {
    let object = Object::read(object)?;
    let (format, check): (_, Check) = match object.format {
        "android-key" => ("android-key", android::check),
        "apple" => ("apple", apple::check),
        "step" => ("step", step::check),
        "tpm" => ("tpm", tpm::check),
        other => return Err(AttestationError::Format(other.to_owned())),
    };
    // Nothing in a certificate is worth reading before somebody vouches for it.
    let leaf = roots.verify(&object.statement.x5c, expected.now_s)?;
    let leaf = AttestationCertificate::read(&leaf)?;
    let spki = check(&object.statement, &leaf, expected)?;
    // In the one form in which a CSR's key is compared with it.
    let key =
        PublicKey::from_spki(&spki).map_err(|_| AttestationError::Key("is not supported here"))?;
    Ok(Attested { format, spki: key.spki().to_vec() })
}

/// The rest of what a format asks for; returns the attested key.
type Check = fn(
    &object::Statement<'_>,
    &AttestationCertificate,
    &Expected<'_>,
) -> Result<Vec<u8>, AttestationError>;
