//! The last look at the bytes before a key signs them, and the door to the key.
//!
//! The checks read the DER anew with a parser that did not write it, and take nothing from the code
//! that built it but what was asked for.

mod checklist;
mod host_name;
mod request;
mod revocation_list;

pub(crate) use request::{LintedRequest, lint_request};
pub(crate) use revocation_list::{LintedRevocationList, RevocationListError, lint_revocation_list};

use std::collections::BTreeSet;
use std::net::IpAddr;

use const_oid::db::rfc4519::COMMON_NAME;
use der::{Decode, Encode, Tag, Tagged};
use x509_cert::certificate::{TbsCertificateInner, Version};
use x509_cert::ext::pkix::KeyUsages;

use super::algorithm::{KeyType, PublicKey, SignatureAlgorithm, VerifiedSignature};
use super::ca_certificate::CaCertificate;
use super::issuer::{IssuerCertificate, unix_s};
use super::serial::Serial;
pub(crate) use super::signed::AssembleError;
use super::signed::Signed;
use super::tbs::{Leaf, MAX_COMMON_NAME};
use super::weak_key::{self, WeakKey};
use checklist::{Checklist, Names};

/// A `TBSCertificate` that passed the lint, with the only key that may sign it. It cannot be copied:
/// one value, one signature.
#[derive(Debug)]
pub(crate) struct LintedTbs {
    der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signing_key: PublicKey,
}

