//! `tpm`: TPM 2.0, whose attestation key certifies the attested key (WebAuthn §8.3).

mod structures;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_CE_EXT_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME};
use der::Decode;
use der::asn1::Any;
use openssl::sha::sha256;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use self::structures::{Certified, Public, signature};
use super::certificate::AttestationCertificate;
use super::object::Statement;
use super::{AttestationError, Expected};
use crate::x509::permanent_identifier::PermanentIdentifier;

/// tcg-kp-AIKCertificate.
const ATTESTATION_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");
/// tcg-at-tpmManufacturer, -tpmModel, -tpmVersion (TCG EK Credential Profile §3.2.9).
const HARDWARE: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.23.133.2.1"),
    ObjectIdentifier::new_unwrap("2.23.133.2.2"),
    ObjectIdentifier::new_unwrap("2.23.133.2.3"),
];

pub(super) fn check(
    statement: &Statement<'_>,
    leaf: &AttestationCertificate,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, AttestationError> {
    match statement.ver {
        Some("2.0") => {}
        Some(_) => return Err(AttestationError::Unreadable("ver: it is not \"2.0\", it")),
        None => return Err(AttestationError::Missing("ver")),
    }
    let names = check_certificate(leaf)?;
    let cert_info = statement.cert_info.ok_or(AttestationError::Missing("certInfo"))?;
    check_signature(statement, leaf, cert_info)?;
    let certified = Certified::read(cert_info).ok_or(AttestationError::Unreadable("certInfo"))?;
    if certified.extra_data != sha256(expected.key_authorization.as_bytes()) {
        return Err(AttestationError::Challenge("extraData"));
    }
    let pub_area = statement.pub_area.ok_or(AttestationError::Missing("pubArea"))?;
    let public = Public::read(pub_area).ok_or(AttestationError::Unreadable("pubArea"))?;
    if public.name(pub_area).as_deref() != Some(certified.name) {
        return Err(AttestationError::Key("is not the one that certInfo certifies"));
    }
    public.check_attributes()?;
    let ordered = |found: &PermanentIdentifier| {
        found.value == expected.device && found.assigner.as_deref() == expected.assigner
    };
    if !names.iter().any(ordered) {
        return Err(AttestationError::Device);
    }
    public.spki().ok_or(AttestationError::Key("is of no type that is certified here"))
}

/// WebAuthn §8.3.1; returns by which identities the certificate knows the device.
fn check_certificate(
    leaf: &AttestationCertificate,
) -> Result<Vec<PermanentIdentifier>, AttestationError> {
    let fault = |why| Err(AttestationError::Certificate(why));
    if leaf.has_subject() {
        return fault("is not that of a TPM's attestation key: it has a subject");
    }
    let usages = leaf.extension(&ID_CE_EXT_KEY_USAGE)?;
    if !ExtendedKeyUsage::from_der(usages).is_ok_and(|usages| usages.0.contains(&ATTESTATION_KEY)) {
        return fault("is not that of a TPM's attestation key: its extKeyUsage does not say so");
    }
    let names = SubjectAltName::from_der(leaf.extension(&ID_CE_SUBJECT_ALT_NAME)?)
        .map_err(|_| AttestationError::Unreadable("subjectAltName in x5c"))?;
    let describes = |attribute: &ObjectIdentifier| {
        names.0.iter().any(|name| match name {
            GeneralName::DirectoryName(name) => name.iter().any(|found| found.oid == *attribute),
            _ => false,
        })
    };
    if !HARDWARE.iter().all(describes) {
        return fault("does not say which TPM it is of: manufacturer, model and version");
    }
    let mut identities = Vec::new();
    for name in &names.0 {
        if let GeneralName::OtherName(other) = name
            && other.type_id == PermanentIdentifier::OID
        {
            let value: &Any = &other.value;
            identities.extend(PermanentIdentifier::read(value));
        }
    }
    Ok(identities)
}

fn check_signature(
    statement: &Statement<'_>,
    leaf: &AttestationCertificate,
    cert_info: &[u8],
) -> Result<(), AttestationError> {
    let bytes = statement.sig.ok_or(AttestationError::Missing("sig"))?;
    let misfit = AttestationError::Certificate("has a key that does not fit alg: ES256 or RS256");
    let algorithm = statement.algorithm(leaf.public_key.key_type(), misfit)?;
    let signature = signature(bytes, algorithm).ok_or(AttestationError::Unreadable("sig"))?;
    let verified = leaf.public_key.verify(algorithm, cert_info, &signature);
    verified.then_some(()).ok_or(AttestationError::Signature)
}
