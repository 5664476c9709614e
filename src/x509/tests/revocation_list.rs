//! CRLs made here, judged by OpenSSL; and wrong ones, judged by the lint.

use std::path::Path;
use std::process::Command;

use der::asn1::OctetString;
use der::{Decode, Encode};
use x509_cert::crl::TbsCertList;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::time::Time;

use super::*;
use crate::x509::extensions;
use crate::x509::lint::{LintError, RevocationListError as E};
use crate::x509::revocation_list::{Entry, Reason};

const WEEK_S: i64 = 7 * DAY_S;

fn entry(byte: u8, reason: Reason) -> Entry {
    Entry { serial: serial(byte), revoked_at_s: NOW_S - i64::from(byte), reason }
}

fn list<'a>(ca: &'a Ca, entries: &'a [Entry]) -> RevocationList<'a> {
    RevocationList {
        issuer: ca.chain.issuer(),
        algorithm: ca.key.algorithm(),
        number: 7,
        this_update_s: NOW_S,
        next_update_s: NOW_S + WEEK_S,
        entries,
    }
}

/// Runs OpenSSL in a folder with `ca.pem`, `crl.pem`, `crl.der` and `leaf.pem`.
fn openssl(mut command: Command, folder: &Path, arguments: &str) -> (bool, String) {
    command.args(arguments.split_whitespace()).current_dir(folder);
    let output = harness::command::output(&mut command);
    (output.status.success(), harness::command::text(&output))
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in openssl::base64::encode_block(der).as_bytes().chunks(64) {
        text += std::str::from_utf8(line).unwrap();
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[test]
fn openssl_verifies_the_lists_of_every_kind_of_key_and_refuses_what_is_revoked() {
    let rsa = Key::rsa(2048);
    let keys = [
        rsa.signing(SignatureAlgorithm::RsaPkcs1(Hash::Sha512)),
        rsa.signing(SignatureAlgorithm::RsaPss(Hash::Sha256)),
        rsa,
        Key::p256(),
        Key::ec(Nid::SECP384R1),
        Key::ec(Nid::SECP521R1),
        Key::ed25519(),
        Key::ml_dsa(ParameterSet::MlDsa44),
        Key::ml_dsa(ParameterSet::MlDsa65),
        Key::ml_dsa(ParameterSet::MlDsa87),
    ];
    let leaf_key = Key::p256();
    let names = names(&["a.test"]);
    for key in &keys {
        let what = key.algorithm().to_string();
        let command = || match key.public.key_type() {
            KeyType::MlDsa(_) => harness::kryoptic::openssl(),
            _ => Command::new("openssl"),
        };
        let ca = Ca::root(key);
        let profile = Profile::tls_server(90 * DAY_S);
        let leaf = ca.issue(&ca.leaf(&profile, &leaf_key.public, &names));
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", &ca.chain.to_file());
        write("leaf.pem", &pem("CERTIFICATE", &leaf));
        let verify = format!(
            "verify -x509_strict -crl_check -attime {NOW_S} -CAfile ca.pem -CRLfile crl.pem leaf.pem"
        );

        write("crl.pem", &pem("X509 CRL", &ca.sign_list(&list(&ca, &[]))));
        let (good, said) = openssl(command(), folder.path(), &verify);
        assert!(good, "{what}: {said}");
        // The leaf's serial is that of `serial(1)`.
        let entries = [entry(1, Reason::Superseded), entry(2, Reason::Unspecified)];
        write("crl.pem", &pem("X509 CRL", &ca.sign_list(&list(&ca, &entries))));
        let (good, said) = openssl(command(), folder.path(), &verify);
        assert!(!good && said.contains("certificate revoked"), "{what}: {said}");
        let (_, said) =
            openssl(command(), folder.path(), "crl -noout -verify -CAfile ca.pem -in crl.pem");
        assert!(said.contains("verify OK"), "{what}: {said}");
    }
}

fn text_of(der: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crl.pem"), pem("X509 CRL", der)).unwrap();
    openssl(Command::new("openssl"), folder.path(), "crl -noout -text -in crl.pem").1
}

#[test]
fn a_list_says_what_it_should_and_no_more() {
    let ca = Ca::root(&Key::p256());
    let entries: Vec<_> =
        Reason::ALL.into_iter().zip(1..).map(|(r, byte)| entry(byte, r)).collect();
    let der = ca.sign_list(&list(&ca, &entries));
    let text = text_of(&der);
    for line in [
        "Version 2 (0x1)\n",
        "Issuer: O = kipuka, CN = Test Root\n",
        "X509v3 CRL Number: \n                7\n",
        "Last Update: Jan 15 08:00:00 2027 GMT\n",
        "Next Update: Jan 22 08:00:00 2027 GMT\n",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for reason in ["Key Compromise", "Affiliation Changed", "Superseded", "Cessation Of Operation"]
    {
        assert_eq!(text.matches(reason).count(), 1, "{reason}: {text}");
    }
    assert_eq!(text.matches("Serial Number: ").count(), 6);
    // That of "unspecified" is left out.
    assert_eq!(text.matches("X509v3 CRL Reason Code").count(), 5, "{text}");
    assert!(!text.contains("critical"), "{text}");
    let empty = ca.sign_list(&list(&ca, &[]));
    let text = text_of(&empty);
    assert!(text.contains("No Revoked Certificates"), "{text}");
}

#[test]
fn dates_after_2049_are_written_as_rfc_5280_wants_them() {
    let ca = Ca::root(&Key::p256());
    let late = RevocationList {
        this_update_s: 2_524_607_000,
        next_update_s: 2_524_608_000,
        ..list(&ca, &[])
    };
    let tbs: TbsCertList = TbsCertList::from_der(&late.tbs().unwrap()).unwrap();
    assert!(matches!(tbs.this_update, Time::UtcTime(_)));
    assert!(matches!(tbs.next_update, Some(Time::GeneralTime(_))));
    assert!(lint_revocation_list(late.tbs().unwrap(), &late).is_ok());
}

#[test]
fn reasons_have_their_numbers_and_names() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_code(reason.code()), Some(reason));
        assert_eq!(Reason::from_name(reason.name()), Some(reason));
    }
    assert_eq!(Reason::ALL.map(Reason::code), [0, 1, 3, 4, 5, 9]);
    for code in [-1, 2, 6, 7, 8, 10, 11, i64::MAX, i64::MIN] {
        assert_eq!(Reason::from_code(code), None, "{code}");
    }
}

