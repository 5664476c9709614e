//! CA certificates (RFC 5280 §4.2.1.9): a self-signed root, or a CA below one.

use std::str::FromStr;

use der::Encode;
use x509_cert::ext::Extension;
use x509_cert::name::Name;

use super::algorithm::{PublicKey, SignatureAlgorithm};
use super::extensions;
use super::issuer::IssuerCertificate;
use super::profile::AuthorityInformation;
use super::serial::Serial;
use super::tbs::{Tbs, TbsError, Template, last_second};

/// What a CA certificate is to say. It tells [`Self::tbs`] what to write and
/// [`super::lint::lint_ca`] what to find.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaCertificate<'a> {
    /// `None` makes a self-signed root.
    pub(crate) issuer: Option<&'a IssuerCertificate>,
    /// What the issuer's key signs with; of a root, its own.
    pub(crate) algorithm: SignatureAlgorithm,
    /// As RFC 4514 writes a name: `CN=Example CA,O=Example`.
    pub(crate) subject: &'a str,
    /// How many CA certificates may stand below it; `None` is any number.
    pub(crate) path_len: Option<u8>,
    pub(crate) serial: Serial,
    /// The new CA's key.
    pub(crate) public_key: &'a PublicKey,
    pub(crate) not_before_s: i64,
    /// From the first to the last second, but never past the issuer's.
    pub(crate) validity_s: i64,
    /// The URL of the issuer's CRL.
    pub(crate) crl_distribution_point: Option<&'a str>,
    pub(crate) authority_information: &'a AuthorityInformation,
}

impl<'a> CaCertificate<'a> {
    pub(crate) fn tbs(&self) -> Result<Tbs, TbsError> {
        let subject = self.subject_der()?;
        let mut not_before_s = self.not_before_s;
        let mut not_after_s = last_second(not_before_s, self.validity_s);
        if let Some(issuer) = self.issuer {
            if issuer.path_len() == Some(0) {
                return Err(TbsError::PathLength);
            }
            if issuer.subject_der() == subject {
                return Err(TbsError::SubjectOfIssuer);
            }
            not_before_s = not_before_s.max(issuer.not_before_s());
            not_after_s = not_after_s.min(issuer.not_after_s());
        }
        let template = Template {
            algorithm: self.algorithm,
            signer: self.signing_key().key_type(),
            serial: self.serial,
            issuer: self.issuer.map_or(&subject, |issuer| issuer.subject_der()),
            not_before_s,
            not_after_s,
            subject: &subject,
            public_key: self.public_key,
            extensions: self.extensions()?,
        };
        template.encode()
    }

    /// The key that signs: the issuer's, or a root's own.
    pub(super) fn signing_key(&self) -> &'a PublicKey {
        self.issuer.map_or(self.public_key, IssuerCertificate::public_key)
    }

    pub(super) fn subject_der(&self) -> Result<Vec<u8>, TbsError> {
        let refused = || TbsError::Subject(self.subject.to_owned());
        let name = Name::from_str(self.subject).map_err(|_| refused())?;
        if name.is_empty() {
            return Err(refused());
        }
        Ok(name.to_der()?)
    }

    fn extensions(&self) -> Result<Vec<Extension>, TbsError> {
        let own_identifier = self.public_key.key_identifier();
        let authority = self.issuer.map_or(&own_identifier[..], |ca| ca.subject_key_identifier());
        let mut list = vec![
            extensions::key_usage(extensions::ca_key_usages())?,
            extensions::basic_constraints(Some(self.path_len))?,
            extensions::subject_key_identifier(self.public_key)?,
            extensions::authority_key_identifier(authority)?,
        ];
        list.extend(extensions::authority_information(self.authority_information)?);
        if let Some(url) = self.crl_distribution_point {
            list.push(extensions::crl_distribution_point(url)?);
        }
        Ok(list)
    }
}
