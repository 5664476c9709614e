//! Certificate requests that cannot be honoured (RFC 8555 §7.4, RFC 2986).

use harness::csr as keys;
use harness::der::{oid, sequence, set, value};
use harness::key::base64url;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::json;

use super::{Row, Victim, row};
use crate::server;

/// A certification request (RFC 2986 §4.2) in its parts, each as DER.
pub(super) struct Parts {
    key: PKey<Private>,
    version: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    extensions: Vec<Vec<u8>>,
    /// Besides the extensions.
    attributes: Vec<Vec<u8>>,
    signature_algorithm: Vec<u8>,
    /// In place of a right one.
    signature: Option<Vec<u8>>,
}

type Bend = fn(&mut Parts);

const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const ECDSA_WITH_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_WITH_SHA1: &str = "1.2.840.10045.4.1";
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
const SHA1_WITH_RSA: &str = "1.2.840.113549.1.1.5";
const ED25519: &str = "1.3.101.112";
const DNS_NAME: u8 = 0x82;

impl Parts {
    /// What would be right.
    fn new(names: &[&str]) -> Self {
        let key = keys::p256();
        let names = names.iter().map(|name| value(DNS_NAME, name.as_bytes())).collect::<Vec<_>>();
        Self {
            version: value(0x02, &[0]),
            subject: sequence(&[]),
            spki: key.public_key_to_der().unwrap(),
            extensions: vec![extension(SUBJECT_ALT_NAME, &sequence(&names))],
            attributes: Vec::new(),
            signature_algorithm: sequence(&[oid(ECDSA_WITH_SHA256)]),
            signature: None,
            key,
        }
    }

    fn with_key(&mut self, key: PKey<Private>, signature_algorithm: Vec<u8>) {
        self.spki = key.public_key_to_der().unwrap();
        self.key = key;
        self.signature_algorithm = signature_algorithm;
    }

    fn with_rsa(&mut self, spki: Vec<u8>) {
        self.spki = spki;
        self.signature_algorithm = sequence(&[oid(SHA256_WITH_RSA), value(0x05, &[])]);
        self.signature = Some(vec![7; 256]);
    }

    /// With these names in its subjectAltName.
    fn with_names(&mut self, names: &[Vec<u8>]) {
        self.extensions = vec![extension(SUBJECT_ALT_NAME, &sequence(names))];
    }

    fn with_name(&mut self, name: Vec<u8>) {
        self.with_names(&[value(DNS_NAME, b"a.test"), name]);
    }

    fn with_common_name(&mut self, tag: u8, name: &[u8]) {
        let attribute = sequence(&[oid("2.5.4.3"), value(tag, name)]);
        self.subject = sequence(&[set(&[attribute])]);
    }

    fn der(&self) -> Vec<u8> {
        let mut attributes = self.attributes.clone();
        if !self.extensions.is_empty() {
            let list = sequence(&self.extensions);
            attributes.push(sequence(&[oid(EXTENSION_REQUEST), set(&[list])]));
        }
        let info = sequence(&[
            self.version.clone(),
            self.subject.clone(),
            self.spki.clone(),
            value(0xa0, &attributes.concat()),
        ]);
        let signature = self.signature.clone().unwrap_or_else(|| self.sign(&info));
        let bits = value(0x03, &[&[0], &signature[..]].concat());
        sequence(&[info, self.signature_algorithm.clone(), bits])
    }

    fn sign(&self, info: &[u8]) -> Vec<u8> {
        if [Id::ED25519, Id::ED448].contains(&self.key.id()) {
            let mut signer = Signer::new_without_digest(&self.key).unwrap();
            return signer.sign_oneshot_to_vec(info).unwrap();
        }
        let weak = [ECDSA_WITH_SHA1, SHA1_WITH_RSA];
        let is_weak = weak.iter().any(|one| sequence(&[oid(one)]) == self.signature_algorithm);
        let digest = if is_weak { MessageDigest::sha1() } else { MessageDigest::sha256() };
        Signer::new(digest, &self.key).unwrap().sign_oneshot_to_vec(info).unwrap()
    }
}

fn extension(id: &str, content: &[u8]) -> Vec<u8> {
    sequence(&[oid(id), value(0x04, content)])
}

fn on_curve(nid: Nid) -> PKey<Private> {
    PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(nid).unwrap()).unwrap()).unwrap()
}

fn ecdsa() -> Vec<u8> {
    sequence(&[oid(ECDSA_WITH_SHA256)])
}

