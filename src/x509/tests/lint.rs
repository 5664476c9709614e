//! Each field altered in turn: the lint names what is wrong and lets nothing through.

use der::asn1::{Any, BitString, OctetString};
use der::{Decode, Encode, Sequence};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::time::Validity;

use super::*;
use crate::x509::extensions;
use crate::x509::lint::LintError;
use crate::x509::profile::ExtendedKeyUsage;

const SAN: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
const KEY_USAGE: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_KEY_USAGE;
const EXTENDED_KEY_USAGE: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_EXT_KEY_USAGE;
const BASIC_CONSTRAINTS: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_BASIC_CONSTRAINTS;
const SUBJECT_KEY: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER;
const AUTHORITY_KEY: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER;
const CRL: ObjectIdentifier = const_oid::db::rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS;
const AUTHORITY: ObjectIdentifier = const_oid::db::rfc5280::ID_PE_AUTHORITY_INFO_ACCESS;

/// A `TBSCertificate` with every field open.
#[derive(Clone, Sequence)]
struct Open {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    serial: Any,
    signature: AlgorithmIdentifierOwned,
    issuer: Any,
    validity: Any,
    subject: Any,
    public_key: Any,
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    issuer_unique_id: Option<BitString>,
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT", optional = "true")]
    subject_unique_id: Option<BitString>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

impl Open {
    fn extension(&mut self, oid: ObjectIdentifier) -> &mut Extension {
        let list = self.extensions.as_mut().unwrap();
        list.iter_mut().find(|extension| extension.extn_id == oid).unwrap()
    }

    fn put(&mut self, new: Extension) {
        let oid = new.extn_id;
        *self.extension(oid) = new;
    }

    fn value(&mut self, oid: ObjectIdentifier, value: &[u8]) {
        self.extension(oid).extn_value = OctetString::new(value).unwrap();
    }

    fn remove(&mut self, oid: ObjectIdentifier) {
        self.extensions.as_mut().unwrap().retain(|extension| extension.extn_id != oid);
    }

    fn names(&mut self, names: &[&str], addresses: &[std::net::IpAddr]) {
        let names = super::names(names);
        let addresses = addresses.iter().copied();
        self.put(
            extensions::subject_alt_name(names.iter(), addresses, [].into_iter(), true).unwrap(),
        );
    }

