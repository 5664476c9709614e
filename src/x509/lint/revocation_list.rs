//! The lint of a CRL.

use std::collections::BTreeSet;

use der::{Decode, Encode};
use x509_cert::Version;
use x509_cert::crl::{RevokedCert, TbsCertList};

use super::checklist::Checklist;
use super::{AssembleError, LintError};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};
use crate::x509::issuer::unix_s;
use crate::x509::revocation_list::{Entry, Reason, RevocationList};
use crate::x509::signed::Signed;

/// A `TBSCertList` that passed the lint, with the only key that may sign it. It cannot be copied: one
/// value, one signature.
#[derive(Debug)]
pub(crate) struct LintedRevocationList {
    der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signing_key: PublicKey,
}

/// What is wrong with a `TBSCertList`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RevocationListError {
    #[error("it is not the DER of a TBSCertList")]
    Malformed,
    #[error("it is not in the one form that DER has for it")]
    NotCanonical,
    #[error("its version is not 2")]
    Version,
    #[error("its signature algorithm is not the CA's")]
    Algorithm,
    #[error("its issuer is not the CA's subject, byte for byte")]
    Issuer,
    #[error("the CA's certificate does not let its key sign CRLs (keyUsage cRLSign)")]
    KeyUsage,
    #[error("it does not begin and end when it should")]
    Validity,
    #[error("its entries are not the revocations that it should tell of")]
    Entries,
    #[error("it tells of a certificate twice")]
    SecondEntry,
    #[error(transparent)]
    Extension(LintError),
}

/// Checks that `tbs_der` is the CRL that `expected` describes (RFC 5280 §5.1, §5.2, §5.3) and nothing
/// more.
///
/// # Errors
/// Everything that is wrong, not the first thing only.
pub(crate) fn lint_revocation_list(
    tbs_der: Vec<u8>,
    expected: &RevocationList<'_>,
) -> Result<LintedRevocationList, Vec<RevocationListError>> {
    use RevocationListError as E;
    let tbs: TbsCertList = TbsCertList::from_der(&tbs_der).map_err(|_| vec![E::Malformed])?;
    let issuer = expected.issuer;
    let mut errors = Vec::new();
    let mut require = |right: bool, error: E| errors.extend((!right).then_some(error));
    require(tbs.to_der().as_deref() == Ok(&tbs_der), E::NotCanonical);
    require(tbs.version == Version::V2, E::Version);
    require(
        tbs.signature == expected.algorithm.identifier()
            && expected.algorithm.fits(issuer.public_key().key_type()),
        E::Algorithm,
    );
    require(tbs.issuer.to_der().as_deref() == Ok(issuer.subject_der()), E::Issuer);
    require(issuer.may_sign_crls(), E::KeyUsage);
    let next_update_s = tbs.next_update.map(unix_s);
    require(
        unix_s(tbs.this_update) == expected.this_update_s
            && next_update_s == Some(expected.next_update_s)
            && expected.this_update_s < expected.next_update_s,
        E::Validity,
    );
    let found = tbs.revoked_certificates.as_deref();
    require(found.is_none_or(|found| !found.is_empty()), E::Malformed);
    let found = found.unwrap_or_default();
    let serials: BTreeSet<_> = found.iter().map(|entry| entry.serial_number.as_bytes()).collect();
    require(serials.len() == found.len(), E::SecondEntry);
    require(
        found.len() == expected.entries.len()
            && found.iter().zip(expected.entries).all(|(found, entry)| is_entry(found, entry)),
        E::Entries,
    );
    let mut list = Checklist::over(tbs.crl_extensions.iter().flatten());
    list.authority_key_identifier(issuer.subject_key_identifier());
    list.crl_number(expected.number);
    errors.extend(list.finish().err().into_iter().flatten().map(E::Extension));
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(LintedRevocationList {
        der: tbs_der,
        algorithm: expected.algorithm,
        signing_key: issuer.public_key().clone(),
    })
}

fn is_entry(found: &RevokedCert, expected: &Entry) -> bool {
    // The INTEGER itself, so that a sign octet would show.
    let right = found.serial_number.as_bytes() == expected.serial.as_bytes()
        && unix_s(found.revocation_date) == expected.revoked_at_s;
    let mut list = Checklist::over(found.crl_entry_extensions.iter().flatten());
    let reason_is_right = match expected.reason {
        // Neither a reason nor an empty list.
        Reason::Unspecified => found.crl_entry_extensions.is_none(),
        reason => {
            list.reason_code(reason.crl_reason());
            list.finish().is_ok()
        }
    };
    right && reason_is_right
}

impl LintedRevocationList {
    /// The bytes to sign.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    #[cfg(test)]
    pub(in crate::x509) fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Puts the CRL together (RFC 5280 §5.1), if this is what was signed, and by whom.
    pub(crate) fn assemble(self, signature: &VerifiedSignature) -> Result<Vec<u8>, AssembleError> {
        Signed::assemble(&self.der, &self.signing_key, self.algorithm, signature)
    }
}
