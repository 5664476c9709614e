//! A device's statement is looked at (draft-ietf-acme-device-attest §5).

use data_encoding::HEXLOWER;
use openssl::sha::sha256;

use crate::acme::key_authorization::key_authorization;
use crate::acme::problem::{Problem, ProblemType};
use crate::attestation::{self, Expected};
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::store::ToValidate;

/// A statement that counts.
pub(super) struct Attestation {
    /// In words.
    pub(super) evidence: String,
    /// As [`key_of`] writes it.
    pub(super) key: String,
}

/// Looks at what the client sent with the challenge; no network has a part in it, so there is nothing to
/// try again.
pub(super) fn look(
    authority: &Authority,
    work: &ToValidate,
    now: Timestamp,
) -> Result<Attestation, Problem> {
    let bad = |detail: String| Problem::new(ProblemType::BadAttestationStatement, detail);
    let object = work.response.as_deref().ok_or_else(|| bad("no statement was sent".to_owned()))?;
    let Some((device, assigner)) = work.authorization.identifier.as_device() else {
        return Err(bad("only devices are attested".to_owned()));
    };
    let expected = Expected {
        token: &work.challenge.token,
        key_authorization: &key_authorization(&work.challenge.token, &work.account_thumbprint),
        device,
        assigner,
        now_s: now.unix_s(),
    };
    let attested = attestation::verify(object, &authority.proof.attestation_roots, &expected)
        .map_err(|error| bad(error.to_string()))?;
    let key = key_of(&attested.spki);
    let evidence = format!("{} statement for the key with SHA-256 {key}", attested.format);
    Ok(Attestation { evidence, key })
}

/// What is kept of a key (SubjectPublicKeyInfo, DER) that a device attested.
pub(super) fn key_of(spki: &[u8]) -> String {
    HEXLOWER.encode(&sha256(spki))
}