/// What is wrong with a `TBSCertificate`. Any of these is kipuka's own fault, or that of whoever
/// altered the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LintError {
    #[error("it is not the DER of a TBSCertificate")]
    Malformed,
    #[error("it is not in the one form that DER has for it")]
    NotCanonical,
    #[error("its version is not 3")]
    Version,
    #[error("its serial is not the one that was planned")]
    Serial,
    #[error("its signature algorithm is not the CA's")]
    Algorithm,
    #[error("its issuer is not the CA's subject, byte for byte")]
    Issuer,
    #[error("its subject is not the expected one")]
    Subject,
    #[error("it begins before the CA's certificate or ends after it")]
    OutsideIssuer,
    #[error("it ends before it begins, or is valid for longer than allowed")]
    Validity,
    #[error("its dates are not those that were asked for")]
    Dates,
    #[error("its public key is not the requested one")]
    PublicKey,
    #[error("its public key is too weak: {0}")]
    WeakKey(#[from] WeakKey),
    #[error("it has a unique identifier, which RFC 5280 §4.1.2.8 forbids")]
    UniqueIdentifier,
    #[error("it lacks the extension {0}")]
    MissingExtension(&'static str),
    #[error("it has two extensions {0}")]
    SecondExtension(String),
    #[error("it has an extension {0} that was not asked for")]
    UnknownExtension(String),
    #[error("its extension {0} is critical where it must not be, or the reverse")]
    Criticality(&'static str),
    #[error("its extension {0} does not say what it should")]
    Extension(&'static str),
    #[error("{0:?} is not a name that a certificate may carry")]
    Name(String),
    #[error("it has a name that the CA's own certificate leaves out: {0} (nameConstraints)")]
    NameConstraints(String),
}

/// Checks that `tbs_der` is the certificate of a TLS server that `expected` describes (RFC 5280
/// §4.1, §4.2) and nothing more.
///
/// # Errors
/// Everything that is wrong, not the first thing only.
pub(crate) fn lint(tbs_der: Vec<u8>, expected: &Leaf<'_>) -> Result<LintedTbs, Vec<LintError>> {
    let tbs = parse(&tbs_der)?;
    let mut list = Checklist::new(&tbs);
    let common = Common {
        algorithm: expected.algorithm,
        serial: expected.serial,
        public_key: expected.public_key,
        key_identifier: expected.public_key.key_identifier().to_vec(),
        issuer: Some(expected.issuer),
        issuer_der: expected.issuer.subject_der(),
        signing_key: expected.issuer.public_key(),
        validity_s: expected.profile.validity_s,
    };
    common.check(&tbs, &tbs_der, &mut list);
    let asked = expected.dates;
    list.require(
        asked.not_before_s.is_none_or(|asked| asked == unix_s(tbs.validity().not_before))
            && asked.not_after_s.is_none_or(|asked| asked == unix_s(tbs.validity().not_after)),
        LintError::Dates,
    );
    let has_subject = check_subject(&tbs, expected, &mut list);
    check_names(expected, has_subject, &mut list);
    check_constraints(expected, has_subject, &mut list);
    let mut usages = KeyUsages::DigitalSignature.into();
    if matches!(expected.public_key.key_type(), KeyType::Rsa(_)) {
        usages |= KeyUsages::KeyEncipherment;
    }
    list.key_usage(usages);
    list.extended_key_usage(expected.profile.extended_key_usage);
    if expected.profile.basic_constraints {
        list.basic_constraints(false, None);
    }
    list.crl_distribution_point(expected.profile.crl_distribution_point.as_deref());
    list.authority_information(&expected.profile.authority_information);
    common.conclude(list, tbs_der)
}

/// Checks that `tbs_der` is the CA certificate that `expected` describes and nothing more.
///
/// # Errors
/// Everything that is wrong, not the first thing only.
pub(crate) fn lint_ca(
    tbs_der: Vec<u8>,
    expected: &CaCertificate<'_>,
) -> Result<LintedTbs, Vec<LintError>> {
    let tbs = parse(&tbs_der)?;
    let mut list = Checklist::new(&tbs);
    let subject = expected.subject.der();
    let common = Common {
        algorithm: expected.algorithm,
        serial: expected.serial,
        public_key: expected.public_key,
        key_identifier: expected.subject_key_identifier(),
        issuer: expected.issuer,
        issuer_der: expected.issuer.map_or(subject, IssuerCertificate::subject_der),
        signing_key: expected.signing_key(),
        validity_s: expected.validity_s,
    };
    common.check(&tbs, &tbs_der, &mut list);
    list.require(tbs.subject().to_der().as_deref() == Ok(subject), LintError::Subject);
    list.key_usage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    list.basic_constraints(true, expected.path_len);
    list.crl_distribution_point(expected.crl_distribution_point);
    list.authority_information(expected.authority_information);
    common.conclude(list, tbs_der)
}

impl LintedTbs {
    /// The bytes to sign.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    #[cfg(test)]
    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Puts the certificate together (RFC 5280 §4.1), if this is what was signed, and by whom.
    pub(crate) fn assemble(self, signature: &VerifiedSignature) -> Result<Vec<u8>, AssembleError> {
        Signed::assemble(&self.der, &self.signing_key, self.algorithm, signature)
    }
}

fn parse(tbs_der: &[u8]) -> Result<TbsCertificateInner, Vec<LintError>> {
    TbsCertificateInner::from_der(tbs_der).map_err(|_| vec![LintError::Malformed])
}

/// What every certificate is held to.
struct Common<'a> {
    algorithm: SignatureAlgorithm,
    serial: Serial,
    public_key: &'a PublicKey,
    key_identifier: Vec<u8>,
    issuer: Option<&'a IssuerCertificate>,
    issuer_der: &'a [u8],
    signing_key: &'a PublicKey,
    validity_s: i64,
}

impl Common<'_> {
    fn check(&self, tbs: &TbsCertificateInner, tbs_der: &[u8], list: &mut Checklist<'_>) {
        list.require(tbs.to_der().as_deref() == Ok(tbs_der), LintError::NotCanonical);
        list.require(tbs.version() == Version::V3, LintError::Version);
        // The INTEGER itself, so that a sign octet would show.
        list.require(tbs.serial_number().as_bytes() == self.serial.as_bytes(), LintError::Serial);
        list.require(
            *tbs.signature() == self.algorithm.identifier()
                && self.algorithm.fits(self.signing_key.key_type()),
            LintError::Algorithm,
        );
        list.require(tbs.issuer().to_der().as_deref() == Ok(self.issuer_der), LintError::Issuer);
        let not_before_s = unix_s(tbs.validity().not_before);
        let not_after_s = unix_s(tbs.validity().not_after);
        list.require(
            not_before_s <= not_after_s && not_after_s - not_before_s < self.validity_s,
            LintError::Validity,
        );
        if let Some(issuer) = self.issuer {
            list.require(
                issuer.not_before_s() <= not_before_s && not_after_s <= issuer.not_after_s(),
                LintError::OutsideIssuer,
            );
        }
        list.require(
            tbs.subject_public_key_info().to_der().as_deref() == Ok(self.public_key.spki()),
            LintError::PublicKey,
        );
        if let Err(weak) = weak_key::check(self.public_key) {
            list.require(false, weak.into());
        }
        list.require(
            tbs.issuer_unique_id().is_none() && tbs.subject_unique_id().is_none(),
            LintError::UniqueIdentifier,
        );
        list.subject_key_identifier(&self.key_identifier);
        // A root has none: whatever is not asked for must not be there.
        if let Some(issuer) = self.issuer {
            list.authority_key_identifier(issuer.subject_key_identifier());
        }
    }

    /// The one place that makes a [`LintedTbs`].
    fn conclude(&self, list: Checklist<'_>, tbs_der: Vec<u8>) -> Result<LintedTbs, Vec<LintError>> {
        list.finish()?;
        Ok(LintedTbs {
            der: tbs_der,
            algorithm: self.algorithm,
            signing_key: self.signing_key.clone(),
        })
    }
}

/// What the CA's own certificate has to say about the names (RFC 5280 §4.2.1.10).
fn check_constraints(expected: &Leaf<'_>, has_subject: bool, list: &mut Checklist<'_>) {
    let Some(constraints) = expected.issuer.name_constraints() else { return };
    let left_out = |name: &dyn std::fmt::Display| LintError::NameConstraints(name.to_string());
    for name in expected.dns_names {
        list.require(constraints.check_dns(name).is_ok(), left_out(name));
    }
    for address in expected.ip_addresses {
        list.require(constraints.check_ip(*address).is_ok(), left_out(address));
    }
    let subject = !has_subject || constraints.allows_common_name();
    list.require(subject, left_out(&"the common name in its subject"));
}

/// An empty subject, or a common name that is one of the names (RFC 5280 §4.1.2.6). Returns whether
/// there is a subject.
fn check_subject(tbs: &TbsCertificateInner, expected: &Leaf<'_>, list: &mut Checklist<'_>) -> bool {
    let wanted = expected.profile.common_name
        && expected.dns_names.iter().any(|name| name.len() <= MAX_COMMON_NAME);
    let subject = tbs.subject();
    let right = if wanted {
        let mut attributes = subject.iter();
        matches!(
            (attributes.next(), attributes.next()),
            (Some(only), None) if only.oid == COMMON_NAME
                && only.value.tag() == Tag::Utf8String
                && only.value.value().len() <= MAX_COMMON_NAME
                && expected.dns_names.iter().any(|name| name.as_bytes() == only.value.value())
        )
    } else {
        subject.is_empty()
    };
    list.require(right, LintError::Subject);
    !subject.is_empty()
}

/// The subjectAltName: the expected names, each once, each fit for a certificate.
fn check_names(expected: &Leaf<'_>, has_subject: bool, list: &mut Checklist<'_>) {
    let Some(names) = list.subject_alt_name(!has_subject) else { return };
    let Names { dns: dns_names, ip: ip_addresses, devices } = names;
    let expected_dns: BTreeSet<&str> = expected.dns_names.iter().map(String::as_str).collect();
    let expected_ip: BTreeSet<IpAddr> = expected.ip_addresses.iter().copied().collect();
    let found_dns: BTreeSet<&str> = dns_names.iter().map(String::as_str).collect();
    let expected_devices: BTreeSet<_> = expected.devices.iter().collect();
    let found_devices: BTreeSet<_> = devices.iter().collect();
    let found_ip: BTreeSet<IpAddr> = ip_addresses.iter().copied().collect();
    list.require(
        found_dns == expected_dns
            && found_ip == expected_ip
            && found_devices == expected_devices
            && found_devices.len() == devices.len()
            && found_dns.len() == dns_names.len()
            && found_ip.len() == ip_addresses.len(),
        LintError::Extension("subjectAltName"),
    );
    for name in &dns_names {
        let certifiable = host_name::is_certifiable(name, expected.profile.underscores);
        list.require(certifiable, LintError::Name(name.clone()));
    }
}
