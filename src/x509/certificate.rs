//! What an issued certificate says, as far as revoking it needs.

use std::net::IpAddr;

use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};

use super::description::hex;
use super::issuer::unix_s;
use super::permanent_identifier::PermanentIdentifier;

/// A certificate that could be read (RFC 5280 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// In lower-case hex, as it is encoded.
    pub(crate) serial: String,
    /// The DER of the issuer's name.
    pub(crate) issuer: Vec<u8>,
    /// The DER of the SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
    /// The keyIdentifier of the authorityKeyIdentifier.
    pub(crate) authority_key_identifier: Option<Vec<u8>>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) ip_addresses: Vec<IpAddr>,
    pub(crate) devices: Vec<PermanentIdentifier>,
    pub(crate) not_before_s: i64,
    /// The last second of its validity.
    pub(crate) not_after_s: i64,
}

/// The bytes are no certificate of a TLS server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the DER of a certificate of names and addresses (RFC 5280 §4.1)")]
pub(crate) struct NotReadable;

impl CertificateFacts {
    pub(crate) fn of(der: &[u8]) -> Result<Self, NotReadable> {
        let certificate = Certificate::from_der(der).map_err(|_| NotReadable)?;
        let tbs = certificate.tbs_certificate();
        let names = tbs.get_extension::<SubjectAltName>().map_err(|_| NotReadable)?;
        let authority = tbs.get_extension::<AuthorityKeyIdentifier>().map_err(|_| NotReadable)?;
        let key_identifier = authority.and_then(|(_, authority)| authority.key_identifier);
        let mut dns_names = Vec::new();
        let mut ip_addresses = Vec::new();
        let mut devices = Vec::new();
        for name in names.into_iter().flat_map(|(_, SubjectAltName(names))| names) {
            match name {
                GeneralName::DnsName(name) => dns_names.push(name.as_str().to_owned()),
                GeneralName::IpAddress(octets) => {
                    ip_addresses.push(ip_address(octets.as_bytes()).ok_or(NotReadable)?);
                }
                GeneralName::OtherName(other) if other.type_id == PermanentIdentifier::OID => {
                    devices.push(PermanentIdentifier::read(&other.value).ok_or(NotReadable)?);
                }
                // No authorization could be for it.
                _ => return Err(NotReadable),
            }
        }
        Ok(Self {
            serial: hex(tbs.serial_number().as_bytes()),
            issuer: tbs.issuer().to_der().map_err(|_| NotReadable)?,
            spki: tbs.subject_public_key_info().to_der().map_err(|_| NotReadable)?,
            authority_key_identifier: key_identifier.map(|octets| octets.as_bytes().to_vec()),
            dns_names,
            ip_addresses,
            devices,
            not_before_s: unix_s(tbs.validity().not_before),
            not_after_s: unix_s(tbs.validity().not_after),
        })
    }

    /// The names, addresses and devices, as identifiers are written where text alone tells them apart.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let addresses = self.ip_addresses.iter().map(IpAddr::to_string);
        let devices = self.devices.iter().map(PermanentIdentifier::to_string);
        self.dns_names.iter().cloned().chain(addresses).chain(devices)
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}
