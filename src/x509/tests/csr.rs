//! CSRs as clients make them, and as they should not.

use der::asn1::{Any, BitString, Ia5String, OctetString, SetOfVec};
use der::{Decode, Encode, Tag};
use openssl::x509::{X509NameBuilder, X509Req};
use proptest::prelude::*;
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo};

use super::*;
use crate::x509::algorithm::KeyError;
use crate::x509::csr::{CertificateRequest, CsrError};
use crate::x509::weak_key::WeakKey;

const SAN: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
const BASIC_CONSTRAINTS: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_BASIC_CONSTRAINTS;
const KEY_USAGE: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_KEY_USAGE;
const EXTENSION_REQUEST: ObjectIdentifier = const_oid::db::rfc5912::ID_EXTENSION_REQ;
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

type SignCsr<'a> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'a>;

/// A CSR in the making: anything may be put into it, and it is signed all the same.
struct Maker<'a> {
    key: &'a Key,
    algorithm: AlgorithmIdentifierOwned,
    sign: SignCsr<'a>,
    common_names: Vec<Any>,
    attributes: Vec<Attribute>,
}

impl<'a> Maker<'a> {
    fn new(key: &'a Key) -> Self {
        let algorithm = key.algorithm();
        Self {
            key,
            algorithm: algorithm.identifier(),
            sign: Box::new(move |message| key.sign_as(algorithm, message)),
            common_names: Vec::new(),
            attributes: Vec::new(),
        }
    }

    fn signed(
        mut self,
        algorithm: AlgorithmIdentifierOwned,
        sign: impl Fn(&[u8]) -> Vec<u8> + 'a,
    ) -> Self {
        self.algorithm = algorithm;
        self.sign = Box::new(sign);
        self
    }

    fn common_name(mut self, tag: Tag, bytes: &[u8]) -> Self {
        self.common_names.push(Any::new(tag, bytes).unwrap());
        self
    }

    fn attribute(mut self, oid: ObjectIdentifier, values: Vec<Any>) -> Self {
        self.attributes.push(Attribute { oid, values: SetOfVec::try_from(values).unwrap() });
        self
    }

    fn extensions(self, list: Vec<(ObjectIdentifier, Vec<u8>)>) -> Self {
        let list = extension_list(list);
        self.attribute(EXTENSION_REQUEST, vec![list])
    }

    fn names(self, names: &[&str]) -> Self {
        self.extensions(vec![(SAN, dns_names(names))])
    }

    fn der(self) -> Vec<u8> {
        let rdns = self.common_names.iter().map(|value| {
            let oid = const_oid::db::rfc4519::COMMON_NAME;
            let attribute = AttributeTypeAndValue { oid, value: value.clone() };
            SetOfVec::try_from([attribute]).unwrap()
        });
        let subject = rdns.collect::<Vec<_>>().to_der().unwrap();
        let info = CertReqInfo {
            version: Default::default(),
            subject: Name::from_der(&subject).unwrap(),
            public_key: Decode::from_der(self.key.public.spki()).unwrap(),
            attributes: SetOfVec::try_from(self.attributes.clone()).unwrap(),
        };
        let algorithm = self.algorithm;
        let signature = (self.sign)(&info.to_der().unwrap());
        let signature = BitString::from_bytes(&signature).unwrap();
        CertReq { info, algorithm, signature }.to_der().unwrap()
    }

    fn read(self) -> Result<CertificateRequest, CsrError> {
        CertificateRequest::from_der(&self.der())
    }
}

fn identifier(oid: &str, parameters: Option<Any>) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters }
}

fn extension_list(list: Vec<(ObjectIdentifier, Vec<u8>)>) -> Any {
    let extension = |(extn_id, value): (ObjectIdentifier, Vec<u8>)| Extension {
        extn_id,
        critical: false,
        extn_value: OctetString::new(value).unwrap(),
    };
    let list: Vec<_> = list.into_iter().map(extension).collect();
    Any::encode_from(&list).unwrap()
}

fn dns_names(names: &[&str]) -> Vec<u8> {
    let name = |name: &&str| GeneralName::DnsName(Ia5String::new(name).unwrap());
    names.iter().map(name).collect::<Vec<_>>().to_der().unwrap()
}

