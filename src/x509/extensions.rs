//! The extensions that kipuka writes (RFC 5280 §4.2).

use std::net::IpAddr;

use const_oid::AssociatedOid;
use const_oid::db::rfc5280::{ID_AD_CA_ISSUERS, ID_AD_OCSP, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::Encode;
use der::asn1::{Ia5String, OctetString};
use der::flagset::FlagSet;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    self, AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CrlDistributionPoints, CrlNumber, CrlReason, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};

use super::algorithm::KeyType;
use super::permanent_identifier::PermanentIdentifier;
use super::profile::{AuthorityInformation, ExtendedKeyUsage};

type Result<T> = std::result::Result<T, der::Error>;

fn extension<T: Encode + AssociatedOid>(critical: bool, value: &T) -> Result<Extension> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

/// RFC 5280 §4.2.1.1.
pub(super) fn authority_key_identifier(identifier: &[u8]) -> Result<Extension> {
    let key_identifier = Some(OctetString::new(identifier)?);
    extension(false, &AuthorityKeyIdentifier { key_identifier, ..Default::default() })
}

/// RFC 5280 §4.2.1.2.
pub(super) fn subject_key_identifier(identifier: &[u8]) -> Result<Extension> {
    extension(false, &SubjectKeyIdentifier(OctetString::new(identifier)?))
}

/// RFC 5280 §4.2.1.3.
pub(super) fn key_usage(usages: FlagSet<KeyUsages>) -> Result<Extension> {
    extension(true, &KeyUsage(usages))
}

/// What TLS does with a server's key: signing, and with RSA the key transport of TLS 1.2 (RFC 5246
/// §7.4.2). Ed25519 and ML-DSA only sign (RFC 8410 §5, RFC 9881 §5).
pub(super) fn leaf_key_usages(key_type: KeyType) -> FlagSet<KeyUsages> {
    match key_type {
        KeyType::Rsa(_) => KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment,
        KeyType::EcP256
        | KeyType::EcP384
        | KeyType::EcP521
        | KeyType::Ed25519
        | KeyType::MlDsa(_) => KeyUsages::DigitalSignature.into(),
    }
}

/// What a CA does with its key: certificates, CRLs, and OCSP answers of its own.
pub(super) fn ca_key_usages() -> FlagSet<KeyUsages> {
    KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign
}

/// RFC 5280 §4.2.1.12; `None` where it would be empty, which the ASN.1 forbids.
pub(super) fn extended_key_usage(usage: ExtendedKeyUsage) -> Result<Option<Extension>> {
    let mut purposes = Vec::new();
    purposes.extend(usage.server_auth.then_some(ID_KP_SERVER_AUTH));
    purposes.extend(usage.client_auth.then_some(ID_KP_CLIENT_AUTH));
    if purposes.is_empty() {
        return Ok(None);
    }
    extension(false, &pkix::ExtendedKeyUsage(purposes)).map(Some)
}

/// RFC 5280 §4.2.1.9: `None` says "not a CA", else the path length that a CA is held to.
pub(super) fn basic_constraints(ca: Option<Option<u8>>) -> Result<Extension> {
    extension(true, &BasicConstraints { ca: ca.is_some(), path_len_constraint: ca.flatten() })
}

/// RFC 5280 §4.2.1.6: critical where the subject is empty.
pub(super) fn subject_alt_name<'a>(
    dns_names: impl Iterator<Item = &'a String>,
    ip_addresses: impl Iterator<Item = IpAddr>,
    devices: impl Iterator<Item = &'a PermanentIdentifier>,
    critical: bool,
) -> Result<Extension> {
    let mut names = Vec::new();
    for name in dns_names {
        names.push(GeneralName::DnsName(Ia5String::new(name)?));
    }
    names.extend(ip_addresses.map(GeneralName::from));
    for device in devices {
        names.push(device.general_name()?);
    }
    extension(critical, &SubjectAltName(names))
}

/// RFC 5280 §4.2.1.13.
pub(super) fn crl_distribution_point(url: &str) -> Result<Extension> {
    let point = DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![uri(url)?])),
        reasons: None,
        crl_issuer: None,
    };
    extension(false, &CrlDistributionPoints(vec![point]))
}

/// RFC 5280 §5.2.3.
pub(super) fn crl_number(number: u64) -> Result<Extension> {
    extension(false, &CrlNumber::try_from(number)?)
}

/// RFC 5280 §5.3.1, of one entry.
pub(super) fn reason_code(reason: CrlReason) -> Result<Extension> {
    extension(false, &reason)
}

/// RFC 5280 §4.2.2.1; `None` where there is nothing to say.
pub(super) fn authority_information(urls: &AuthorityInformation) -> Result<Option<Extension>> {
    let mut descriptions = Vec::new();
    for (access_method, url) in [(ID_AD_OCSP, &urls.ocsp), (ID_AD_CA_ISSUERS, &urls.ca_issuers)] {
        if let Some(url) = url {
            descriptions.push(AccessDescription { access_method, access_location: uri(url)? });
        }
    }
    if descriptions.is_empty() {
        return Ok(None);
    }
    extension(false, &AuthorityInfoAccessSyntax(descriptions)).map(Some)
}

fn uri(url: &str) -> Result<GeneralName> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(url)?))
}
