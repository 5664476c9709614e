//! Certificate requests.

use std::net::IpAddr;
use std::process::Command;

use openssl::asn1::{Asn1Object, Asn1Type};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509NameBuilder, X509ReqBuilder};

use crate::{command, der};

pub fn p256() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

/// A certificate request to be bent.
#[derive(Clone, Debug)]
pub struct Csr {
    pub key: PKey<Private>,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<String>,
    /// Identities of devices (RFC 4043).
    pub permanent_identifiers: Vec<String>,
    pub mail_address: Option<&'static str>,
    pub common_name: Option<String>,
    pub is_ca: bool,
    pub wants_client_auth: bool,
}

impl Csr {
    /// What a client sends for these names and addresses: a new P-256 key and a subjectAltName.
    pub fn new(names: &[&str]) -> Self {
        let (ip_addresses, dns_names) = names
            .iter()
            .map(|name| (*name).to_owned())
            .partition(|name: &String| name.parse::<IpAddr>().is_ok());
        Self {
            key: p256(),
            dns_names,
            ip_addresses,
            permanent_identifiers: Vec::new(),
            mail_address: None,
            common_name: None,
            is_ca: false,
            wants_client_auth: false,
        }
    }

    pub fn der(&self) -> Vec<u8> {
        let mut builder = X509ReqBuilder::new().unwrap();
        builder.set_version(0).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        if let Some(common_name) = &self.common_name {
            // With its type, so that OpenSSL takes an empty one.
            let utf8 = Asn1Type::UTF8STRING;
            name.append_entry_by_nid_with_type(Nid::COMMONNAME, common_name, utf8).unwrap();
        }
        builder.set_subject_name(&name.build()).unwrap();
        let mut extensions = Stack::new().unwrap();
        let nameless = self.dns_names.is_empty()
            && self.ip_addresses.is_empty()
            && self.permanent_identifiers.is_empty();
        if !nameless || self.mail_address.is_some() {
            let mut names = SubjectAlternativeName::new();
            for name in &self.dns_names {
                names.dns(name);
            }
            for address in &self.ip_addresses {
                names.ip(address);
            }
            for identifier in &self.permanent_identifiers {
                let id = Asn1Object::from_str("1.3.6.1.5.5.7.8.3").unwrap();
                let value = der::sequence(&[der::value(0x0c, identifier.as_bytes())]);
                names.other_name2(id, &value);
            }
            if let Some(address) = self.mail_address {
                names.email(address);
            }
            let context = builder.x509v3_context(None);
            let names = names.build(&context).unwrap();
            extensions.push(names).unwrap();
        }
        if self.is_ca {
            extensions.push(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        }
        if self.wants_client_auth {
            extensions.push(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
        }
        builder.add_extensions(&extensions).unwrap();
        let digest = match self.key.id() {
            Id::ED25519 => MessageDigest::null(),
            _ => MessageDigest::sha256(),
        };
        builder.sign(&self.key, digest).unwrap();
        builder.build().to_der().unwrap()
    }
}

/// A request with a new key as OpenSSL's program makes it: `key` is what stands behind `-newkey` and
/// what else it takes.
pub fn made_by(mut openssl: Command, key: &[&str], name: &str) -> Vec<u8> {
    openssl.args(["req", "-new", "-nodes", "-keyout", "/dev/null", "-outform", "DER"]);
    openssl.args(["-subj", "/", "-addext", &format!("subjectAltName=DNS:{name}"), "-newkey"]);
    let output = command::output(openssl.args(key));
    assert!(output.status.success(), "{key:?}: {}", command::text(&output));
    output.stdout
}