    fn validity(&mut self, not_before_s: i64, not_after_s: i64) {
        let time = |s: i64| {
            let since_epoch = std::time::Duration::from_secs(u64::try_from(s).unwrap());
            der::DateTime::from_unix_duration(since_epoch).unwrap().into()
        };
        let validity: Validity = Validity::new(time(not_before_s), time(not_after_s));
        self.validity = Any::encode_from(&validity).unwrap();
    }
}

type Alter = fn(&mut Open);

fn integer(bytes: &[u8]) -> Any {
    Any::new(der::Tag::Integer, bytes).unwrap()
}

fn name(text: &str) -> Any {
    Any::from_der(&text.parse::<Name>().unwrap().to_der().unwrap()).unwrap()
}

#[test]
fn each_altered_field_of_a_leaf_is_caught() {
    use LintError as E;
    let ca = Ca::below_root(&Key::p256(), &Key::p256());
    let mut profile = Profile::tls_server(90 * DAY_S);
    profile.crl_distribution_point = Some("http://ca.test/crl".to_owned());
    profile.authority_information.ca_issuers = Some("http://ca.test/issuer".to_owned());
    let key = Key::p256();
    let dns_names = names(&["a.test", "b.test"]);
    let leaf = ca.leaf(&profile, &key.public, &dns_names);
    let der = leaf.tbs(NOW_S).unwrap().der;
    assert!(lint(der.clone(), &leaf).is_ok());
    let open = Open::from_der(&der).unwrap();
    assert_eq!(open.to_der().unwrap(), der, "the tool itself alters nothing");

    let table: &[(&str, Alter, LintError)] = &[
        ("version 1", |tbs| tbs.version = None, E::Version),
        ("version 2", |tbs| tbs.version = Some(1), E::Version),
        ("explicit version 1", |tbs| tbs.version = Some(0), E::NotCanonical),
        ("another serial", |tbs| tbs.serial = integer(&[0x42; 20]), E::Serial),
        ("short serial", |tbs| tbs.serial = integer(&[0x41]), E::Serial),
        ("negative serial", |tbs| tbs.serial = integer(&[0xc1; 20]), E::Serial),
        ("zero serial", |tbs| tbs.serial = integer(&[0]), E::Serial),
        (
            "another signature algorithm",
            |tbs| tbs.signature = SignatureAlgorithm::Ecdsa(Hash::Sha384).identifier(),
            E::Algorithm,
        ),
        (
            "parameters where none are",
            |tbs| tbs.signature.parameters = Some(Any::null()),
            E::Algorithm,
        ),
        ("another issuer", |tbs| tbs.issuer = name("CN=Test Issuing CA"), E::Issuer),
        (
            "the issuer in other string types",
            |tbs| {
                let utf8_to_printable = |byte: &u8| if *byte == 0x0c { 0x13 } else { *byte };
                let value: Vec<u8> = tbs.issuer.value().iter().map(utf8_to_printable).collect();
                tbs.issuer = Any::new(der::Tag::Sequence, value).unwrap();
            },
            E::Issuer,
        ),
        ("begins before the CA", |tbs| tbs.validity(NOW_S - 2 * DAY_S, NOW_S), E::OutsideIssuer),
        (
            "ends after the CA",
            |tbs| tbs.validity(NOW_S + 3648 * DAY_S, NOW_S + 3649 * DAY_S),
            E::OutsideIssuer,
        ),
        ("a second too long", |tbs| tbs.validity(NOW_S, NOW_S + 90 * DAY_S), E::Validity),
        ("back to front", |tbs| tbs.validity(NOW_S, NOW_S - 1), E::Validity),
        (
            "GeneralizedTime too early",
            |tbs| {
                let validity = b"\x18\x0f20270115080000Z\x18\x0f20270116080000Z";
                tbs.validity = Any::new(der::Tag::Sequence, &validity[..]).unwrap();
            },
            E::NotCanonical,
        ),
        ("a subject", |tbs| tbs.subject = name("CN=a.test"), E::Subject),
        (
            "another key",
            |tbs| tbs.public_key = Any::from_der(Key::p256().public.spki()).unwrap(),
            E::PublicKey,
        ),
        (
            "an issuer unique identifier",
            |tbs| tbs.issuer_unique_id = Some(BitString::from_bytes(&[1]).unwrap()),
            E::UniqueIdentifier,
        ),
        (
            "a subject unique identifier",
            |tbs| tbs.subject_unique_id = Some(BitString::from_bytes(&[1]).unwrap()),
            E::UniqueIdentifier,
        ),
        ("no extensions", |tbs| tbs.extensions = None, E::MissingExtension("subjectAltName")),
        ("no SAN", |tbs| tbs.remove(SAN), E::MissingExtension("subjectAltName")),
        ("no KU", |tbs| tbs.remove(KEY_USAGE), E::MissingExtension("keyUsage")),
        ("no EKU", |tbs| tbs.remove(EXTENDED_KEY_USAGE), E::MissingExtension("extKeyUsage")),
        ("no BC", |tbs| tbs.remove(BASIC_CONSTRAINTS), E::MissingExtension("basicConstraints")),
        ("no SKI", |tbs| tbs.remove(SUBJECT_KEY), E::MissingExtension("subjectKeyIdentifier")),
        ("no AKI", |tbs| tbs.remove(AUTHORITY_KEY), E::MissingExtension("authorityKeyIdentifier")),
        ("no CDP", |tbs| tbs.remove(CRL), E::MissingExtension("cRLDistributionPoints")),
        ("no AIA", |tbs| tbs.remove(AUTHORITY), E::MissingExtension("authorityInfoAccess")),
        (
            "SAN not critical",
            |tbs| tbs.extension(SAN).critical = false,
            E::Criticality("subjectAltName"),
        ),
        (
            "KU not critical",
            |tbs| tbs.extension(KEY_USAGE).critical = false,
            E::Criticality("keyUsage"),
        ),
        (
            "AKI critical",
            |tbs| tbs.extension(AUTHORITY_KEY).critical = true,
            E::Criticality("authorityKeyIdentifier"),
        ),
        ("a name less", |tbs| tbs.names(&["a.test"], &[]), E::Extension("subjectAltName")),
        (
            "a name more",
            |tbs| tbs.names(&["a.test", "b.test", "c.test"], &[]),
            E::Extension("subjectAltName"),
        ),
        (
            "a name twice",
            |tbs| tbs.names(&["a.test", "a.test", "b.test"], &[]),
            E::Extension("subjectAltName"),
        ),
        (
            "a name in capitals",
            |tbs| tbs.names(&["A.test", "b.test"], &[]),
            E::Name("A.test".to_owned()),
        ),
        (
            "an address more",
            |tbs| tbs.names(&["a.test", "b.test"], &[[127, 0, 0, 1].into()]),
            E::Extension("subjectAltName"),
        ),
        (
            "a name of another type",
            |tbs| tbs.value(SAN, &[&[0x30, 8, 0x81, 6][..], b"a@test"].concat()),
            E::Extension("subjectAltName"),
        ),
        (
            "an address of five octets",
            |tbs| tbs.value(SAN, &[0x30, 7, 0x87, 5, 1, 2, 3, 4, 5]),
            E::Extension("subjectAltName"),
        ),
        ("garbage", |tbs| tbs.value(SAN, b"garbage"), E::Extension("subjectAltName")),
        (
            "an RSA key's usage",
            |tbs| {
                tbs.put(
                    extensions::key_usage(extensions::leaf_key_usages(KeyType::Rsa(2048))).unwrap(),
                )
            },
            E::Extension("keyUsage"),
        ),
        (
            "a CA's usage",
            |tbs| tbs.put(extensions::key_usage(extensions::ca_key_usages()).unwrap()),
            E::Extension("keyUsage"),
        ),
        (
            "usage with zero bits at its end",
            |tbs| tbs.value(KEY_USAGE, &[3, 2, 0, 0x80]),
            E::Extension("keyUsage"),
        ),
        (
            "clientAuth too",
            |tbs| {
                let both = ExtendedKeyUsage { server_auth: true, client_auth: true };
                tbs.put(extensions::extended_key_usage(both).unwrap().unwrap());
            },
            E::Extension("extKeyUsage"),
        ),
        (
            "clientAuth instead",
            |tbs| {
                let client = ExtendedKeyUsage { server_auth: false, client_auth: true };
                tbs.put(extensions::extended_key_usage(client).unwrap().unwrap());
            },
            E::Extension("extKeyUsage"),
        ),
        (
            "any usage",
            |tbs| tbs.value(EXTENDED_KEY_USAGE, &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0]),
            E::Extension("extKeyUsage"),
        ),
        (
            "a CA",
            |tbs| tbs.put(extensions::basic_constraints(Some(None)).unwrap()),
            E::Extension("basicConstraints"),
        ),
        (
            "a path length",
            |tbs| tbs.value(BASIC_CONSTRAINTS, &[0x30, 3, 2, 1, 0]),
            E::Extension("basicConstraints"),
        ),
        (
            "CA:FALSE spelled out",
            |tbs| tbs.value(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0]),
            E::Extension("basicConstraints"),
        ),
        (
            "another key's identifier",
            |tbs| tbs.put(extensions::subject_key_identifier(&[7; 20]).unwrap()),
            E::Extension("subjectKeyIdentifier"),
        ),
        (
            "another authority's identifier",
            |tbs| tbs.put(extensions::authority_key_identifier(&[1; 20]).unwrap()),
            E::Extension("authorityKeyIdentifier"),
        ),
        (
            "another CRL",
            |tbs| tbs.put(extensions::crl_distribution_point("http://ca.test/other").unwrap()),
            E::Extension("cRLDistributionPoints"),
        ),
        (
            "another authority URL",
            |tbs| {
                let urls = AuthorityInformation {
                    ca_issuers: None,
                    ocsp: Some("http://ca.test/issuer".to_owned()),
                };
                tbs.put(extensions::authority_information(&urls).unwrap().unwrap());
            },
            E::Extension("authorityInfoAccess"),
        ),
        (
            "an unknown extension",
            |tbs| {
                let mut extension = tbs.extension(SAN).clone();
                extension.extn_id = ObjectIdentifier::new_unwrap("1.2.3.4");
                tbs.extensions.as_mut().unwrap().push(extension);
            },
            E::UnknownExtension("1.2.3.4".to_owned()),
        ),
        (
            "an extension twice",
            |tbs| {
                let extension = tbs.extension(SAN).clone();
                tbs.extensions.as_mut().unwrap().push(extension);
            },
            E::SecondExtension(SAN.to_string()),
        ),
    ];
    for (what, alter, error) in table {
        let mut altered = open.clone();
        alter(&mut altered);
        let altered = altered.to_der().unwrap();
        assert_ne!(altered, der, "{what}");
        match lint(altered, &leaf) {
            Ok(_) => panic!("{what} went through"),
            Err(errors) => assert!(
                errors.contains(error) || errors == [E::Malformed],
                "{what}: expected {error:?}, found {errors:?}"
            ),
        }
    }
}