/// A SEQUENCE of one `GeneralName` with this tag.
fn general_name(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    [&[0x30, length + 2, tag, length], value].concat()
}

#[test]
fn a_csr_is_read_whatever_version_it_says() {
    let private = Rsa::generate(2048).and_then(PKey::from_rsa).unwrap();
    for (version, is_read) in [(0, true), (1, true), (2, true), (3, false), (127, false)] {
        let mut builder = X509Req::builder().unwrap();
        builder.set_version(version).unwrap();
        builder.set_pubkey(&private).unwrap();
        builder.sign(&private, MessageDigest::sha256()).unwrap();
        let der = builder.build().to_der().unwrap();
        assert_eq!(CertificateRequest::from_der(&der).is_ok(), is_read, "version {version}");
    }
}

#[test]
fn names_and_key_are_read_for_every_type_of_key() {
    for key in [
        Key::rsa(2048),
        Key::rsa(3072),
        Key::p256(),
        Key::ec(Nid::SECP384R1),
        Key::ec(Nid::SECP521R1),
        Key::ed25519(),
        Key::ml_dsa(ParameterSet::MlDsa44),
        Key::ml_dsa(ParameterSet::MlDsa65),
        Key::ml_dsa(ParameterSet::MlDsa87),
    ] {
        let der = Maker::new(&key).names(&["B.test", "a.test", "*.a.test"]).der();
        let request = CertificateRequest::from_der(&der).unwrap();
        assert_eq!(request.dns_names(), ["B.test", "a.test", "*.a.test"], "as written");
        assert_eq!(request.public_key(), &key.public);
        assert!(request.common_names().is_empty());
    }
}

#[test]
fn a_csr_that_openssl_makes_is_read() {
    let key = Key::rsa(2048);
    let mut builder = X509Req::builder().unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("O", "Somebody").unwrap();
    name.append_entry_by_text("CN", "a.test").unwrap();
    builder.set_subject_name(&name.build()).unwrap();
    builder.set_pubkey(key.openssl()).unwrap();
    builder.sign(key.openssl(), MessageDigest::sha512()).unwrap();
    let request = CertificateRequest::from_der(&builder.build().to_der().unwrap()).unwrap();
    assert_eq!(request.common_names(), ["a.test"]);
    assert!(request.dns_names().is_empty());
}

