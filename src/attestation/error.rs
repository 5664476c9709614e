//! Why a statement does not count, as a sentence for the client.

/// What is wrong with an attestation object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttestationError {
    #[error("the attestation object is longer than {} bytes", super::MAX_LENGTH)]
    TooLong,
    #[error("the attestation object is not the CBOR of a WebAuthn attestation object: {0}")]
    Cbor(&'static str),
    #[error(
        "statements of format {0:?} are not taken here; these are: android-key, apple, step, tpm"
    )]
    Format(String),
    #[error("the attestation statement lacks its {0}")]
    Missing(&'static str),
    #[error("the {0} of the attestation statement cannot be read")]
    Unreadable(&'static str),
    #[error("the certificates in x5c lead to no root that this CA trusts devices by: {0}")]
    Chain(String),
    #[error("the attestation certificate {0}")]
    Certificate(&'static str),
    #[error("the attestation was not made for this challenge: its {0} is another")]
    Challenge(&'static str),
    #[error("the signature of the attestation statement does not verify")]
    Signature,
    #[error("the attestation names no device by the identity that was ordered")]
    Device,
    #[error("the attested key {0}")]
    Key(&'static str),
}
