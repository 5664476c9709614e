//! The object around a statement.

use harness::attestation::Cbor;
use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Cbor {
    Cbor::Text(text.to_owned())
}

fn refusal(object: &[u8]) -> AttestationError {
    verify(object, &Roots::default(), &expected()).unwrap_err()
}

#[test]
fn what_is_no_attestation_object_is_refused() {
    let statement = || Cbor::Map(Vec::new());
    let map = |members: &[(&str, Cbor)]| {
        let members = members.iter().map(|(name, value)| (text(name), value.clone()));
        Cbor::Map(members.collect()).encode()
    };
    let good = [("fmt", text("apple")), ("attStmt", statement())];
    let many: Vec<_> = (0..20).map(|_| Cbor::Bytes(vec![0])).collect();
    let x5c =
        |x5c| map(&[("fmt", text("apple")), ("attStmt", Cbor::Map(vec![(text("x5c"), x5c)]))]);
    for (what, object) in [
        ("nothing", Vec::new()),
        ("a text", text("apple").encode()),
        ("no fmt", map(&[("attStmt", statement())])),
        ("no attStmt", map(&[("fmt", text("apple"))])),
        (
            "a fmt of bytes",
            map(&[("fmt", Cbor::Bytes(b"apple".to_vec())), ("attStmt", statement())]),
        ),
        ("a list of members", map(&[("fmt", text("apple")), ("attStmt", Cbor::Array(Vec::new()))])),
        ("a member twice", map(&[good[0].clone(), good[0].clone(), good[1].clone()])),
        ("more behind it", [map(&good), vec![0]].concat()),
        ("a map without length", [&[0xbf][..], &map(&good)[1..], &[0xff]].concat()),
        ("a name of bytes", vec![0xa1, 0x41, b'f', 0x00]),
        ("too many certificates", x5c(Cbor::Array(many))),
        ("no certificate", x5c(Cbor::Array(Vec::new()))),
        ("a certificate of text", x5c(Cbor::Array(vec![text("a")]))),
        ("a map of millions", vec![0xba, 0xff, 0xff, 0xff, 0xff]),
        ("a list of millions", [&[0xa1, 0x67][..], b"attStmt", &[0x9b, 0xff]].concat()),
    ] {
        assert!(
            matches!(refusal(&object), AttestationError::Cbor(_)),
            "{what}: {}",
            refusal(&object)
        );
    }
}

#[test]
fn an_object_that_is_too_long_is_not_read() {
    assert_eq!(refusal(&vec![0xa0; MAX_LENGTH + 1]), AttestationError::TooLong);
}

#[test]
fn a_format_that_is_not_known_is_named() {
    for format in ["none", "packed", "fido-u2f", "APPLE", ""] {
        let object =
            Cbor::Map(vec![(text("fmt"), text(format)), (text("attStmt"), Cbor::Map(Vec::new()))]);
        assert_eq!(refusal(&object.encode()), AttestationError::Format(format.to_owned()));
    }
}

#[test]
fn members_that_are_not_known_are_passed_over() {
    let site = Site::new();
    let deep = (0..50).fold(Cbor::Int(0), |inner, _| Cbor::Array(vec![inner]));
    let statement = site.device().apple().with("receipt", deep);
    site.verify(&statement).unwrap();
}

#[test]
fn certificates_that_are_none_are_refused() {
    let site = Site::new();
    for x5c in [vec![Cbor::Bytes(Vec::new())], vec![Cbor::Bytes(b"nonsense".to_vec())]] {
        for make in FORMATS {
            let statement = make(&site.device()).with("x5c", Cbor::Array(x5c.clone()));
            assert_eq!(site.refusal(&statement), AttestationError::Unreadable("x5c"));
        }
    }
}

#[test]
fn a_file_of_roots_holds_certificates_and_nothing_else() {
    let pem = Vendor::new("test").root_pem();
    let key = String::from_utf8(csr::p256().private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (what, text) in [
        ("nothing", String::new()),
        ("a key", key.clone()),
        ("a key behind", format!("{pem}{key}")),
        ("half of one", pem[..pem.len() / 2].to_owned()),
        (
            "no certificate",
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(),
        ),
    ] {
        assert!(Roots::default().add_pem(&text).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_anything_panic(object in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = verify(&object, &Roots::default(), &expected());
    }
}

#[test]
fn a_statement_with_a_byte_changed_is_refused_or_says_the_same() {
    let site = Site::new();
    for make in FORMATS {
        let object = make(&site.device()).object();
        let said = verify(&object, &site.roots, &expected()).unwrap();
        for place in (0..object.len()).step_by(7) {
            let mut object = object.clone();
            object[place] ^= 0x55;
            let changed = verify(&object, &site.roots, &expected());
            assert!(changed.is_err() || changed == Ok(said.clone()), "{} at {place}", said.format);
        }
    }
}
