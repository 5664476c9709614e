//! Name constraints of a CA (RFC 5280 §4.2.1.10).

use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::x509::X509Extension;

use super::*;
use crate::x509::issuer::IssuerError;
use crate::x509::name_constraints::{NameConstraints, Violation};

fn constraints(permitted: &[(u8, &[u8])], excluded: &[(u8, &[u8])]) -> Vec<u8> {
    use harness::der::{sequence, value};
    let subtrees = |tag, list: &[(u8, &[u8])]| {
        let list: Vec<_> = list.iter().map(|(tag, name)| sequence(&[value(*tag, name)])).collect();
        if list.is_empty() { Vec::new() } else { value(tag, &list.concat()) }
    };
    sequence(&[subtrees(0xa0, permitted), subtrees(0xa1, excluded)])
}

const DNS: u8 = 0x82;
const IP: u8 = 0x87;
const DIRECTORY: u8 = 0xa4;

/// A root with these constraints on what it issues.
fn root(key: &Key, der: &[u8]) -> Result<IssuerCertificate, IssuerError> {
    let root = chain::foreign(key, "narrow", |builder| {
        let basic = openssl::x509::extension::BasicConstraints::new().critical().ca().build();
        builder.append_extension(basic.unwrap()).unwrap();
        let oid = Asn1Object::from_str("2.5.29.30").unwrap();
        let value = Asn1OctetString::new_from_bytes(der).unwrap();
        let extension = X509Extension::new_from_der(&oid, true, &value).unwrap();
        builder.append_extension(extension).unwrap();
    });
    IssuerCertificate::from_der(&root)
}

fn read(der: &[u8]) -> Result<Option<NameConstraints>, IssuerError> {
    root(&Key::p256(), der).map(|root| root.name_constraints().cloned())
}

fn good(permitted: &[(u8, &[u8])], excluded: &[(u8, &[u8])]) -> NameConstraints {
    read(&constraints(permitted, excluded)).unwrap().unwrap()
}

#[test]
fn names_are_within_the_permitted_and_outside_the_excluded_subtrees() {
    let of = good(
        &[(DNS, b"A.test"), (DNS, b".b.test")],
        &[(DNS, b"no.a.test"), (DNS, b"deep.no.b.test")],
    );
    for name in ["a.test", "x.a.test", "y.x.a.test", "x.b.test", "*.b.test", "*.x.a.test"] {
        assert_eq!(of.check_dns(name), Ok(()), "{name}");
    }
    for name in ["b.test", "xa.test", "test", "c.test", "*.test", "a.test.x"] {
        assert!(matches!(of.check_dns(name), Err(Violation::NotPermitted(_))), "{name}");
    }
    // A wildcard is good for a name that is left out.
    for name in ["no.a.test", "x.no.a.test", "*.no.a.test", "*.a.test", "*.no.b.test"] {
        assert!(matches!(of.check_dns(name), Err(Violation::Excluded(_))), "{name}");
    }
    assert_eq!(of.check_ip([10, 0, 0, 1].into()), Ok(()), "no network is constrained");
}

#[test]
fn a_subtree_without_a_name_is_all_names() {
    let none = good(&[], &[(DNS, b"")]);
    assert_eq!(none.check_dns("a.test"), Err(Violation::Excluded("\"\"".to_owned())));
    assert_eq!(good(&[(DNS, b"")], &[]).check_dns("a.test"), Ok(()));
}

#[test]
fn addresses_are_compared_under_their_mask_and_with_their_own_kind() {
    let of = good(&[(IP, &[10, 0, 0, 0, 255, 0, 0, 0])], &[(IP, &[10, 9, 0, 0, 255, 255, 0, 0])]);
    assert_eq!(of.check_ip([10, 1, 2, 3].into()), Ok(()));
    let said = |address: [u8; 4]| of.check_ip(address.into()).unwrap_err().to_string();
    assert_eq!(said([11, 0, 0, 1]), "permitted 10.0.0.0/255.0.0.0");
    assert_eq!(said([10, 9, 0, 1]), "excluded 10.9.0.0/255.255.0.0");
    assert!(of.check_ip("fd00::1".parse().unwrap()).is_err());
    assert_eq!(of.check_dns("a.test"), Ok(()));
    let six = [[0xfd_u8; 16], [0xff; 16]].concat();
    let six = good(&[(IP, &six)], &[]);
    assert_eq!(six.check_ip([0xfd_u8; 16].into()), Ok(()));
    assert!(six.check_ip("fd00::1".parse().unwrap()).is_err());
}

#[test]
fn what_nobody_could_rely_on_makes_no_ca() {
    use harness::der::{sequence, value};
    let with_minimum =
        sequence(&[value(0xa0, &sequence(&[value(DNS, b"a.test"), value(0x80, &[1])]))]);
    let with_maximum =
        sequence(&[value(0xa0, &sequence(&[value(DNS, b"a.test"), value(0x81, &[1])]))]);
    let short = constraints(&[(IP, &[10, 0, 0, 0])], &[]);
    for der in [with_minimum, with_maximum, short, vec![0x30, 3, 1, 1, 1], vec![0x05, 0]] {
        assert_eq!(read(&der), Err(IssuerError::Extension("nameConstraints")), "{der:02x?}");
    }
}

#[test]
fn the_lint_lets_no_name_pass_that_the_issuer_leaves_out() {
    let directory = [0x30, 0];
    for (permitted, dns, common_name, passes) in [
        ((DNS, &b"a.test"[..]), "x.a.test", false, true),
        ((DNS, b"a.test"), "b.test", false, false),
        ((IP, &[10, 0, 0, 0, 255, 0, 0, 0]), "b.test", false, true),
        ((DIRECTORY, &directory), "b.test", false, true),
        ((DIRECTORY, &directory), "b.test", true, false),
    ] {
        let der = constraints(&[permitted], &[]);
        let key = Key::p256();
        let root = root(&key, &der).unwrap();
        let ca = Ca { key, chain: Chain::new(vec![root]).unwrap() };
        let profile = Profile { common_name, ..Profile::tls_server(DAY_S) };
        let leaf_key = Key::p256();
        let names = names(&[dns]);
        let leaf = ca.leaf(&profile, &leaf_key.public, &names);
        let tbs = leaf.tbs(NOW_S).unwrap();
        let linted = lint(tbs.der, &leaf);
        assert_eq!(linted.is_ok(), passes, "{permitted:?} {dns} {common_name}: {linted:?}");
    }
}