#[test]
fn bytes_that_are_no_tbs_are_malformed() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(DAY_S);
    let dns_names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &ca.key.public, &dns_names);
    let good = leaf.tbs(NOW_S).unwrap().der;
    let mut trailing = good.clone();
    trailing.push(0);
    let certificate = ca.issue(&leaf);
    for bad in [Vec::new(), b"garbage".to_vec(), trailing, good[1..].to_vec(), certificate] {
        assert_eq!(lint(bad, &leaf).err(), Some(vec![LintError::Malformed]));
    }
}

#[test]
fn a_certificate_for_another_expectation_is_refused() {
    let ca = Ca::root(&Key::p256());
    let other = Ca::root(&Key::p256());
    let key = Key::p256();
    let profile = Profile::tls_server(DAY_S);
    let dns_names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &key.public, &dns_names);
    let der = leaf.tbs(NOW_S).unwrap().der;
    let errors = |expected: Leaf<'_>| lint(der.clone(), &expected).err().unwrap_or_default();

    let namesake = Leaf { issuer: other.chain.issuer(), ..leaf };
    assert_eq!(errors(namesake), [LintError::Extension("authorityKeyIdentifier")]);
    let elsewhere =
        Profile { crl_distribution_point: Some("http://c".to_owned()), ..profile.clone() };
    let elsewhere = Leaf { profile: &elsewhere, ..leaf };
    assert_eq!(errors(elsewhere), [LintError::MissingExtension("cRLDistributionPoints")]);
    let common_name = Profile { common_name: true, ..profile.clone() };
    assert_eq!(errors(Leaf { profile: &common_name, ..leaf }), [LintError::Subject]);
    assert_eq!(errors(Leaf { serial: serial(2), ..leaf }), [LintError::Serial]);
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    assert_eq!(errors(Leaf { algorithm, ..leaf }), [LintError::Algorithm]);
    let addresses = [[127, 0, 0, 1].into()];
    let with_address = Leaf { ip_addresses: &addresses, ..leaf };
    assert_eq!(errors(with_address), [LintError::Extension("subjectAltName")]);
}

