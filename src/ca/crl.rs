//! A CA as the issuer of CRLs (RFC 5280 §5).

use tracing::Instrument as _;

use super::{Authority, SignFailure};
use crate::clock::Timestamp;
use crate::telemetry::traces;
use crate::x509::description::sha256_hex;
use crate::x509::lint::{LintedRevocationList, RevocationListError, lint_revocation_list};
use crate::x509::revocation_list::{Entry, RevocationList};

/// The name that the store knows a CRL issuer by, made of the DER of the issuer's name. CAs of one
/// name are one issuer: clients tell them apart by nothing else.
pub(crate) fn crl_issuer(name_der: &[u8]) -> String {
    sha256_hex(name_der)
}

/// When a CRL is for, and which of how many it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrlTerms {
    pub(crate) number: i64,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
}

/// Why there is no CRL that may be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrlError {
    #[error("the CRL cannot be written: {0}")]
    Der(#[from] der::Error),
    #[error("the CRL does not pass the lint: {}", list(.0))]
    Lint(Vec<RevocationListError>),
    #[error("a CRL cannot have the number {0}")]
    Number(i64),
}

fn list(errors: &[RevocationListError]) -> String {
    errors.iter().map(RevocationListError::to_string).collect::<Vec<_>>().join("; ")
}

impl Authority {
    /// See [`crl_issuer`].
    pub(crate) fn crl_issuer(&self) -> String {
        crl_issuer(self.chain.issuer().subject_der())
    }

    /// What the store knows the CA's key by.
    pub(crate) fn signing_key(&self) -> String {
        sha256_hex(self.chain.issuer().public_key().spki())
    }

    /// A complete CRL that may be signed once it is stored.
    pub(crate) fn prepare_crl(
        &self,
        terms: CrlTerms,
        entries: &[Entry],
    ) -> Result<LintedRevocationList, CrlError> {
        let crl = RevocationList {
            issuer: self.chain.issuer(),
            algorithm: self.signer.algorithm(),
            number: u64::try_from(terms.number).map_err(|_| CrlError::Number(terms.number))?,
            this_update_s: terms.this_update.unix_s(),
            next_update_s: terms.next_update.unix_s(),
            entries,
        };
        lint_revocation_list(crl.tbs()?, &crl).map_err(CrlError::Lint)
    }

    /// Has the token sign, and returns the CRL's DER.
    pub(crate) async fn sign_crl(
        &self,
        linted: LintedRevocationList,
    ) -> Result<Vec<u8>, SignFailure> {
        let span = tracing::trace_span!(target: traces::ONLY, "sign", ca.id = self.id);
        let signature = self.signer.sign(linted.der().to_vec()).instrument(span).await?;
        linted.assemble(&signature).map_err(|error| SignFailure::Wrong(error.to_string()))
    }
}
