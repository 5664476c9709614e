//! CA certificates made here: a self-signed root, or a CA below one.

use std::time::Duration;

use super::issue::list;
use crate::clock::Timestamp;
use crate::entropy::{Entropy, NoEntropy};
use crate::signer::{SignError, Signer};
use crate::x509::algorithm::PublicKey;
use crate::x509::ca_certificate::CaCertificate;
use crate::x509::issuer::{IssuerCertificate, IssuerError};
use crate::x509::lint::{AssembleError, LintError, lint_ca};
use crate::x509::profile::AuthorityInformation;
use crate::x509::serial::Serial;
use crate::x509::tbs::TbsError;

/// What the CA certificate is to say.
#[derive(Debug)]
pub(crate) struct NewCa<'a> {
    /// As RFC 4514 writes a name.
    pub(crate) subject: &'a str,
    pub(crate) public_key: &'a PublicKey,
    /// `None` makes a self-signed root.
    pub(crate) issuer: Option<&'a IssuerCertificate>,
    /// How many CA certificates may stand below it.
    pub(crate) path_len: Option<u8>,
    pub(crate) validity: Duration,
}

/// Why there is no CA certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CeremonyError {
    #[error(transparent)]
    Tbs(#[from] TbsError),
    #[error("the certificate does not pass the lint: {}", list(.0))]
    Lint(Vec<LintError>),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// Makes a CA certificate, signed by the issuer's key or, of a root, its own.
pub(crate) async fn create_ca(
    new: NewCa<'_>,
    signer: &dyn Signer,
    now: Timestamp,
    entropy: Entropy,
) -> Result<IssuerCertificate, CeremonyError> {
    let spec = CaCertificate {
        issuer: new.issuer,
        algorithm: signer.algorithm(),
        subject: new.subject,
        path_len: new.path_len,
        serial: Serial::from_entropy(entropy.bytes()?),
        public_key: new.public_key,
        not_before_s: now.unix_s(),
        validity_s: i64::try_from(new.validity.as_secs()).unwrap_or(i64::MAX),
        crl_distribution_point: None,
        authority_information: &AuthorityInformation::default(),
    };
    let linted = lint_ca(spec.tbs()?.der, &spec).map_err(CeremonyError::Lint)?;
    let signature = signer.sign(linted.der().to_vec()).await?;
    Ok(IssuerCertificate::from_der(&linted.assemble(&signature)?)?)
}