/// The SubjectPublicKeyInfo of an RSA key of these numbers.
fn rsa(modulus: BigNum, exponent: u32) -> Vec<u8> {
    let key = Rsa::from_public_components(modulus, BigNum::from_u32(exponent).unwrap()).unwrap();
    PKey::from_rsa(key).unwrap().public_key_to_der().unwrap()
}

/// Ones, but for the last bytes.
fn modulus(bits: i32, last: u32) -> BigNum {
    let mut modulus = BigNum::new().unwrap();
    modulus.set_bit(bits - 1).unwrap();
    modulus.set_bit(bits - 2).unwrap();
    modulus.add_word(last).unwrap();
    modulus
}

/// The product of two primes that stand close to each other (CVE-2022-26320).
fn close_primes() -> BigNum {
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let is_prime = |number: &BigNum, context: &mut openssl::bn::BigNumContext| {
        number.is_prime_fasttest(20, context, true).unwrap()
    };
    let mut number = modulus(1024, 1);
    let mut found = Vec::new();
    while found.len() < 2 {
        if is_prime(&number, &mut context) {
            found.push(number.as_ref().to_owned().unwrap());
        }
        number.add_word(2).unwrap();
    }
    &found[0] * &found[1]
}

pub(super) fn rows() -> Vec<Row<Bend>> {
    let row = |clause, why, bend: Bend, says| row(clause, why, bend, (400, "badCSR", says));
    let csr = |why, bend, says| row("§7.4", why, bend, says);
    let shape = |why, bend| row("RFC 2986 §4", why, bend, "PKCS #10");
    let key = |why, bend, says| row("§11.1", why, bend, says);
    let name = |why, bend, says| row("RFC 5280 §4.2.1.6", why, bend, says);
    vec![
        shape("no version", |p| p.version = Vec::new()),
        shape("version 4", |p| p.version = value(0x02, &[3])),
        shape("a long version", |p| p.version = value(0x02, &[0, 0])),
        shape("no subject", |p| p.subject = Vec::new()),
        shape("a subject of text", |p| p.subject = value(0x0c, b"CN=a.test")),
        shape("no key", |p| p.spki = Vec::new()),
        shape("a key of nothing", |p| p.spki = sequence(&[])),
        shape("no signature algorithm", |p| p.signature_algorithm = Vec::new()),
        shape("an attribute of nothing", |p| p.attributes.push(sequence(&[]))),
        shape("an attribute of text", |p| p.attributes.push(value(0x0c, b"a"))),
        key(
            "half a point",
            |p| {
                let end = p.spki.len() - 1;
                p.spki[end - 40..].fill(0)
            },
            "cannot be used",
        ),
        key("another curve's parameters", |p| p.spki[20] ^= 1, "cannot be used"),
        key("secp256k1", |p| p.with_key(on_curve(Nid::SECP256K1), ecdsa()), "cannot be used"),
        key("P-224", |p| p.with_key(on_curve(Nid::SECP224R1), ecdsa()), "cannot be used"),
        key(
            "Brainpool",
            |p| p.with_key(on_curve(Nid::BRAINPOOL_P256R1), ecdsa()),
            "cannot be used",
        ),
        key(
            "Ed448",
            |p| p.with_key(PKey::generate_ed448().unwrap(), sequence(&[oid("1.3.101.113")])),
            "not supported",
        ),
        key(
            "X25519",
            |p| p.spki = PKey::generate_x25519().unwrap().public_key_to_der().unwrap(),
            "not supported",
        ),
        key("RSA of 1024 bits", |p| p.with_rsa(rsa(modulus(1024, 1), 65537)), "1024 bits"),
        key("RSA of 2047 bits", |p| p.with_rsa(rsa(modulus(2047, 1), 65537)), "2047 bits"),
        key("RSA of 2049 bits", |p| p.with_rsa(rsa(modulus(2049, 1), 65537)), "2049 bits"),
        key("RSA of 8200 bits", |p| p.with_rsa(rsa(modulus(8200, 1), 65537)), "8200 bits"),
        key("RSA with exponent 3", |p| p.with_rsa(rsa(modulus(2048, 1), 3)), "exponent"),
        key("RSA with exponent 1", |p| p.with_rsa(rsa(modulus(2048, 1), 1)), "exponent"),
        key("RSA with an even exponent", |p| p.with_rsa(rsa(modulus(2048, 1), 65538)), "exponent"),
        key(
            "RSA with an even modulus",
            |p| p.with_rsa(rsa(modulus(2048, 2), 65537)),
            "divisible by 2",
        ),
        key("RSA with close primes", |p| p.with_rsa(rsa(close_primes(), 65537)), "too close"),
        csr(
            "SHA-1",
            |p| p.signature_algorithm = sequence(&[oid(ECDSA_WITH_SHA1)]),
            "SHA-256 or better",
        ),
        csr(
            "RSA with SHA-1",
            |p| p.with_key(keys::rsa(2048), sequence(&[oid(SHA1_WITH_RSA)])),
            "SHA-256",
        ),
        csr(
            "an algorithm of another key",
            |p| p.signature_algorithm = sequence(&[oid(ED25519)]),
            "signature",
        ),
        csr("no signature", |p| p.signature = Some(Vec::new()), "signature"),
        csr("a signature of zeros", |p| p.signature = Some(vec![0; 64]), "signature"),
        csr(
            "half a signature",
            |p| {
                let whole = p.sign(b"a");
                p.signature = Some(whole[..30].to_vec())
            },
            "signature",
        ),
        csr("a signature of something else", |p| p.signature = Some(p.sign(b"a")), "signature"),
        csr("a signature of another key", |p| p.key = keys::p256(), "signature"),
        csr(
            "a CA",
            |p| p.extensions.push(extension("2.5.29.19", &sequence(&[value(0x01, &[0xff])]))),
            "CA:TRUE",
        ),
        csr(
            "basicConstraints of text",
            |p| p.extensions.push(extension("2.5.29.19", b"CA")),
            "basicConstraints",
        ),
        csr(
            "an extension twice",
            |p| {
                let san = p.extensions[0].clone();
                p.extensions.push(san)
            },
            "twice",
        ),
        csr(
            "two lists of extensions",
            |p| {
                let list = sequence(&p.extensions);
                p.attributes.push(sequence(&[oid(EXTENSION_REQUEST), set(&[list])]));
            },
            "more than one list",
        ),
        csr(
            "a list of extensions that is none",
            |p| {
                p.extensions.clear();
                p.attributes.push(sequence(&[oid(EXTENSION_REQUEST), set(&[value(0x0c, b"a")])]));
            },
            "extensions",
        ),
        csr("no names", |p| p.extensions.clear(), "lacks"),
        csr("a name less", |p| p.with_names(&[value(DNS_NAME, b"a.test")]), "b.test"),
        csr(
            "another name",
            |p| p.with_names(&[value(DNS_NAME, b"a.test"), value(DNS_NAME, b"c.test")]),
            "c.test",
        ),
        csr("a wildcard", |p| p.with_name(value(DNS_NAME, b"*.b.test")), "*.b.test"),
        csr("a name below", |p| p.with_name(value(DNS_NAME, b"www.b.test")), "www.b.test"),
        csr(
            "an underscore",
            |p| p.with_name(value(DNS_NAME, b"b_.test")),
            "does not have these names",
        ),
        csr("a URL", |p| p.with_name(value(DNS_NAME, b"https://b.test")), "no order can have"),
        csr("an empty name", |p| p.with_name(value(DNS_NAME, b"")), "no order can have"),
        csr(
            "a name with a zero",
            |p| p.with_name(value(DNS_NAME, b"b.test\0.evil.test")),
            "no order can have",
        ),
        name("an empty list", |p| p.with_names(&[]), "subjectAltName"),
        name(
            "a name of no ASCII",
            |p| p.with_name(value(DNS_NAME, "ü.test".as_bytes())),
            "subjectAltName",
        ),
        name("a mail address", |p| p.with_name(value(0x81, b"a@a.test")), "e-mail"),
        name("a URI", |p| p.with_name(value(0x86, b"https://b.test")), "uniformResourceIdentifier"),
        name(
            "an address of five bytes",
            |p| p.with_name(value(0x87, &[1, 2, 3, 4, 5])),
            "subjectAltName",
        ),
        name(
            "an otherName",
            |p| {
                p.with_name(value(
                    0xa0,
                    &[oid("1.2.3.4"), value(0xa0, &value(0x0c, b"a"))].concat(),
                ))
            },
            "otherName",
        ),
        name("an X.400 address", |p| p.with_name(value(0xa3, &[])), "x400Address"),
        name("a directory's name", |p| p.with_name(value(0xa4, &sequence(&[]))), "directoryName"),
        name("an EDI party", |p| p.with_name(value(0xa5, &[])), "ediPartyName"),
        name("a registered ID", |p| p.with_name(value(0x88, &[0x2a, 3, 4])), "registeredID"),
        name("a name of no known type", |p| p.with_name(value(0x89, b"a")), "subjectAltName"),
        name("a name of no type", |p| p.with_name(value(0x0c, b"b.test")), "subjectAltName"),
        name(
            "a subjectAltName of text",
            |p| p.extensions = vec![extension(SUBJECT_ALT_NAME, b"a.test")],
            "subjectAltName",
        ),
        csr("a common name more", |p| p.with_common_name(0x0c, b"c.test"), "c.test"),
        csr(
            "a common name of words",
            |p| p.with_common_name(0x0c, b"A Company"),
            "no order can have",
        ),
        csr("a common name of no UTF-8", |p| p.with_common_name(0x0c, b"\xff\xfe"), "common name"),
        csr("a common name of odd UTF-16", |p| p.with_common_name(0x1e, b"a"), "common name"),
        csr("a common name that is a number", |p| p.with_common_name(0x02, &[1]), "common name"),
        csr(
            "a common name with a zero",
            |p| p.with_common_name(0x0c, b"a.test\0"),
            "no order can have",
        ),
        csr(
            "two thousand names",
            |p| {
                let names = (0..2000).map(|n| value(DNS_NAME, format!("n{n}.test").as_bytes()));
                p.with_names(&names.collect::<Vec<_>>());
            },
            "does not have these names",
        ),
        csr(
            "a huge request",
            |p| p.attributes.push(sequence(&[oid("1.2.3.4"), set(&[value(0x04, &[0; 70_000])])])),
            "longer than",
        ),
    ]
}

