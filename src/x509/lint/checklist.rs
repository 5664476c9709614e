//! What a lint found so far, and the extensions it has not looked at yet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use const_oid::AssociatedOid;
use const_oid::db::rfc5280::{ID_AD_CA_ISSUERS, ID_AD_OCSP, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use der::asn1::Uint;
use der::flagset::FlagSet;
use der::{Decode, Encode};
use x509_cert::certificate::TbsCertificateInner;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    self, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CrlDistributionPoints, CrlNumber, CrlReason, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};

use super::LintError;
use crate::x509::permanent_identifier::PermanentIdentifier;
use crate::x509::profile::{AuthorityInformation, ExtendedKeyUsage};

/// The names of a subjectAltName, by their types.
#[derive(Default)]
pub(super) struct Names {
    pub(super) dns: Vec<String>,
    pub(super) ip: Vec<IpAddr>,
    pub(super) devices: Vec<PermanentIdentifier>,
}

pub(super) struct Checklist<'a> {
    unread: Vec<&'a Extension>,
    errors: Vec<LintError>,
}

impl<'a> Checklist<'a> {
    pub(super) fn new(tbs: &'a TbsCertificateInner) -> Self {
        Self::over(tbs.extensions().into_iter().flatten())
    }

    pub(super) fn over(extensions: impl Iterator<Item = &'a Extension>) -> Self {
        let unread: Vec<_> = extensions.collect();
        let mut seen = BTreeSet::new();
        let second = unread.iter().filter(|extension| !seen.insert(extension.extn_id));
        let errors =
            second.map(|extension| LintError::SecondExtension(extension.extn_id.to_string()));
        Self { errors: errors.collect(), unread }
    }

    pub(super) fn require(&mut self, right: bool, error: LintError) {
        if !right {
            self.errors.push(error);
        }
    }

    /// Whatever extension was not read was not expected.
    pub(super) fn finish(mut self) -> Result<(), Vec<LintError>> {
        let unknown = self.unread.iter();
        self.errors.extend(
            unknown.map(|extension| LintError::UnknownExtension(extension.extn_id.to_string())),
        );
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    /// Reads an extension that must be there.
    fn read<T>(&mut self, name: &'static str, critical: bool) -> Option<T>
    where
        T: for<'b> Decode<'b> + Encode + AssociatedOid,
    {
        let Some(place) = self.unread.iter().position(|extension| extension.extn_id == T::OID)
        else {
            self.errors.push(LintError::MissingExtension(name));
            return None;
        };
        let extension = self.unread.remove(place);
        self.require(extension.critical == critical, LintError::Criticality(name));
        let bytes = extension.extn_value.as_bytes();
        let value = T::from_der(bytes).ok().filter(|value| value.to_der().as_deref() == Ok(bytes));
        self.require(value.is_some(), LintError::Extension(name));
        value
    }

    fn expect<T>(&mut self, name: &'static str, critical: bool, right: impl FnOnce(T) -> bool)
    where
        T: for<'b> Decode<'b> + Encode + AssociatedOid,
    {
        if let Some(value) = self.read::<T>(name, critical) {
            self.require(right(value), LintError::Extension(name));
        }
    }

    pub(super) fn subject_key_identifier(&mut self, identifier: &[u8]) {
        self.expect("subjectKeyIdentifier", false, |SubjectKeyIdentifier(found)| {
            found.as_bytes() == identifier
        });
    }

    pub(super) fn authority_key_identifier(&mut self, identifier: &[u8]) {
        self.expect("authorityKeyIdentifier", false, |found: AuthorityKeyIdentifier| {
            found.key_identifier.is_some_and(|found| found.as_bytes() == identifier)
                && found.authority_cert_issuer.is_none()
                && found.authority_cert_serial_number.is_none()
        });
    }

    pub(super) fn key_usage(&mut self, usages: FlagSet<KeyUsages>) {
        self.expect("keyUsage", true, |KeyUsage(found)| found == usages);
    }

    pub(super) fn extended_key_usage(&mut self, usage: ExtendedKeyUsage) {
        if !usage.server_auth && !usage.client_auth {
            return;
        }
        self.expect("extKeyUsage", false, |pkix::ExtendedKeyUsage(found)| {
            let wanted = usize::from(usage.server_auth) + usize::from(usage.client_auth);
            found.len() == wanted
                && found.contains(&ID_KP_SERVER_AUTH) == usage.server_auth
                && found.contains(&ID_KP_CLIENT_AUTH) == usage.client_auth
        });
    }

    pub(super) fn basic_constraints(&mut self, ca: bool, path_len: Option<u8>) {
        self.expect("basicConstraints", true, |found: BasicConstraints| {
            found.ca == ca && found.path_len_constraint == path_len
        });
    }

    pub(super) fn crl_distribution_point(&mut self, url: Option<&str>) {
        let Some(url) = url else { return };
        self.expect("cRLDistributionPoints", false, |CrlDistributionPoints(found)| {
            let [point] = &found[..] else { return false };
            let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
                return false;
            };
            let [name] = &names[..] else { return false };
            is_uri(name, url) && point.reasons.is_none() && point.crl_issuer.is_none()
        });
    }

    pub(super) fn crl_number(&mut self, number: u64) {
        self.expect("cRLNumber", false, |CrlNumber(found)| {
            Uint::try_from(number).is_ok_and(|wanted| found == wanted)
        });
    }

    /// The reason of an entry that has one.
    pub(super) fn reason_code(&mut self, reason: CrlReason) {
        self.expect("reasonCode", false, |found: CrlReason| found == reason);
    }

    pub(super) fn authority_information(&mut self, urls: &AuthorityInformation) {
        if urls.is_empty() {
            return;
        }
        self.expect("authorityInfoAccess", false, |AuthorityInfoAccessSyntax(found)| {
            let wanted = [(ID_AD_CA_ISSUERS, &urls.ca_issuers), (ID_AD_OCSP, &urls.ocsp)];
            let wanted =
                wanted.into_iter().filter_map(|(method, url)| Some((method, url.as_ref()?)));
            let wanted: Vec<_> = wanted.collect();
            found.len() == wanted.len()
                && wanted.iter().all(|(method, url)| {
                    found.iter().any(|description| {
                        description.access_method == *method
                            && is_uri(&description.access_location, url)
                    })
                })
        });
    }

    /// The names of the subjectAltName in their order; `None` where it is missing or holds a name of
    /// another type.
    pub(super) fn subject_alt_name(&mut self, critical: bool) -> Option<Names> {
        const NAME: &str = "subjectAltName";
        let SubjectAltName(names) = self.read(NAME, critical)?;
        let mut found = Names::default();
        for name in names {
            match name {
                GeneralName::DnsName(name) => found.dns.push(name.as_str().to_owned()),
                GeneralName::IpAddress(octets) => {
                    let Some(address) = ip_address(octets.as_bytes()) else {
                        self.errors.push(LintError::Extension(NAME));
                        return None;
                    };
                    found.ip.push(address);
                }
                GeneralName::OtherName(other) if other.type_id == PermanentIdentifier::OID => {
                    let Some(device) = PermanentIdentifier::read(&other.value) else {
                        self.errors.push(LintError::Extension(NAME));
                        return None;
                    };
                    found.devices.push(device);
                }
                _ => {
                    self.errors.push(LintError::Extension(NAME));
                    return None;
                }
            }
        }
        Some(found)
    }
}

fn is_uri(name: &GeneralName, url: &str) -> bool {
    matches!(name, GeneralName::UniformResourceIdentifier(found) if found.as_str() == url)
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
    }
}