#[test]
fn what_a_csr_may_ask_for_in_vain_is_left_unread() {
    let key = Key::p256();
    let request = Maker::new(&key)
        .attribute(CHALLENGE_PASSWORD, vec![Any::new(Tag::Utf8String, &b"secret"[..]).unwrap()])
        .attribute(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.13.2.3"), vec![Any::null()])
        .extensions(vec![
            (KEY_USAGE, vec![0x03, 0x02, 0x02, 0x04]),
            (BASIC_CONSTRAINTS, vec![0x30, 0x00]),
            (ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24"), vec![0x30, 3, 2, 1, 5]),
            (ObjectIdentifier::new_unwrap("1.2.3.4"), b"anything".to_vec()),
            (SAN, dns_names(&["a.test"])),
        ])
        .read();
    assert_eq!(request.unwrap().dns_names(), ["a.test"]);
    let explicit_false = vec![0x30, 0x03, 0x01, 0x01, 0x00];
    let request = Maker::new(&key).extensions(vec![(BASIC_CONSTRAINTS, explicit_false)]).read();
    assert!(request.is_ok(), "CA:FALSE spelled out, as some clients do");
}

#[test]
fn common_names_are_read_in_every_string_type_and_empty_ones_passed_over() {
    let key = Key::p256();
    let request = Maker::new(&key)
        .common_name(Tag::Utf8String, b"a.test")
        .common_name(Tag::Utf8String, b"")
        .common_name(Tag::PrintableString, b"b.test")
        .common_name(Tag::Ia5String, b"c.test")
        .common_name(Tag::TeletexString, b"d.test")
        .common_name(Tag::BmpString, b"\0e\0.\0t")
        .read();
    assert_eq!(request.unwrap().common_names(), ["a.test", "b.test", "c.test", "d.test", "e.t"]);
    for (tag, bytes) in [
        (Tag::Utf8String, &b"\xff"[..]),
        (Tag::BmpString, b"\0e\0"),
        (Tag::BmpString, b"\xd8\0\0a"),
        (Tag::OctetString, b"a.test"),
    ] {
        let refused = Maker::new(&key).common_name(tag, bytes).read();
        // OpenSSL itself refuses some of them.
        let expected = [Err(CsrError::CommonName), Err(CsrError::Malformed)];
        assert!(expected.contains(&refused), "{tag} {bytes:?}: {refused:?}");
    }
}

#[test]
fn names_of_other_types_are_refused_by_their_type() {
    let key = Key::p256();
    let unreadable = CsrError::Extension("subjectAltName");
    for (san, error) in [
        (general_name(0xa0, &[6, 1, 42, 0xa0, 2, 5, 0]), CsrError::NameType("otherName")),
        (general_name(0x81, b"a@a.test"), CsrError::NameType("rfc822Name (e-mail)")),
        (general_name(0xa3, b""), CsrError::NameType("x400Address")),
        (general_name(0xa4, &[0x30, 0]), CsrError::NameType("directoryName")),
        (general_name(0xa5, b""), CsrError::NameType("ediPartyName")),
        (general_name(0x86, b"http://a.test"), CsrError::NameType("uniformResourceIdentifier")),
        (general_name(0x88, &[42]), CsrError::NameType("registeredID")),
        (general_name(0x87, &[]), unreadable.clone()),
        (general_name(0x87, &[0; 5]), unreadable.clone()),
        (general_name(0x87, &[192, 0, 2, 0, 255, 255, 255, 0]), unreadable.clone()),
        (general_name(0x89, b"a.test"), unreadable.clone()),
        (general_name(0x0c, b"a.test"), unreadable.clone()),
        (general_name(0x82, "ü.test".as_bytes()), unreadable.clone()),
        (vec![0x30, 0], unreadable.clone()),
        (b"garbage".to_vec(), unreadable.clone()),
        ([dns_names(&["a.test"]), vec![0]].concat(), unreadable),
    ] {
        let refused = Maker::new(&key).extensions(vec![(SAN, san.clone())]).read();
        assert_eq!(refused, Err(error), "{san:02x?}");
    }
    let mixed = [&[0x30, 11, 0x82, 6][..], b"a.test", &[0x88, 1, 42]].concat();
    let refused = Maker::new(&key).extensions(vec![(SAN, mixed)]).read();
    assert_eq!(refused, Err(CsrError::NameType("registeredID")), "beside a good name");
}

#[test]
fn ip_addresses_are_read_beside_dns_names() {
    let key = Key::p256();
    let mixed = [&[0x30, 32, 0x82, 6][..], b"a.test", &[0x87, 4, 1, 2, 3, 4, 0x87, 16], &[1; 16]];
    let request = Maker::new(&key).extensions(vec![(SAN, mixed.concat())]).read().unwrap();
    assert_eq!(request.dns_names(), ["a.test"]);
    let addresses: [std::net::IpAddr; 2] = [[1, 2, 3, 4].into(), [1_u8; 16].into()];
    assert_eq!(request.ip_addresses(), addresses);
}

#[test]
fn a_ca_certificate_is_not_to_be_had() {
    let key = Key::p256();
    for (constraints, error) in [
        (vec![0x30, 3, 1, 1, 0xff], CsrError::CertificateAuthority),
        (vec![0x30, 6, 1, 1, 0xff, 2, 1, 0], CsrError::CertificateAuthority),
        (vec![0x30, 3, 1, 1, 1], CsrError::Extension("basicConstraints")),
        (vec![0x05, 0], CsrError::Extension("basicConstraints")),
    ] {
        let refused = Maker::new(&key)
            .extensions(vec![(SAN, dns_names(&["a.test"])), (BASIC_CONSTRAINTS, constraints)])
            .read();
        assert_eq!(refused, Err(error));
    }
}

#[test]
fn what_is_said_twice_is_refused() {
    let key = Key::p256();
    let (a, b) = ((SAN, dns_names(&["a.test"])), (SAN, dns_names(&["b.test"])));
    let two_attributes = Maker::new(&key).extensions(vec![a.clone()]).extensions(vec![b.clone()]);
    assert_eq!(two_attributes.read(), Err(CsrError::SecondExtensionRequest));
    let two_values = vec![extension_list(vec![a.clone()]), extension_list(vec![b.clone()])];
    let two_values = Maker::new(&key).attribute(EXTENSION_REQUEST, two_values);
    assert_eq!(two_values.read(), Err(CsrError::SecondExtensionRequest));
    let two_extensions = Maker::new(&key).extensions(vec![a, b]);
    assert_eq!(two_extensions.read(), Err(CsrError::SecondExtension(SAN.to_string())));
    let no_list = Maker::new(&key).attribute(EXTENSION_REQUEST, vec![Any::null()]);
    assert_eq!(no_list.read(), Err(CsrError::Extension("list of requested extensions")));
}

#[test]
fn bad_keys_are_refused() {
    let small = Key::rsa(1024);
    let refused = Maker::new(&small).names(&["a.test"]).read();
    assert_eq!(refused, Err(CsrError::WeakKey(WeakKey::RsaSize(1024))));
    // A CSR that OpenSSL makes for a curve that no certificate of kipuka's carries.
    let group = EcGroup::from_curve_name(Nid::SECP256K1).unwrap();
    let private = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(&private).unwrap();
    builder.sign(&private, MessageDigest::sha256()).unwrap();
    let refused = CertificateRequest::from_der(&builder.build().to_der().unwrap());
    let unsupported = KeyError::Unsupported("EC secp256k1".to_owned());
    assert_eq!(refused, Err(CsrError::Key(unsupported)));
    let private = PKey::generate_ed448().unwrap();
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(&private).unwrap();
    builder.sign(&private, MessageDigest::null()).unwrap();
    let refused = CertificateRequest::from_der(&builder.build().to_der().unwrap());
    let unsupported = KeyError::Unsupported("1.3.101.113".to_owned());
    assert_eq!(refused, Err(CsrError::Key(unsupported)));
}

#[test]
fn the_signature_must_be_by_the_key_in_the_csr_and_not_with_sha_1() {
    let (key, stranger) = (Key::p256(), Key::p256());
    let mut stolen = Maker::new(&stranger);
    let substitute =
        Key { secret: stranger.secret.clone(), public: key.public.clone(), asked: None };
    stolen.key = &substitute;
    assert_eq!(stolen.names(&["a.test"]).read(), Err(CsrError::Signature));
    for key in [key, Key::rsa(2048)] {
        let mut altered = Maker::new(&key).names(&["a.test"]).der();
        let place = altered.windows(6).position(|window| window == b"a.test").unwrap();
        altered[place] = b'b';
        assert_eq!(CertificateRequest::from_der(&altered), Err(CsrError::Signature));
        let left = openssl::error::ErrorStack::get();
        assert!(left.errors().is_empty(), "TLS on this thread would stumble over {left}");
        let (oid, parameters) = match key.public.key_type() {
            KeyType::Rsa(_) => ("1.2.840.113549.1.1.5", Some(Any::null())),
            _ => ("1.2.840.10045.4.1", None),
        };
        let sha1 = identifier(oid, parameters);
        let sign = |message: &[u8]| key.sign(MessageDigest::sha1(), message);
        let refused = Maker::new(&key).signed(sha1, sign).names(&["a.test"]).read();
        assert!(matches!(refused, Err(CsrError::SignatureAlgorithm(_))), "{refused:?}");
    }
}

#[test]
fn every_signature_algorithm_is_taken_and_none_for_another() {
    let rsa = Key::rsa(2048);
    let ec = [Key::p256(), Key::ec(Nid::SECP384R1), Key::ec(Nid::SECP521R1)];
    for hash in Hash::ALL {
        let rsa = [SignatureAlgorithm::RsaPkcs1(hash), SignatureAlgorithm::RsaPss(hash)]
            .map(|algorithm| rsa.signing(algorithm));
        let ec = ec.iter().map(|key| key.signing(SignatureAlgorithm::Ecdsa(hash)));
        for key in ec.chain(rsa) {
            let read = Maker::new(&key).names(&["a.test"]).read();
            assert_eq!(read.as_ref().map(CertificateRequest::public_key), Ok(&key.public));
            let other = match hash {
                Hash::Sha256 => Hash::Sha384,
                Hash::Sha384 | Hash::Sha512 => Hash::Sha256,
            };
            let other = match key.algorithm() {
                SignatureAlgorithm::RsaPss(_) => SignatureAlgorithm::RsaPss(other),
                SignatureAlgorithm::RsaPkcs1(_) => SignatureAlgorithm::RsaPkcs1(other),
                _ => SignatureAlgorithm::Ecdsa(other),
            };
            let sign = |message: &[u8]| key.sign_as(key.algorithm(), message);
            let mislabelled = Maker::new(&key).signed(other.identifier(), sign);
            assert_eq!(mislabelled.names(&["a.test"]).read(), Err(CsrError::Signature));
        }
    }
}

/// OpenSSL's program makes the salt as long as it can, and other tools leave it out.
#[test]
fn a_pss_salt_may_have_any_length() {
    let key = Key::rsa(2048);
    for salt in [0, 20, 32, 222] {
        let der = SignatureAlgorithm::RsaPss(Hash::Sha256).identifier().to_der().unwrap();
        let digit = u8::try_from(salt).unwrap();
        // The salt's length is the last octet of the parameters; 222 takes one more.
        let mut der = der;
        assert_eq!(der.split_off(der.len() - 5), [0xa2, 3, 2, 1, 32]);
        if digit < 0x80 {
            der.extend([0xa2, 3, 2, 1, digit]);
        } else {
            der.extend([0xa2, 4, 2, 2, 0, digit]);
            // Of the identifier and of the parameters in it.
            der[1] += 1;
            der[14] += 1;
        }
        let algorithm = AlgorithmIdentifierOwned::from_der(&der).unwrap();
        let sign = |message: &[u8]| key.sign_pss(MessageDigest::sha256(), salt, message);
        let read = Maker::new(&key).signed(algorithm, sign).names(&["a.test"]).read();
        assert!(read.is_ok(), "{salt}: {read:?}");
    }
}

#[test]
fn pss_with_sha_1_or_with_two_hash_functions_is_refused() {
    let key = Key::rsa(2048);
    let pss = SignatureAlgorithm::RsaPss(Hash::Sha256).identifier();
    let whole = pss.parameters.as_ref().unwrap().to_der().unwrap();
    let mut other_mask = whole.clone();
    // The last SHA-256 is MGF1's: 2.16.840.1.101.3.4.2.1 becomes ….2.2.
    let place =
        whole.windows(9).rposition(|found| found == b"\x60\x86\x48\x01\x65\x03\x04\x02\x01");
    other_mask[place.unwrap() + 8] = 2;
    for parameters in [
        // SHA-1 for everything, and with a salt of its own length.
        Some(b"\x30\x00".to_vec()),
        None,
        Some(b"\x05\x00".to_vec()),
        Some(b"\x30\x05\xa2\x03\x02\x01\x20".to_vec()),
        // MGF1 with SHA-384, and with SHA-1 because it is absent.
        Some(other_mask),
        Some([&[0x30, 15], &whole[2..17]].concat()),
    ] {
        let parameters = parameters.map(|der| Any::from_der(&der).unwrap());
        let algorithm = AlgorithmIdentifierOwned { parameters, ..pss.clone() };
        let sign = |message: &[u8]| key.sign_pss(MessageDigest::sha256(), 32, message);
        let read = Maker::new(&key).signed(algorithm, sign).names(&["a.test"]).read();
        assert!(matches!(read, Err(CsrError::SignatureAlgorithm(_))), "{read:?}");
    }
}

/// RFC 9881 §2: the algorithm is the key's, and has no parameters.
#[test]
fn an_ml_dsa_csr_is_signed_by_its_own_key_with_its_own_algorithm() {
    for set in ParameterSet::ALL {
        let key = Key::ml_dsa(set);
        let sign = |message: &[u8]| key.sign_as(key.algorithm(), message);
        let good = key.algorithm().identifier();
        let with_null = AlgorithmIdentifierOwned { parameters: Some(Any::null()), ..good.clone() };
        let other = match set {
            ParameterSet::MlDsa65 => ParameterSet::MlDsa44,
            ParameterSet::MlDsa44 | ParameterSet::MlDsa87 => ParameterSet::MlDsa65,
        };
        let other = SignatureAlgorithm::MlDsa(other).identifier();
        let ecdsa = SignatureAlgorithm::Ecdsa(Hash::Sha256).identifier();
        for algorithm in [with_null, other, ecdsa] {
            let read = Maker::new(&key).signed(algorithm, sign).names(&["a.test"]).read();
            assert_eq!(read, Err(CsrError::Signature), "{set}");
        }
        let stranger = Key::ml_dsa(set);
        let foreign = |message: &[u8]| stranger.sign_as(key.algorithm(), message);
        let read = Maker::new(&key).signed(good.clone(), foreign).names(&["a.test"]).read();
        assert_eq!(read, Err(CsrError::Signature), "{set}");
        let short = |message: &[u8]| sign(message).split_off(1);
        let read = Maker::new(&key).signed(good, short).names(&["a.test"]).read();
        assert_eq!(read, Err(CsrError::Signature), "{set}");
        let mut altered = Maker::new(&key).names(&["a.test"]).der();
        let place = altered.windows(6).position(|window| window == b"a.test").unwrap();
        altered[place] = b'b';
        assert_eq!(CertificateRequest::from_der(&altered), Err(CsrError::Signature), "{set}");
    }
}

#[test]
fn other_bytes_than_a_csr_are_malformed() {
    let key = Key::p256();
    let good = Maker::new(&key).names(&["a.test"]).der();
    let mut trailing = good.clone();
    trailing.push(0);
    let pem = X509Req::from_der(&good).unwrap().to_pem().unwrap();
    let cut = &good[..good.len() - 1];
    for bad in [&b""[..], b"garbage", &[0x30, 0x80, 0, 0], &trailing, &pem, cut] {
        assert_eq!(CertificateRequest::from_der(bad), Err(CsrError::Malformed));
    }
    // The same with a length in more octets than it needs: BER, not DER.
    assert_eq!(good[1], 0x81, "a CSR of this key has a length of one octet");
    let long = [&[0x30, 0x82, 0x00, good[2]], &good[3..]].concat();
    assert_eq!(CertificateRequest::from_der(&long), Err(CsrError::Malformed));
    assert_eq!(CertificateRequest::from_der(&[0x30; 65_537]), Err(CsrError::TooLong));
}

#[test]
fn five_hundred_names_fit() {
    let key = Key::p256();
    let names: Vec<_> = (0..500).map(|n| format!("host-number-{n}.example.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(Maker::new(&key).names(&names).read().unwrap().dns_names().len(), 500);
}

/// One for all cases: making keys is slow.
static SAMPLE: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let key = Key::p256();
    let maker = Maker::new(&key).common_name(Tag::Utf8String, b"a.test");
    let constraints = (BASIC_CONSTRAINTS, vec![0x30, 0]);
    maker.extensions(vec![(SAN, dns_names(&["a.test", "b.test"])), constraints]).der()
});

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(CertificateRequest::from_der(&bytes).is_err());
    }

    #[test]
    fn no_alteration_passes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = SAMPLE.clone();
        for (place, change) in changes {
            bytes[place.index(SAMPLE.len())] ^= change;
        }
        if bytes != *SAMPLE {
            prop_assert!(CertificateRequest::from_der(&bytes).is_err());
        }
        bytes.truncate(cut.index(SAMPLE.len()));
        prop_assert!(CertificateRequest::from_der(&bytes).is_err());
    }

    /// The signature is right, so that everything behind it is reached.
    #[test]
    fn no_extension_makes_the_parser_panic(
        san in proptest::collection::vec(any::<u8>(), 0..60),
        constraints in proptest::collection::vec(any::<u8>(), 0..10),
        common_name in proptest::collection::vec(any::<u8>(), 0..10),
    ) {
        static KEY: std::sync::LazyLock<Key> = std::sync::LazyLock::new(Key::p256);
        let maker = Maker::new(&KEY).common_name(Tag::BmpString, &common_name);
        let mut wrapped = vec![0x30, u8::try_from(san.len()).unwrap()];
        wrapped.extend(&san);
        let _ = maker.extensions(vec![(SAN, wrapped), (BASIC_CONSTRAINTS, constraints)]).read();
    }
}
