//! CA certificates with keys in files, made by OpenSSL.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, Private, Public};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Extension, X509NameBuilder};

use crate::der;

/// A root with its key.
pub struct Issuer {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Part of a name space.
pub enum Subtree<'a> {
    Dns(&'a str),
    Network(&'a [u8]),
}

impl Issuer {
    /// A self-signed CA.
    pub fn root(name: &str, key: PKey<Private>) -> Self {
        let certificate = certificate(name, &key, &key, None, None);
        Self { certificate, key }
    }

    /// A CA below this one.
    pub fn below(&self, name: &str, key: PKey<Private>) -> Self {
        Self { certificate: certificate(name, &key, &self.key, Some(self), None), key }
    }

    /// A CA below this one whose certificate permits and excludes these (RFC 5280 §4.2.1.10): DNS names,
    /// and addresses with their masks as octets.
    pub fn constrained(
        &self,
        name: &str,
        key: PKey<Private>,
        permitted: &[Subtree<'_>],
        excluded: &[Subtree<'_>],
    ) -> Self {
        let subtrees = |tag, subtrees: &[Subtree<'_>]| {
            let subtree = |one: &Subtree<'_>| match one {
                Subtree::Dns(name) => der::sequence(&[der::value(0x82, name.as_bytes())]),
                Subtree::Network(octets) => der::sequence(&[der::value(0x87, octets)]),
            };
            let subtrees: Vec<_> = subtrees.iter().map(subtree).collect();
            if subtrees.is_empty() { Vec::new() } else { der::value(tag, &subtrees.concat()) }
        };
        let value = der::sequence(&[subtrees(0xa0, permitted), subtrees(0xa1, excluded)]);
        let oid = Asn1Object::from_str("2.5.29.30").unwrap();
        let value = Asn1OctetString::new_from_bytes(&value).unwrap();
        let extension = X509Extension::new_from_der(&oid, true, &value).unwrap();
        let certificate = certificate(name, &key, &self.key, Some(self), Some(extension));
        Self { certificate, key }
    }

    /// A CA certificate below this one, for a key that is elsewhere.
    pub fn certify(&self, name: &str, key: &PKey<Public>) -> X509 {
        certificate(name, key, &self.key, Some(self), None)
    }

    /// Writes `NAME.pem` (with what stands `above`) and `NAME-key.pem` into a folder.
    pub fn write(&self, folder: &Path, name: &str, above: &[&Self]) -> (PathBuf, PathBuf) {
        let mut pem = self.certificate.to_pem().unwrap();
        for issuer in above {
            pem.extend(issuer.certificate.to_pem().unwrap());
        }
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}-key.pem"));
        fs::write(&certificate, pem).unwrap();
        fs::write(&key, self.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        (certificate, key)
    }
}

fn certificate<T: HasPublic>(
    name: &str,
    key: &PKey<T>,
    signs: &PKey<Private>,
    issuer: Option<&Issuer>,
    extension: Option<X509Extension>,
) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(159, MsbOption::ONE, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name()))
        .unwrap();
    // Older than what it signs, as CAs are: a leaf's backdating is not cut short by it.
    let long_ago = Asn1Time::from_unix(1_700_000_000).unwrap();
    builder.set_not_before(&long_ago).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(3650).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let usage =
        KeyUsage::new().critical().digital_signature().key_cert_sign().crl_sign().build().unwrap();
    builder.append_extension(usage).unwrap();
    let identifier =
        SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(identifier).unwrap();
    if let Some(issuer) = issuer {
        let context = builder.x509v3_context(Some(&issuer.certificate), None);
        let authority = AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap();
        builder.append_extension(authority).unwrap();
    }
    if let Some(extension) = extension {
        builder.append_extension(extension).unwrap();
    }
    builder.sign(signs, MessageDigest::sha256()).unwrap();
    builder.build()
}
