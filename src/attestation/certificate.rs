//! The certificate of what attests: the device's own key, or the key of its security chip.

use const_oid::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::BasicConstraints;

use super::AttestationError;
use crate::x509::algorithm::PublicKey;

/// A certificate that somebody vouches for.
#[derive(Debug)]
pub(super) struct AttestationCertificate {
    certificate: Certificate,
    pub(super) public_key: PublicKey,
}

impl AttestationCertificate {
    pub(super) fn read(der: &[u8]) -> Result<Self, AttestationError> {
        let unreadable = || AttestationError::Unreadable("x5c");
        let certificate = Certificate::from_der(der).map_err(|_| unreadable())?;
        let tbs = certificate.tbs_certificate();
        if tbs.version() != Version::V3 {
            return Err(AttestationError::Certificate("is not of version 3"));
        }
        let constraints = tbs.get_extension::<BasicConstraints>().map_err(|_| unreadable())?;
        if constraints.is_some_and(|(_, constraints)| constraints.ca) {
            // Whoever has a vendor's intermediate certificate is no device.
            return Err(AttestationError::Certificate("is that of a CA"));
        }
        let spki = tbs.subject_public_key_info().to_der().map_err(|_| unreadable())?;
        let public_key = PublicKey::from_spki(&spki)
            .map_err(|_| AttestationError::Certificate("has a key that is not supported here"))?;
        Ok(Self { certificate, public_key })
    }

    pub(super) fn has_subject(&self) -> bool {
        !self.certificate.tbs_certificate().subject().is_empty()
    }

    /// The value of an extension that stands there once.
    pub(super) fn extension(&self, oid: &ObjectIdentifier) -> Result<&[u8], AttestationError> {
        let extensions = self.certificate.tbs_certificate().extensions().into_iter().flatten();
        let mut found = extensions.filter(|extension| extension.extn_id == *oid);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.extn_value.as_bytes()),
            (None, _) => Err(AttestationError::Certificate("lacks an extension of this format")),
            (Some(_), Some(_)) => Err(AttestationError::Certificate("has an extension twice")),
        }
    }

    /// The same of one that need not be there.
    pub(super) fn optional(
        &self,
        oid: &ObjectIdentifier,
    ) -> Result<Option<&[u8]>, AttestationError> {
        let extensions = self.certificate.tbs_certificate().extensions().into_iter().flatten();
        match extensions.filter(|extension| extension.extn_id == *oid).count() {
            0 => Ok(None),
            _ => self.extension(oid).map(Some),
        }
    }
}
