//! Requests for CA certificates (RFC 2986): written for another CA to sign, and read where that
//! other CA is here.

use der::asn1::{Any, SetOfVec};
use der::{Decode, Encode, Sequence};
use x509_cert::attr::Attribute;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::request::ExtensionReq;

use const_oid::AssociatedOid;

use super::algorithm::{PublicKey, SignatureAlgorithm};
use super::csr::{CsrError, requested_extensions, signed_request, value_of};
use super::extensions;
use super::subject::{Subject, SubjectError};
use super::tbs::TbsError;

/// What a request is to say. It tells [`Self::info`] what to write and
/// [`super::lint::lint_request`] what to find.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaRequest<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) public_key: &'a PublicKey,
    /// What the key signs the request with.
    pub(crate) algorithm: SignatureAlgorithm,
    /// How many CA certificates may stand below it; `None` is any number.
    pub(crate) path_len: Option<u8>,
}

impl CaRequest<'_> {
    /// Writes the `CertificationRequestInfo` (RFC 2986 §4.1). It asks for what the certificate needs
    /// (RFC 2985 §5.4.2), for those CAs that take it from the request.
    pub(crate) fn info(&self) -> Result<Vec<u8>, TbsError> {
        let key_type = self.public_key.key_type();
        if !self.algorithm.fits(key_type) {
            return Err(TbsError::Algorithm { algorithm: self.algorithm, key_type });
        }
        let wanted = ExtensionReq(self.extensions()?);
        let info = CertificationRequestInfo {
            version: VERSION_1,
            subject: Any::from_der(self.subject.der())?,
            public_key: Any::from_der(self.public_key.spki())?,
            attributes: SetOfVec::try_from([Attribute::try_from(wanted)?])?,
        };
        Ok(info.to_der()?)
    }

    fn extensions(&self) -> Result<Vec<Extension>, der::Error> {
        Ok(vec![
            extensions::key_usage(extensions::ca_key_usages())?,
            extensions::basic_constraints(Some(self.path_len))?,
            extensions::subject_key_identifier(&self.public_key.key_identifier())?,
        ])
    }
}

const VERSION_1: u8 = 0;

/// RFC 2986 §4.1, with names and keys as they are.
#[derive(Sequence)]
struct CertificationRequestInfo {
    version: u8,
    subject: Any,
    public_key: Any,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
}

/// A request for a CA certificate, signed by the key it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedRequest {
    pub(crate) subject: Subject,
    pub(crate) public_key: PublicKey,
    /// The path length it asks for.
    pub(crate) path_len: Option<u8>,
}

/// Why a request gets no CA certificate, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error("the CSR's subject: {0}")]
    Subject(#[from] SubjectError),
    #[error("the CSR asks for a certificate that is no CA's (basicConstraints CA:FALSE)")]
    NoCa,
}

impl ReceivedRequest {
    /// Reads a request and verifies its signature. What it asks for beside name, key and path length
    /// is for the issuing CA to decide, and left unread.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let (request, public_key) = signed_request(der)?;
        let subject = request.info.subject.to_der().map_err(|_| CsrError::Malformed)?;
        let wanted = requested_extensions(&request)?;
        let path_len = match value_of(&wanted, BasicConstraints::OID) {
            None => None,
            Some(constraints) => {
                let constraints = BasicConstraints::from_der(constraints)
                    .map_err(|_| CsrError::Extension("basicConstraints"))?;
                if !constraints.ca {
                    return Err(RequestError::NoCa);
                }
                constraints.path_len_constraint
            }
        };
        Ok(Self { subject: Subject::from_der(&subject)?, public_key, path_len })
    }
}
