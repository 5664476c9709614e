//! Devices that attest a key (draft-ietf-acme-device-attest), with the authorities that vouch for them: as
//! WebAuthn and the makers of devices describe the statements, made by OpenSSL.

mod cbor;
mod soft_tpm;
mod tpm;

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::{X509, X509Extension, X509NameBuilder};

pub use cbor::Cbor;
pub use soft_tpm::SoftTpm;
pub use tpm::Certification;

use crate::csr;
use crate::der::{oid, sequence, set, value};
use crate::issuer::Issuer;

const DAY_S: i64 = 24 * 3600;

/// Who makes devices: a root, and an authority below it that certifies them.
pub struct Vendor {
    pub root: Issuer,
    pub authority: Issuer,
}

/// A key in a device, and what it is asked to attest.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    pub vendor: &'a Vendor,
    pub key: &'a PKey<Private>,
    /// Its serial number.
    pub serial: &'a str,
    pub token: &'a str,
    pub key_authorization: &'a str,
    /// When it does so; its certificate is good from a day before until a day after.
    pub now_s: i64,
}

/// A statement that a test may bend.
#[derive(Clone)]
pub struct Statement {
    pub format: &'static str,
    pub members: Vec<(&'static str, Cbor)>,
}

/// How each format is made.
pub const FORMATS: [fn(&Device<'_>) -> Statement; 4] =
    [|one| one.apple(), |one| one.step(), |one| one.android(), |one| one.tpm()];

impl Vendor {
    pub fn new(name: &str) -> Self {
        let root = Issuer::root(&format!("{name} root"), csr::p256());
        let authority = root.below(&format!("{name} devices"), csr::p256());
        Self { root, authority }
    }

    pub fn root_pem(&self) -> String {
        String::from_utf8(self.root.certificate.to_pem().unwrap()).unwrap()
    }
}

impl Statement {
    /// The attestation object.
    pub fn object(&self) -> Vec<u8> {
        let text = |text: &str| Cbor::Text(text.to_owned());
        let members = self.members.iter().map(|(name, value)| (text(name), value.clone()));
        let statement = Cbor::Map(members.collect());
        Cbor::Map(vec![(text("fmt"), text(self.format)), (text("attStmt"), statement)]).encode()
    }

    pub fn get(&self, name: &str) -> Option<&Cbor> {
        self.members.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.members.retain(|(other, _)| *other != name);
        self
    }

    #[must_use]
    pub fn with(self, name: &'static str, value: Cbor) -> Self {
        let mut this = self.without(name);
        this.members.push((name, value));
        this
    }

    /// With the last octet of what is signed turned: of `sig`, or where there is none, of the
    /// device's certificate.
    #[must_use]
    pub fn tampered(self) -> Self {
        if let Some(Cbor::Bytes(signature)) = self.get("sig") {
            let mut signature = signature.clone();
            *signature.last_mut().unwrap() ^= 1;
            return self.with("sig", Cbor::Bytes(signature));
        }
        let Some(Cbor::Array(mut chain)) = self.get("x5c").cloned() else { unreachable!("x5c") };
        if let Cbor::Bytes(certificate) = &mut chain[0] {
            *certificate.last_mut().unwrap() ^= 1;
        }
        self.with("x5c", Cbor::Array(chain))
    }
}

impl Device<'_> {
    /// Apple's authority certifies the key, with a nonce of the token alone.
    pub fn apple(&self) -> Statement {
        let nonce = sha256(self.token.as_bytes());
        let extensions = [
            extension("1.2.840.113635.100.8.9.1", false, self.serial.as_bytes()),
            extension("1.2.840.113635.100.8.9.2", false, b"00008110-000A1B2C3D4E5F6A"),
            extension("1.2.840.113635.100.8.11.1", false, &nonce),
        ];
        let leaf = self.certify(self.key, "apple", extensions.into());
        Statement { format: "apple", members: vec![("x5c", self.chain(&leaf))] }
    }

    /// A YubiKey, whose serial is a number.
    pub fn step(&self) -> Statement {
        let serial = self.serial.parse::<u32>().unwrap_or(0).to_be_bytes();
        let serial = value(0x02, minimal(&[&[0][..], &serial].concat()));
        let extensions = vec![extension("1.3.6.1.4.1.41482.3.7", false, &serial)];
        let leaf = self.certify(self.key, "YubiKey PIV Attestation 9a", extensions);
        let signature = Cbor::Bytes(self.sign(self.key_authorization.as_bytes())).encode();
        let members = vec![
            ("alg", Cbor::Int(-7)),
            ("sig", Cbor::Bytes(signature)),
            ("x5c", self.chain(&leaf)),
        ];
        Statement { format: "step", members }
    }

    /// A key in Android's keystore, as it describes itself unless a test bends it.
    pub fn android(&self) -> Statement {
        self.android_with(&KeyDescription::default())
    }

    pub fn android_with(&self, described: &KeyDescription) -> Statement {
        let description = described.der(self);
        let extensions = vec![extension("1.3.6.1.4.1.11129.2.1.17", false, &description)];
        let leaf = self.certify(self.key, "Android Keystore Key", extensions);
        let members = vec![
            ("alg", Cbor::Int(-7)),
            ("sig", Cbor::Bytes(self.sign(self.key_authorization.as_bytes()))),
            ("x5c", self.chain(&leaf)),
        ];
        Statement { format: "android-key", members }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new(MessageDigest::sha256(), self.key).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }

    fn chain(&self, leaf: &X509) -> Cbor {
        let authority = &self.vendor.authority.certificate;
        let chain = [leaf, authority].map(|one| Cbor::Bytes(one.to_der().unwrap()));
        Cbor::Array(chain.into())
    }

    /// What the vendor's authority says of a key; without a name where that is empty.
    fn certify<T: HasPublic>(
        &self,
        key: &PKeyRef<T>,
        name: &str,
        extensions: Vec<X509Extension>,
    ) -> X509 {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(120, MsbOption::ONE, false).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        let mut subject = X509NameBuilder::new().unwrap();
        if !name.is_empty() {
            subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
        }
        builder.set_subject_name(&subject.build()).unwrap();
        let authority = &self.vendor.authority;
        builder.set_issuer_name(authority.certificate.subject_name()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(self.now_s - DAY_S).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(self.now_s + DAY_S).unwrap()).unwrap();
        builder.set_pubkey(key).unwrap();
        for extension in extensions {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&authority.key, MessageDigest::sha256()).unwrap();
        builder.build()
    }
}

/// What Android says of a key (key attestation extension data schema).
pub struct KeyDescription {
    /// 0 software, 1 trusted environment, 2 a chip.
    pub level: u8,
    /// 0 generated, 2 imported.
    pub origin: u8,
    /// 2 is to sign.
    pub purpose: u8,
    pub all_applications: bool,
    pub challenge: Option<Vec<u8>>,
}

impl Default for KeyDescription {
    fn default() -> Self {
        Self { level: 1, origin: 0, purpose: 2, all_applications: false, challenge: None }
    }
}

impl KeyDescription {
    fn der(&self, device: &Device<'_>) -> Vec<u8> {
        let integer = |number: u8| value(0x02, &[number]);
        let level = || value(0x0a, &[self.level]);
        let challenge = self.challenge.clone();
        let challenge =
            challenge.unwrap_or_else(|| sha256(device.key_authorization.as_bytes()).to_vec());
        // Tags above 30 have octets of their own.
        let tagged = |number: u16, content: &[u8]| {
            let mut der = vec![0xbf];
            if number >= 0x80 {
                der.push(0x80 | u8::try_from(number >> 7).unwrap());
            }
            der.push(u8::try_from(number & 0x7f).unwrap());
            der.extend(&value(0, content)[1..]);
            der
        };
        let mut hardware = vec![value(0xa1, &set(&[integer(self.purpose)]))];
        if self.all_applications {
            hardware.push(tagged(600, &value(0x05, &[])));
        }
        hardware.push(tagged(702, &integer(self.origin)));
        hardware.push(tagged(713, &value(0x04, device.serial.as_bytes())));
        sequence(&[
            integer(4),
            level(),
            integer(41),
            level(),
            value(0x04, &challenge),
            value(0x04, &[]),
            sequence(&[tagged(701, &value(0x02, &[1, 0x80, 0, 0]))]),
            sequence(&hardware),
        ])
    }
}

/// The shortest form of a positive INTEGER's content.
fn minimal(mut content: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = content
        && rest.first().is_some_and(|next| next & 0x80 == 0)
    {
        content = rest;
    }
    content
}

fn extension(id: &str, critical: bool, content: &[u8]) -> X509Extension {
    let id = Asn1Object::from_str(id).unwrap();
    let content = Asn1OctetString::new_from_bytes(content).unwrap();
    X509Extension::new_from_der(&id, critical, &content).unwrap()
}

/// A permanentIdentifier (RFC 4043) as a subjectAltName holds it.
pub fn permanent_identifier(serial: &str) -> Vec<u8> {
    let identifier = sequence(&[value(0x0c, serial.as_bytes())]);
    value(0xa0, &[oid("1.3.6.1.5.5.7.8.3"), value(0xa0, &identifier)].concat())
}