/// Changes the DER of a right request.
type Break = fn(Vec<u8>) -> Vec<u8>;

fn broken() -> Vec<(&'static str, Break)> {
    vec![
        ("nothing", |_| Vec::new()),
        ("text", |_| b"please".to_vec()),
        ("PEM", |_| b"-----BEGIN CERTIFICATE REQUEST-----".to_vec()),
        ("a byte", |_| vec![0x30]),
        ("a byte less", |der| der[..der.len() - 1].to_vec()),
        ("a byte more", |der| [der, vec![0]].concat()),
        ("twice", |der| der.repeat(2)),
        ("a length of BER", |der| [&[0x30, 0x80], &der[4..], &[0, 0]].concat()),
        ("a length beyond all", |der| [&[0x30, 0x88, 0x7f][..], &[0xff; 7], &der[4..]].concat()),
        ("deep", |_| [0x30, 0x80].repeat(5000)),
        ("a certificate", |_| {
            harness::Issuer::root("root", keys::p256()).certificate.to_der().unwrap()
        }),
    ]
}

#[tokio::test]
async fn a_request_that_cannot_be_honoured_is_a_bad_csr_and_the_order_stays_ready() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let account_key = client.key.private.clone();
    let other_key = server.account("ca").await.key.private;
    let order = client.order(&["a.test", "b.test"]).await.prove("http-01").await;
    assert_eq!(order.object["status"], "ready");
    let (url, finalize) = (order.url, order.object["finalize"].as_str().unwrap().to_owned());
    let victim = Victim::new(server).await;
    let right = || Parts::new(&["a.test", "b.test"]);
    let mut wrong = Vec::new();
    for (refusal, bend) in rows() {
        let mut parts = right();
        bend(&mut parts);
        wrong.push((refusal, parts.der()));
    }
    for (why, bend) in broken() {
        let refusal = row("RFC 2986 §4", why, (), (400, "badCSR", "PKCS #10")).0;
        wrong.push((refusal, bend(right().der())));
    }
    for (why, key) in [("the account's key", account_key), ("another account's key", other_key)] {
        let mut parts = right();
        parts.with_key(key, ecdsa());
        let answer = (400, "badCSR", "an account's key");
        wrong.push((row("§11.1", why, (), answer).0, parts.der()));
    }
    for (refusal, der) in wrong {
        let answer = client.post(&finalize, &json!({ "csr": base64url(der) })).await;
        refusal.check(&answer);
    }
    assert_eq!(client.post_as_get(&url).await.expect(200).json()["status"], "ready");
    victim.is_unharmed(&mut client).await;
    // What the rows bend would be right.
    let answer = client.post(&finalize, &json!({ "csr": base64url(right().der()) })).await;
    assert_eq!(answer.expect(200).json()["status"], "valid");
}
