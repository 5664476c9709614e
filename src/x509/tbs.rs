//! The part of a certificate that is signed (RFC 5280 §4.1.2), built for a TLS server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use const_oid::db::rfc4519::COMMON_NAME;
use der::asn1::{Any, SetOfVec, Uint, Utf8StringRef};
use der::{DateTime, Decode, Encode, Sequence};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::time::{Time, Validity};

use super::algorithm::{KeyType, PublicKey, SignatureAlgorithm};
use super::dates::RequestedDates;
use super::extensions;
use super::issuer::IssuerCertificate;
use super::permanent_identifier::PermanentIdentifier;
use super::profile::Profile;
use super::serial::Serial;

/// What the certificate of a TLS server is to say. It tells [`Self::tbs`] what to write and
/// [`super::lint::lint`] what to find.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf<'a> {
    pub(crate) issuer: &'a IssuerCertificate,
    /// What the issuer's key signs with.
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) profile: &'a Profile,
    pub(crate) serial: Serial,
    /// The subject's key.
    pub(crate) public_key: &'a PublicKey,
    pub(crate) dates: RequestedDates,
    /// In normal form.
    pub(crate) dns_names: &'a [String],
    /// Never in the common name, nor as a dNSName (RFC 8738 §3).
    pub(crate) ip_addresses: &'a [IpAddr],
    /// Identities of devices (RFC 4043).
    pub(crate) devices: &'a [PermanentIdentifier],
}

/// The DER of a `TBSCertificate` (RFC 5280 §4.1). Nothing may sign it before it is linted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tbs {
    pub(crate) der: Vec<u8>,
    pub(crate) not_before_s: i64,
    /// The last second of its validity.
    pub(crate) not_after_s: i64,
}

/// Why nothing can be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TbsError {
    #[error("a certificate must name something")]
    NoNames,
    #[error("{algorithm} is nothing that a key of type {key_type} signs with")]
    Algorithm { algorithm: SignatureAlgorithm, key_type: KeyType },
    #[error("the CA's certificate is not valid yet")]
    IssuerNotYetValid,
    #[error("the CA's certificate has expired")]
    IssuerExpired,
    #[error("the validity would end before it begins")]
    Validity,
    #[error("the CA may not issue CA certificates: its path length is 0")]
    PathLength,
    #[error(
        "the issuer's path length leaves the new CA one of {most} at most, for the CAs below the new \
         one"
    )]
    PathLengthOfIssuer { most: u8 },
    #[error("the new CA's certificate would outlive its issuer's, which has {days} days left")]
    OutlivesIssuer { days: i64 },
    #[error("the new CA would have the name of its issuer, and no client could tell the two apart")]
    SubjectOfIssuer,
    #[error("the certificate cannot be written: {0}")]
    Der(#[from] der::Error),
}

impl Leaf<'_> {
    /// Writes the `TBSCertificate`, valid as [`RequestedDates::resolve`] says.
    pub(crate) fn tbs(&self, now_s: i64) -> Result<Tbs, TbsError> {
        if self.dns_names.is_empty() && self.ip_addresses.is_empty() && self.devices.is_empty() {
            return Err(TbsError::NoNames);
        }
        if now_s < self.issuer.not_before_s() {
            return Err(TbsError::IssuerNotYetValid);
        }
        if now_s > self.issuer.not_after_s() {
            return Err(TbsError::IssuerExpired);
        }
        let (not_before_s, not_after_s) = self.dates.resolve(self.profile, self.issuer, now_s);
        let subject = match self.common_name() {
            Some(name) => common_name(name)?,
            None => EMPTY_NAME.to_vec(),
        };
        let tbs = Template {
            algorithm: self.algorithm,
            signer: self.issuer.public_key().key_type(),
            serial: self.serial,
            issuer: self.issuer.subject_der(),
            not_before_s,
            not_after_s,
            subject: &subject,
            public_key: self.public_key,
            extensions: self.extensions()?,
        };
        tbs.encode()
    }

    fn common_name(&self) -> Option<&str> {
        let names = self.dns_names.iter().map(String::as_str);
        names.filter(|name| self.profile.common_name && name.len() <= MAX_COMMON_NAME).min()
    }

    fn extensions(&self) -> Result<Vec<Extension>, TbsError> {
        let dns_names: BTreeSet<_> = self.dns_names.iter().collect();
        let ip_addresses: BTreeSet<_> = self.ip_addresses.iter().copied().collect();
        let mut list =
            vec![extensions::key_usage(extensions::leaf_key_usages(self.public_key.key_type()))?];
        list.extend(extensions::extended_key_usage(self.profile.extended_key_usage)?);
        if self.profile.basic_constraints {
            list.push(extensions::basic_constraints(None)?);
        }
        list.push(extensions::subject_key_identifier(&self.public_key.key_identifier())?);
        list.push(extensions::authority_key_identifier(self.issuer.subject_key_identifier())?);
        list.extend(extensions::authority_information(&self.profile.authority_information)?);
        list.push(extensions::subject_alt_name(
            dns_names.into_iter(),
            ip_addresses.into_iter(),
            self.devices.iter().collect::<BTreeSet<_>>().into_iter(),
            self.common_name().is_none(),
        )?);
        if let Some(url) = &self.profile.crl_distribution_point {
            list.push(extensions::crl_distribution_point(url)?);
        }
        Ok(list)
    }
}

