//! The lint of a request for a CA certificate.

use const_oid::AssociatedOid;
use der::{Decode, Encode};
use x509_cert::ext::pkix::KeyUsages;
use x509_cert::request::{CertReqInfo, ExtensionReq};

use super::checklist::Checklist;
use super::{AssembleError, LintError};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};
use crate::x509::request::CaRequest;
use crate::x509::signed::Signed;
use crate::x509::weak_key;

/// A `CertificationRequestInfo` that passed the lint, with the only key that may sign it. It cannot
/// be copied: one value, one signature.
#[derive(Debug)]
pub(crate) struct LintedRequest {
    der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signing_key: PublicKey,
}

/// Checks that `info_der` is the request that `expected` describes (RFC 2986 §4.1) and nothing more.
///
/// # Errors
/// Everything that is wrong, not the first thing only.
pub(crate) fn lint_request(
    info_der: Vec<u8>,
    expected: &CaRequest<'_>,
) -> Result<LintedRequest, Vec<LintError>> {
    let malformed = || vec![LintError::Malformed];
    let info = CertReqInfo::from_der(&info_der).map_err(|_| malformed())?;
    let mut attributes = info.attributes.iter();
    let wanted = match (attributes.next(), attributes.next()) {
        (Some(only), None) if only.oid == ExtensionReq::OID && only.values.len() == 1 => {
            let value = only.values.iter().next().ok_or_else(malformed)?;
            value.decode_as::<ExtensionReq>().map_err(|_| malformed())?
        }
        _ => return Err(malformed()),
    };
    let mut list = Checklist::over(wanted.0.iter());
    list.require(info.to_der().as_deref() == Ok(&info_der), LintError::NotCanonical);
    list.require(
        info.subject.to_der().as_deref() == Ok(expected.subject.der()),
        LintError::Subject,
    );
    list.require(
        info.public_key.to_der().as_deref() == Ok(expected.public_key.spki()),
        LintError::PublicKey,
    );
    list.require(expected.algorithm.fits(expected.public_key.key_type()), LintError::Algorithm);
    if let Err(weak) = weak_key::check(expected.public_key) {
        list.require(false, weak.into());
    }
    list.key_usage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    list.basic_constraints(true, expected.path_len);
    list.subject_key_identifier(&expected.public_key.key_identifier());
    list.finish()?;
    Ok(LintedRequest {
        der: info_der,
        algorithm: expected.algorithm,
        signing_key: expected.public_key.clone(),
    })
}

impl LintedRequest {
    /// The bytes to sign.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Puts the request together (RFC 2986 §4.2), if this is what was signed, and by whom.
    pub(crate) fn assemble(self, signature: &VerifiedSignature) -> Result<Vec<u8>, AssembleError> {
        Signed::assemble(&self.der, &self.signing_key, self.algorithm, signature)
    }
}
