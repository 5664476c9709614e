//! `android-key`: a key in Android's keystore, certified with a description of itself.

use const_oid::ObjectIdentifier;
use der::asn1::{Any, OctetString};
use der::{Decode, Tag, TagNumber, Tagged};
use openssl::sha::sha256;

use super::certificate::AttestationCertificate;
use super::object::Statement;
use super::{AttestationError, Expected};

/// The key description (Android Keystore, "attestation extension data schema").
const DESCRIPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.1.17");

/// Tags of an `AuthorizationList`.
const PURPOSE: u32 = 1;
const ALL_APPLICATIONS: u32 = 600;
const ORIGIN: u32 = 702;
const SERIAL: u32 = 713;

const PURPOSE_SIGN: u8 = 2;
const ORIGIN_GENERATED: u8 = 0;

pub(super) fn check(
    statement: &Statement<'_>,
    leaf: &AttestationCertificate,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, AttestationError> {
    let description = Description::read(leaf.extension(&DESCRIPTION)?)
        .ok_or(AttestationError::Certificate("describes its key in no way that is known"))?;
    if description.challenge != sha256(expected.key_authorization.as_bytes()) {
        return Err(AttestationError::Challenge("attestationChallenge"));
    }
    check_signature(statement, leaf, expected)?;
    if !description.in_hardware {
        return Err(AttestationError::Key("is not kept by hardware"));
    }
    let software = &description.software;
    let hardware = &description.hardware;
    if software.has(ALL_APPLICATIONS) || hardware.has(ALL_APPLICATIONS) {
        return Err(AttestationError::Key("is open to every application"));
    }
    if hardware.integer(ORIGIN) != Some(ORIGIN_GENERATED) {
        return Err(AttestationError::Key("was not made where it is kept"));
    }
    if !hardware.integers(PURPOSE).contains(&PURPOSE_SIGN) {
        return Err(AttestationError::Key("is not for signatures"));
    }
    let serial = hardware.octets(SERIAL);
    if expected.assigner.is_some() || serial.as_deref() != Some(expected.device.as_bytes()) {
        return Err(AttestationError::Device);
    }
    Ok(leaf.public_key.spki().to_vec())
}

/// By the attested key itself (WebAuthn §8.4), over the key authorization.
fn check_signature(
    statement: &Statement<'_>,
    leaf: &AttestationCertificate,
    expected: &Expected<'_>,
) -> Result<(), AttestationError> {
    let signature = statement.sig.ok_or(AttestationError::Missing("sig"))?;
    let misfit = AttestationError::Key("and alg do not fit ES256 or RS256");
    let algorithm = statement.algorithm(leaf.public_key.key_type(), misfit)?;
    let message = expected.key_authorization.as_bytes();
    let verified = leaf.public_key.verify(algorithm, message, signature);
    verified.then_some(()).ok_or(AttestationError::Signature)
}

/// A `KeyDescription`, as far as it matters.
struct Description {
    in_hardware: bool,
    challenge: Vec<u8>,
    software: AuthorizationList,
    hardware: AuthorizationList,
}

/// The members of an `AuthorizationList`, each `[number] EXPLICIT`.
struct AuthorizationList(Vec<Any>);

impl Description {
    fn read(der: &[u8]) -> Option<Self> {
        let fields = Vec::<Any>::from_der(der).ok()?;
        let [_, level, _, keymaster_level, challenge, _, software, hardware, ..] = &fields[..]
        else {
            return None;
        };
        // 0 is software, 1 a trusted environment, 2 a chip of its own.
        let is_hardware =
            |level: &Any| level.tag() == Tag::Enumerated && matches!(level.value(), [1 | 2]);
        Some(Self {
            in_hardware: is_hardware(level) && is_hardware(keymaster_level),
            challenge: challenge.decode_as::<OctetString>().ok()?.into_bytes().to_vec(),
            software: AuthorizationList(software.decode_as().ok()?),
            hardware: AuthorizationList(hardware.decode_as().ok()?),
        })
    }
}

impl AuthorizationList {
    /// What stands under a number, once.
    fn get(&self, number: u32) -> Option<Any> {
        let tag = Tag::ContextSpecific { number: TagNumber(number), constructed: true };
        let mut found = self.0.iter().filter(|member| member.tag() == tag);
        let only = found.next().filter(|_| found.next().is_none())?;
        Any::from_der(only.value()).ok()
    }

    fn has(&self, number: u32) -> bool {
        let is_it = |member: &Any| matches!(member.tag(), Tag::ContextSpecific { number: TagNumber(found), .. } if found == number);
        self.0.iter().any(is_it)
    }

    /// A small INTEGER.
    fn integer(&self, number: u32) -> Option<u8> {
        small(&self.get(number)?)
    }

    /// A SET OF small INTEGERs.
    fn integers(&self, number: u32) -> Vec<u8> {
        let Some(set) = self.get(number).filter(|set| set.tag() == Tag::Set) else {
            return Vec::new();
        };
        let mut reader = set.value();
        let mut found = Vec::new();
        // Whatever order they stand in.
        while let Ok((member, rest)) = Any::from_der_partial(reader) {
            found.extend(small(&member));
            reader = rest;
        }
        found
    }

    fn octets(&self, number: u32) -> Option<Vec<u8>> {
        Some(self.get(number)?.decode_as::<OctetString>().ok()?.into_bytes().to_vec())
    }
}

fn small(integer: &Any) -> Option<u8> {
    match integer.value() {
        [value] if integer.tag() == Tag::Integer && *value < 0x80 => Some(*value),
        _ => None,
    }
}
