//! CA certificates (RFC 5280 §4.2.1.9): a self-signed root, or a CA below one.

use x509_cert::ext::Extension;

use super::algorithm::{PublicKey, SignatureAlgorithm};
use super::dates::last_second;
use super::extensions;
use super::issuer::IssuerCertificate;
use super::profile::AuthorityInformation;
use super::serial::Serial;
use super::subject::Subject;
use super::tbs::{Tbs, TbsError, Template};

const DAY_S: i64 = 24 * 3600;

/// What a CA certificate is to say. It tells [`Self::tbs`] what to write and
/// [`super::lint::lint_ca`] what to find.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaCertificate<'a> {
    /// `None` makes a self-signed root.
    pub(crate) issuer: Option<&'a IssuerCertificate>,
    /// What the issuer's key signs with; of a root, its own.
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) subject: &'a Subject,
    /// How many CA certificates may stand below it; `None` is any number.
    pub(crate) path_len: Option<u8>,
    pub(crate) serial: Serial,
    /// The new CA's key.
    pub(crate) public_key: &'a PublicKey,
    /// What certificates below it name the key by; `None` makes it of the key (RFC 5280 §4.2.1.2). A
    /// second certificate for a key must have the first one's, or those below the first would not
    /// fit it.
    pub(crate) key_identifier: Option<&'a [u8]>,
    pub(crate) not_before_s: i64,
    /// From the first to the last second, within the issuer's.
    pub(crate) validity_s: i64,
    /// The URL of the issuer's CRL.
    pub(crate) crl_distribution_point: Option<&'a str>,
    pub(crate) authority_information: &'a AuthorityInformation,
}

impl<'a> CaCertificate<'a> {
    /// Writes the `TBSCertificate`.
    ///
    /// # Errors
    /// Besides what any certificate can lack: where the issuer may not issue this one.
    pub(crate) fn tbs(&self) -> Result<Tbs, TbsError> {
        let subject = self.subject.der();
        let not_after_s = last_second(self.not_before_s, self.validity_s);
        if let Some(issuer) = self.issuer {
            self.check_against(issuer, not_after_s)?;
        }
        let template = Template {
            algorithm: self.algorithm,
            signer: self.signing_key().key_type(),
            serial: self.serial,
            issuer: self.issuer.map_or(subject, IssuerCertificate::subject_der),
            not_before_s: self.not_before_s,
            not_after_s,
            subject,
            public_key: self.public_key,
            extensions: self.extensions()?,
        };
        template.encode()
    }

    /// The key that signs: the issuer's, or a root's own.
    pub(super) fn signing_key(&self) -> &'a PublicKey {
        self.issuer.map_or(self.public_key, IssuerCertificate::public_key)
    }

    pub(super) fn subject_key_identifier(&self) -> Vec<u8> {
        self.key_identifier
            .map_or_else(|| self.public_key.key_identifier().to_vec(), <[u8]>::to_vec)
    }

    fn check_against(&self, issuer: &IssuerCertificate, not_after_s: i64) -> Result<(), TbsError> {
        match (issuer.path_len(), self.path_len) {
            (Some(0), _) => return Err(TbsError::PathLength),
            (Some(room), Some(asked)) if asked >= room => {
                return Err(TbsError::PathLengthOfIssuer { most: room - 1 });
            }
            _ => {}
        }
        if issuer.subject_der() == self.subject.der() {
            return Err(TbsError::SubjectOfIssuer);
        }
        if self.not_before_s < issuer.not_before_s() {
            return Err(TbsError::IssuerNotYetValid);
        }
        if self.not_before_s > issuer.not_after_s() {
            return Err(TbsError::IssuerExpired);
        }
        if not_after_s > issuer.not_after_s() {
            let days = (issuer.not_after_s() - self.not_before_s + 1) / DAY_S;
            return Err(TbsError::OutlivesIssuer { days });
        }
        Ok(())
    }

    fn extensions(&self) -> Result<Vec<Extension>, TbsError> {
        let mut list = vec![
            extensions::key_usage(extensions::ca_key_usages())?,
            extensions::basic_constraints(Some(self.path_len))?,
            extensions::subject_key_identifier(&self.subject_key_identifier())?,
        ];
        // A root's would be its own subjectKeyIdentifier once more (RFC 5280 §4.2.1.1).
        if let Some(issuer) = self.issuer {
            list.push(extensions::authority_key_identifier(issuer.subject_key_identifier())?);
        }
        list.extend(extensions::authority_information(self.authority_information)?);
        if let Some(url) = self.crl_distribution_point {
            list.push(extensions::crl_distribution_point(url)?);
        }
        Ok(list)
    }
}