#[test]
fn a_weak_key_and_a_bad_name_are_refused_even_where_they_are_expected() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(DAY_S);
    let (weak, dns_names) = (Key::rsa(1024), names(&["a_b.test"]));
    let leaf = ca.leaf(&profile, &weak.public, &dns_names);
    let errors = lint(leaf.tbs(NOW_S).unwrap().der, &leaf).unwrap_err();
    assert!(errors.iter().any(|error| matches!(error, LintError::WeakKey(_))), "{errors:?}");
    assert!(errors.contains(&LintError::Name("a_b.test".to_owned())), "{errors:?}");
}

#[test]
fn an_address_is_no_dns_name_and_an_underscore_only_where_the_profile_has_it() {
    let ca = Ca::root(&Key::p256());
    let key = Key::p256();
    let strict = Profile::tls_server(DAY_S);
    let lenient = Profile { underscores: true, ..strict.clone() };
    let linted = |profile: &Profile, name: &str| {
        let dns_names = names(&[name]);
        let leaf = ca.leaf(profile, &key.public, &dns_names);
        lint(leaf.tbs(NOW_S).unwrap().der, &leaf).map(drop)
    };
    for address in ["192.0.2.1", "2001:db8::1"] {
        for profile in [&strict, &lenient] {
            assert_eq!(linted(profile, address), Err(vec![LintError::Name(address.to_owned())]));
        }
    }
    assert_eq!(linted(&strict, "_a.test"), Err(vec![LintError::Name("_a.test".to_owned())]));
    assert_eq!(linted(&lenient, "_a.test"), Ok(()));
}