/// What a list was bent to, and what the lint says of it.
type Bent = (&'static str, fn(&mut TbsCertList), E);

#[test]
fn the_lint_finds_each_thing_that_is_wrong() {
    let ca = Ca::root(&Key::p256());
    let entries = [entry(1, Reason::Superseded), entry(2, Reason::Unspecified)];
    let right = list(&ca, &entries);
    let bend = |bend: fn(&mut TbsCertList)| {
        let mut tbs = TbsCertList::from_der(&right.tbs().unwrap()).unwrap();
        bend(&mut tbs);
        tbs.to_der().unwrap()
    };
    assert!(lint_revocation_list(bend(|_| {}), &right).is_ok());
    let cases: [Bent; 17] = [
        ("version", |tbs| tbs.version = x509_cert::Version::V1, E::Version),
        (
            "algorithm",
            |tbs| tbs.signature = SignatureAlgorithm::Ecdsa(Hash::Sha384).identifier(),
            E::Algorithm,
        ),
        ("issuer", |tbs| tbs.issuer = "CN=Another".parse().unwrap(), E::Issuer),
        ("begin", |tbs| tbs.this_update = tbs.next_update.unwrap(), E::Validity),
        ("end", |tbs| tbs.next_update = Some(tbs.this_update), E::Validity),
        ("no end", |tbs| tbs.next_update = None, E::Validity),
        ("one less", |tbs| drop(tbs.revoked_certificates.as_mut().unwrap().pop()), E::Entries),
        ("none", |tbs| tbs.revoked_certificates = None, E::Entries),
        ("order", |tbs| tbs.revoked_certificates.as_mut().unwrap().swap(0, 1), E::Entries),
        (
            "twice",
            |tbs| {
                let entries = tbs.revoked_certificates.as_mut().unwrap();
                entries[1] = entries[0].clone();
            },
            E::SecondEntry,
        ),
        (
            "date",
            |tbs| {
                let this_update = tbs.this_update;
                tbs.revoked_certificates.as_mut().unwrap()[0].revocation_date = this_update;
            },
            E::Entries,
        ),
        (
            "another reason",
            |tbs| {
                let reason = extensions::reason_code(CrlReason::KeyCompromise).unwrap();
                tbs.revoked_certificates.as_mut().unwrap()[0].crl_entry_extensions =
                    Some(vec![reason]);
            },
            E::Entries,
        ),
        (
            "unspecified is said",
            |tbs| {
                let reason = extensions::reason_code(CrlReason::Unspecified).unwrap();
                tbs.revoked_certificates.as_mut().unwrap()[1].crl_entry_extensions =
                    Some(vec![reason]);
            },
            E::Entries,
        ),
        (
            "another number",
            |tbs| {
                let number = extensions::crl_number(8).unwrap();
                *tbs.crl_extensions.as_mut().unwrap().last_mut().unwrap() = number;
            },
            E::Extension(LintError::Extension("cRLNumber")),
        ),
        (
            "critical number",
            |tbs| tbs.crl_extensions.as_mut().unwrap()[1].critical = true,
            E::Extension(LintError::Criticality("cRLNumber")),
        ),
        (
            "another key",
            |tbs| {
                let other = extensions::authority_key_identifier(&[7; 20]).unwrap();
                tbs.crl_extensions.as_mut().unwrap()[0] = other;
            },
            E::Extension(LintError::Extension("authorityKeyIdentifier")),
        ),
        (
            "an issuingDistributionPoint",
            |tbs| {
                let extension = x509_cert::ext::Extension {
                    extn_id: const_oid::db::rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT,
                    critical: true,
                    extn_value: OctetString::new([0x30, 0]).unwrap(),
                };
                tbs.crl_extensions.as_mut().unwrap().push(extension);
            },
            E::Extension(LintError::UnknownExtension("2.5.29.28".to_owned())),
        ),
    ];
    for (what, change, error) in cases {
        let errors = lint_revocation_list(bend(change), &right).unwrap_err();
        assert!(errors.contains(&error), "{what}: {errors:?}");
    }
    // An empty SEQUENCE OF, which RFC 5280 §5.1.2.6 forbids.
    let none = list(&ca, &[]);
    let mut tbs: TbsCertList = TbsCertList::from_der(&none.tbs().unwrap()).unwrap();
    tbs.revoked_certificates = Some(Vec::new());
    let errors = lint_revocation_list(tbs.to_der().unwrap(), &none).unwrap_err();
    assert!(errors.contains(&E::Malformed), "{errors:?}");
    let errors = lint_revocation_list(b"\x30\x03abc".to_vec(), &right).unwrap_err();
    assert_eq!(errors, [E::Malformed]);
}

#[test]
fn only_the_ca_s_key_signs_and_only_where_its_certificate_lets_it() {
    let ca = Ca::root(&Key::p256());
    let right = list(&ca, &[]);
    let linted = lint_revocation_list(right.tbs().unwrap(), &right).unwrap();
    let stranger = Key::p256().verified_as(linted.algorithm(), linted.der());
    assert!(linted.assemble(&stranger).is_err());
    let linted = lint_revocation_list(right.tbs().unwrap(), &right).unwrap();
    let of_something_else = ca.key.verified_as(linted.algorithm(), b"something else");
    assert!(linted.assemble(&of_something_else).is_err());
}
