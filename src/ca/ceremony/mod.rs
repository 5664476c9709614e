//! The key ceremony: CA certificates made here, requests for them, and those that others made.
//!
//! Each comes in two steps: what is to be signed is prepared and linted, and then the key signs it.
//! A dry run ends between the two.

mod import;
mod request;

pub(crate) use import::{ImportError, import};
pub(crate) use request::prepare_request;

use std::time::Duration;

use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;

use super::issue::list;
use crate::clock::Timestamp;
use crate::entropy::{Entropy, NoEntropy};
use crate::signer::{SignError, Signer};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};
use crate::x509::ca_certificate::CaCertificate;
use crate::x509::chain::{Chain, ChainError};
use crate::x509::issuer::{IssuerCertificate, IssuerError};
use crate::x509::lint::{AssembleError, LintError, LintedTbs, lint_ca};
use crate::x509::path::{self, PathError};
use crate::x509::profile::AuthorityInformation;
use crate::x509::request::RequestError;
use crate::x509::serial::Serial;
use crate::x509::subject::Subject;
use crate::x509::tbs::TbsError;

/// What the CA certificate is to say.
#[derive(Debug)]
pub(crate) struct NewCa<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) public_key: &'a PublicKey,
    /// `None` makes it of the key; a second certificate takes the first one's.
    pub(crate) key_identifier: Option<&'a [u8]>,
    /// The issuer's certificate and those above it; `None` makes a self-signed root.
    pub(crate) issuer: Option<&'a Chain>,
    /// How many CA certificates may stand below it.
    pub(crate) path_len: Option<u8>,
    pub(crate) lifetime: Lifetime,
}

/// How long the CA certificate is to be valid, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    For(Duration),
    /// To the last second of the issuer's certificate.
    AsIssuer,
}

/// Why there is no CA certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CeremonyError {
    #[error(transparent)]
    Tbs(#[from] TbsError),
    #[error(
        "only a CA with an issuer can be valid for as long as its issuer: write a number of days"
    )]
    NoIssuer,
    #[error("the new CA's key is its issuer's own")]
    KeyOfIssuer,
    #[error("nobody who trusts the root trusts the issuer's certificate: {0}")]
    IssuerPath(PathError),
    #[error("what would be signed does not pass the lint: {}", list(.0))]
    Lint(Vec<LintError>),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    #[error("the new certificate {0}")]
    Issuer(#[from] IssuerError),
    #[error("the new certificate does not fit those above it: {0}")]
    Chain(#[from] ChainError),
    #[error("nobody who trusts the root would trust the new certificate: {0}")]
    Path(PathError),
    #[error("the new request cannot be read: {0}")]
    Request(#[from] RequestError),
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// A CA certificate that its key may sign, once.
#[derive(Debug)]
pub(crate) struct PreparedCa {
    linted: LintedTbs,
    above: Vec<IssuerCertificate>,
    prepared_at: Timestamp,
    /// As RFC 4514 writes a name, like `issuer`.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    /// The last second of its validity.
    pub(crate) not_after: Timestamp,
}

/// Decides what the certificate says and has the lint read it. `algorithm` is what the issuer's key
/// signs with, or a root's own.
pub(crate) fn prepare_ca(
    new: &NewCa<'_>,
    algorithm: SignatureAlgorithm,
    now: Timestamp,
    entropy: Entropy,
) -> Result<PreparedCa, CeremonyError> {
    if let Some(issuer) = new.issuer {
        if issuer.issuer().public_key() == new.public_key {
            return Err(CeremonyError::KeyOfIssuer);
        }
        check_issuer(issuer, new.path_len, now)?;
    }
    let issuer = new.issuer.map(Chain::issuer);
    let nowhere = AuthorityInformation::default();
    let validity_s = match (new.lifetime, issuer) {
        (Lifetime::For(span), _) => i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        (Lifetime::AsIssuer, Some(issuer)) => issuer.not_after_s() - now.unix_s() + 1,
        (Lifetime::AsIssuer, None) => return Err(CeremonyError::NoIssuer),
    };
    let spec = CaCertificate {
        issuer,
        algorithm,
        subject: new.subject,
        path_len: new.path_len,
        serial: Serial::from_entropy(entropy.bytes()?),
        public_key: new.public_key,
        key_identifier: new.key_identifier,
        not_before_s: now.unix_s(),
        validity_s,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    let tbs = spec.tbs()?;
    Ok(PreparedCa {
        linted: lint_ca(tbs.der, &spec).map_err(CeremonyError::Lint)?,
        above: new.issuer.into_iter().flat_map(Chain::certificates).cloned().collect(),
        prepared_at: now,
        subject: new.subject.to_string(),
        issuer: issuer
            .map_or_else(|| new.subject.to_string(), |issuer| issuer.subject().to_owned()),
        not_before: Timestamp::from_unix_s(tbs.not_before_s),
        not_after: Timestamp::from_unix_s(tbs.not_after_s),
    })
}

/// A key that is nobody's, to try with it what a key is yet to be made for.
pub(crate) fn stand_in_key() -> Result<PublicKey, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let spki = EcKey::generate(&group)?.public_key_to_der()?;
    Ok(PublicKey::from_spki(&spki).expect("OpenSSL writes what it made as PublicKey reads it"))
}

/// The issuer and all above it must be in force, and must allow the path length: what the direct
/// issuer alone can say, the lint sees.
fn check_issuer(issuer: &Chain, path_len: Option<u8>, now: Timestamp) -> Result<(), CeremonyError> {
    let own = issuer.issuer();
    if now.unix_s() < own.not_before_s() {
        return Err(TbsError::IssuerNotYetValid.into());
    }
    if now.unix_s() > own.not_after_s() {
        return Err(TbsError::IssuerExpired.into());
    }
    if let Some(root) = issuer.certificates().last().filter(|top| top.is_self_signed()) {
        path::verify(issuer, root.der(), now.unix_s()).map_err(CeremonyError::IssuerPath)?;
    }
    match (path::room_below(issuer), path_len) {
        (Some(0), _) => Err(TbsError::PathLength.into()),
        (Some(room), Some(asked)) if asked >= room => {
            Err(TbsError::PathLengthOfIssuer { most: room - 1 }.into())
        }
        _ => Ok(()),
    }
}

impl PreparedCa {
    /// Has the key sign, and verifies what came of it as a client would. The new certificate is the
    /// first of the chain.
    pub(crate) async fn sign(self, signer: &dyn Signer) -> Result<Chain, CeremonyError> {
        let signature = signer.sign(self.linted.der().to_vec()).await?;
        let certificate = IssuerCertificate::from_der(&self.linted.assemble(&signature)?)?;
        let mut certificates = vec![certificate];
        certificates.extend(self.above);
        let chain = Chain::new(certificates)?;
        if let Some(root) = chain.certificates().last().filter(|top| top.is_self_signed()) {
            path::verify(&chain, root.der(), self.prepared_at.unix_s())
                .map_err(CeremonyError::Path)?;
        }
        Ok(chain)
    }
}