#[test]
fn each_altered_field_of_a_ca_certificate_is_caught() {
    use LintError as E;
    let (root_key, key) = (Key::p256(), Key::p256());
    let root = Ca::root(&root_key);
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: Some(root.chain.issuer()),
        algorithm: root_key.algorithm(),
        subject: &subject("CN=New CA"),
        path_len: Some(0),
        serial: serial(5),
        public_key: &key.public,
        key_identifier: None,
        not_before_s: NOW_S,
        validity_s: 365 * DAY_S,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    let der = request.tbs().unwrap().der;
    assert!(lint_ca(der.clone(), &request).is_ok());
    let open = Open::from_der(&der).unwrap();
    let table: &[(&str, Alter, LintError)] = &[
        ("another subject", |tbs| tbs.subject = name("CN=Old CA"), E::Subject),
        ("no subject", |tbs| tbs.subject = Any::new(der::Tag::Sequence, []).unwrap(), E::Subject),
        ("another issuer", |tbs| tbs.issuer = tbs.subject.clone(), E::Issuer),
        (
            "no path length",
            |tbs| tbs.put(extensions::basic_constraints(Some(None)).unwrap()),
            E::Extension("basicConstraints"),
        ),
        (
            "a longer path",
            |tbs| tbs.put(extensions::basic_constraints(Some(Some(1))).unwrap()),
            E::Extension("basicConstraints"),
        ),
        (
            "no CA",
            |tbs| tbs.put(extensions::basic_constraints(None).unwrap()),
            E::Extension("basicConstraints"),
        ),
        (
            "a leaf's usage",
            |tbs| {
                tbs.put(
                    extensions::key_usage(extensions::leaf_key_usages(KeyType::EcP256)).unwrap(),
                )
            },
            E::Extension("keyUsage"),
        ),
        (
            "a subjectAltName",
            |tbs| {
                let name = names(&["a.test"]);
                let san = extensions::subject_alt_name(
                    name.iter(),
                    [].into_iter(),
                    [].into_iter(),
                    false,
                )
                .unwrap();
                tbs.extensions.as_mut().unwrap().push(san);
            },
            E::UnknownExtension(SAN.to_string()),
        ),
        (
            "its own key as authority",
            |tbs| {
                let own = tbs.extension(SUBJECT_KEY).extn_value.as_bytes()[2..].to_vec();
                tbs.put(extensions::authority_key_identifier(&own).unwrap());
            },
            E::Extension("authorityKeyIdentifier"),
        ),
        ("too long", |tbs| tbs.validity(NOW_S, NOW_S + 365 * DAY_S), E::Validity),
        (
            "outside its issuer",
            |tbs| tbs.validity(NOW_S - 2 * DAY_S, NOW_S + DAY_S),
            E::OutsideIssuer,
        ),
    ];
    for (what, alter, error) in table {
        let mut altered = open.clone();
        alter(&mut altered);
        let errors = lint_ca(altered.to_der().unwrap(), &request).err().unwrap_or_default();
        assert!(errors.contains(error), "{what}: expected {error:?}, found {errors:?}");
    }
    assert!(lint(der, &root.leaf(&Profile::tls_server(DAY_S), &key.public, &[])).is_err());
}