/// The upper bound of a common name (RFC 5280 appendix A.1, ub-common-name).
pub(super) const MAX_COMMON_NAME: usize = 64;

/// An empty `RDNSequence`.
const EMPTY_NAME: [u8; 2] = [0x30, 0];

fn common_name(name: &str) -> Result<Vec<u8>, der::Error> {
    let value = Any::encode_from(&Utf8StringRef::new(name)?)?;
    let attribute = AttributeTypeAndValue { oid: COMMON_NAME, value };
    vec![SetOfVec::try_from([attribute])?].to_der()
}

/// All that a `TBSCertificate` needs, whatever it is for.
pub(super) struct Template<'a> {
    pub(super) algorithm: SignatureAlgorithm,
    /// The type of the key that is to sign.
    pub(super) signer: KeyType,
    pub(super) serial: Serial,
    pub(super) issuer: &'a [u8],
    pub(super) not_before_s: i64,
    pub(super) not_after_s: i64,
    pub(super) subject: &'a [u8],
    pub(super) public_key: &'a PublicKey,
    pub(super) extensions: Vec<Extension>,
}

impl Template<'_> {
    pub(super) fn encode(self) -> Result<Tbs, TbsError> {
        let Self { algorithm, signer: key_type, not_before_s, not_after_s, .. } = self;
        if !algorithm.fits(key_type) {
            return Err(TbsError::Algorithm { algorithm, key_type });
        }
        if not_after_s < not_before_s {
            return Err(TbsError::Validity);
        }
        let tbs = TbsCertificate {
            version: VERSION_3,
            serial: Uint::new(self.serial.as_bytes())?,
            signature: algorithm.identifier(),
            issuer: Any::from_der(self.issuer)?,
            validity: Validity::new(time(not_before_s)?, time(not_after_s)?),
            subject: Any::from_der(self.subject)?,
            subject_public_key_info: Any::from_der(self.public_key.spki())?,
            extensions: self.extensions,
        };
        Ok(Tbs { der: tbs.to_der()?, not_before_s, not_after_s })
    }
}

const VERSION_3: u8 = 2;

/// RFC 5280 §4.1. x509-cert's own type cannot be filled in from outside, and would read the names
/// that are copied here as they are.
#[derive(Sequence)]
struct TbsCertificate {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: u8,
    serial: Uint,
    signature: AlgorithmIdentifierOwned,
    issuer: Any,
    validity: Validity,
    subject: Any,
    subject_public_key_info: Any,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// `UTCTime` to the end of 2049, `GeneralizedTime` from then on (RFC 5280 §4.1.2.5).
fn time(unix_s: i64) -> Result<Time, TbsError> {
    let since_epoch = Duration::from_secs(u64::try_from(unix_s).map_err(|_| TbsError::Validity)?);
    Ok(DateTime::from_unix_duration(since_epoch)?.into())
}
