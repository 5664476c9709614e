//! What is issued stands before OpenSSL: the library here, its command line with `-x509_strict`.

use std::process::Command;

use openssl::asn1::Asn1Time;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use super::*;
use crate::x509::algorithm::{Hash, SignatureAlgorithm};
use crate::x509::description::Description;
use crate::x509::lint::AssembleError;
use crate::x509::profile::ExtendedKeyUsage;
use crate::x509::tbs::TbsError;

/// Verifies `pem`, leaf first, under `root` for a TLS server called `host`.
fn verify(pem: &str, root: &[u8], host: &str) -> Result<(), String> {
    let mut certificates = X509::stack_from_pem(pem.as_bytes()).unwrap().into_iter();
    let leaf = certificates.next().unwrap();
    let mut untrusted = Stack::new().unwrap();
    certificates.for_each(|certificate| untrusted.push(certificate).unwrap());
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(X509::from_der(root).unwrap()).unwrap();
    let mut parameters = X509VerifyParam::new().unwrap();
    parameters.set_time(NOW_S);
    parameters.set_host(host).unwrap();
    parameters.set_flags(openssl::x509::verify::X509VerifyFlags::X509_STRICT).unwrap();
    parameters.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
    store.set_param(&parameters).unwrap();
    let mut context = X509StoreContext::new().unwrap();
    context
        .init(&store.build(), &leaf, &untrusted, |context| {
            Ok(match context.verify_cert()? {
                true => Ok(()),
                false => Err(context.error().error_string().to_owned()),
            })
        })
        .unwrap()
}

fn last(chain: &Chain) -> &IssuerCertificate {
    chain.certificates().last().unwrap()
}

#[test]
fn openssl_accepts_what_rsa_and_ec_cas_issue_for_every_type_of_key() {
    let leaf_keys = [
        Key::rsa(2048),
        Key::p256(),
        Key::ec(Nid::SECP384R1),
        Key::ec(Nid::SECP521R1),
        Key::ed25519(),
    ];
    let cas = [
        Ca::below_root(&Key::rsa(2048), &Key::rsa(2048)),
        Ca::below_root(&Key::p256(), &Key::ec(Nid::SECP384R1)),
        Ca::root(&Key::p256()),
        Ca::below_root(&Key::rsa(2048), &Key::p256()),
    ];
    let profile = Profile::tls_server(90 * DAY_S);
    let names = names(&["*.b.test", "a.test"]);
    let stranger = Ca::root(&Key::p256());
    for ca in &cas {
        for key in &leaf_keys {
            let certificate = ca.issue(&ca.leaf(&profile, &key.public, &names));
            let pem = ca.chain.to_pem(&certificate);
            let root = last(&ca.chain).der();
            for host in ["a.test", "x.b.test"] {
                assert_eq!(verify(&pem, root, host), Ok(()), "{:?}", key.public);
            }
            assert!(verify(&pem, root, "c.test").is_err(), "another name");
            assert!(verify(&pem, stranger.chain.issuer().der(), "a.test").is_err(), "another root");
        }
    }
}

#[test]
fn the_openssl_command_accepts_the_chain_under_strict_rules() {
    let ca = Ca::below_root(&Key::p256(), &Key::p256());
    let mut profile = Profile::tls_server(90 * DAY_S);
    profile.extended_key_usage.client_auth = true;
    profile.crl_distribution_point = Some("http://ca.test/crl".to_owned());
    profile.authority_information = AuthorityInformation {
        ca_issuers: Some("http://ca.test/issuer.der".to_owned()),
        ocsp: Some("http://ca.test/ocsp".to_owned()),
    };
    let key = Key::rsa(2048);
    let names = names(&["a.test"]);
    let pem = ca.chain.to_pem(&ca.issue(&ca.leaf(&profile, &key.public, &names)));
    let folder = std::env::temp_dir().join(format!("kipuka-x509-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain, root) = (folder.join("chain.pem"), folder.join("root.pem"));
    std::fs::write(&chain, &pem).unwrap();
    let root_pem = X509::from_der(last(&ca.chain).der()).unwrap().to_pem().unwrap();
    std::fs::write(&root, root_pem).unwrap();
    let now = NOW_S.to_string();
    let verified = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &now])
        .args(["-verify_hostname", "a.test", "-CAfile"])
        .args([&root])
        .arg("-untrusted")
        .args([&chain, &chain])
        .output()
        .expect("the openssl command is installed (apt-get install openssl)");
    assert!(verified.status.success(), "{verified:?}");
    let shown =
        Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&chain).output();
    let text = String::from_utf8(shown.unwrap().stdout).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    for line in [
        "Subject: \n",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n",
        "TLS Web Server Authentication, TLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "X509v3 Subject Alternative Name: critical\n                DNS:a.test\n",
        "OCSP - URI:http://ca.test/ocsp\n",
        "CA Issuers - URI:http://ca.test/issuer.der\n",
        "URI:http://ca.test/crl\n",
        "Signature Algorithm: ecdsa-with-SHA256\n",
        "Version: 3 (0x2)\n",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}

#[test]
fn validity_begins_a_minute_ago_and_stays_within_the_ca() {
    let ca = Ca::root(&Key::p256());
    let (begin, end) = (ca.chain.issuer().not_before_s(), ca.chain.issuer().not_after_s());
    let key = Key::p256();
    let names = names(&["a.test"]);
    let profile = Profile::tls_server(90 * DAY_S);
    let leaf = ca.leaf(&profile, &key.public, &names);
    for (now, not_before, not_after) in [
        (NOW_S, NOW_S - 60, NOW_S - 60 + 90 * DAY_S - 1),
        (begin, begin, begin + 90 * DAY_S - 1),
        (begin + 59, begin, begin + 90 * DAY_S - 1),
        (end - DAY_S, end - DAY_S - 60, end),
        (end, end - 60, end),
    ] {
        let tbs = leaf.tbs(now).unwrap();
        assert_eq!((tbs.not_before_s, tbs.not_after_s), (not_before, not_after));
        let certificate = ca.key.certify(lint(tbs.der, &leaf).unwrap());
        let certificate = X509::from_der(&certificate).unwrap();
        assert!(certificate.not_before() == Asn1Time::from_unix(not_before).unwrap().as_ref());
        assert!(certificate.not_after() == Asn1Time::from_unix(not_after).unwrap().as_ref());
    }
    assert_eq!(leaf.tbs(begin - 1), Err(TbsError::IssuerNotYetValid));
    assert_eq!(leaf.tbs(end + 1), Err(TbsError::IssuerExpired));
    for validity_s in [0, -1, i64::MIN] {
        let profile = Profile::tls_server(validity_s);
        let leaf = ca.leaf(&profile, &key.public, &names);
        assert_eq!(leaf.tbs(NOW_S), Err(TbsError::Validity), "{validity_s}");
    }
    let profile = Profile::tls_server(i64::MAX);
    let leaf = Leaf { profile: &profile, ..leaf };
    assert_eq!(leaf.tbs(NOW_S).unwrap().not_after_s, end, "an endless profile");
}

#[test]
fn dates_from_2050_on_are_generalized_time() {
    const LAST_OF_2049_S: i64 = 2_524_607_999;
    let key = Key::p256();
    let nowhere = AuthorityInformation::default();
    for (end, form) in [
        (LAST_OF_2049_S, &b"\x17\x0d491231235959Z"[..]),
        (LAST_OF_2049_S + 1, b"\x18\x0f20500101000000Z"),
    ] {
        let request = CaCertificate {
            issuer: None,
            algorithm: key.algorithm(),
            subject: &subject("CN=Long"),
            path_len: None,
            serial: serial(2),
            public_key: &key.public,
            key_identifier: None,
            not_before_s: NOW_S,
            validity_s: end - NOW_S + 1,
            crl_distribution_point: None,
            authority_information: &nowhere,
        };
        let tbs = request.tbs().unwrap();
        assert!(tbs.der.windows(form.len()).any(|window| window == form));
        let issuer = key.certify(lint_ca(tbs.der, &request).unwrap());
        assert_eq!(IssuerCertificate::from_der(&issuer).unwrap().not_after_s(), end);
    }
}

#[test]
fn kipukas_own_certificate_may_name_ip_addresses() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(90 * DAY_S);
    let key = Key::p256();
    let names = names(&["localhost"]);
    let addresses = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let leaf = Leaf { ip_addresses: &addresses, ..ca.leaf(&profile, &key.public, &names) };
    let certificate = X509::from_der(&ca.issue(&leaf)).unwrap();
    let alt_names = certificate.subject_alt_names().unwrap();
    let found: Vec<_> = alt_names.iter().filter_map(|name| name.ipaddress()).collect();
    assert_eq!(found, [&[127, 0, 0, 1][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]);
    let nothing = Leaf { dns_names: &[], ..ca.leaf(&profile, &key.public, &names) };
    assert_eq!(nothing.tbs(NOW_S), Err(TbsError::NoNames));
}

#[test]
fn a_profile_may_ask_for_a_common_name() {
    let ca = Ca::root(&Key::p256());
    let key = Key::p256();
    let profile = Profile { common_name: true, ..Profile::tls_server(DAY_S) };
    let long = format!("{}.test", "a".repeat(60));
    for (list, common_name) in [
        (vec![&*long, "b.test", "c.test"], Some("b.test")),
        (vec![&*long], None),
        (vec!["*.a.test"], Some("*.a.test")),
    ] {
        let names = names(&list);
        let certificate = ca.issue(&ca.leaf(&profile, &key.public, &names));
        let found = X509::from_der(&certificate).unwrap();
        let subject: Vec<_> = found.subject_name().entries().map(|entry| entry.data()).collect();
        let subject: Vec<_> = subject.iter().map(|name| name.as_slice()).collect();
        assert_eq!(subject, common_name.map(str::as_bytes).as_slice());
        let text = String::from_utf8(found.to_text().unwrap()).unwrap();
        let critical = text.contains("Subject Alternative Name: critical");
        assert_eq!(critical, common_name.is_none(), "RFC 5280 §4.2.1.6");
        let host = list[0].replace('*', "x");
        assert_eq!(verify(&ca.chain.to_pem(&certificate), ca.chain.issuer().der(), &host), Ok(()));
    }
}

#[test]
fn an_empty_extended_key_usage_leaves_the_extension_out() {
    let ca = Ca::root(&Key::p256());
    let key = Key::p256();
    let none = ExtendedKeyUsage { server_auth: false, client_auth: false };
    let profile = Profile { extended_key_usage: none, ..Profile::tls_server(DAY_S) };
    let names = names(&["a.test"]);
    let certificate = ca.issue(&ca.leaf(&profile, &key.public, &names));
    assert!(X509::from_der(&certificate).unwrap().extended_key_usage().is_none());
}

#[test]
fn only_the_cas_own_signature_over_these_bytes_makes_a_certificate() {
    let (key, stranger) = (Key::p256(), Key::p256());
    let ca = Ca::root(&key);
    let profile = Profile::tls_server(DAY_S);
    let names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &stranger.public, &names);
    let linted = || lint(leaf.tbs(NOW_S).unwrap().der, &leaf).unwrap();
    let (sha256, sha384) =
        (SignatureAlgorithm::Ecdsa(Hash::Sha256), SignatureAlgorithm::Ecdsa(Hash::Sha384));
    let signatures = [
        stranger.verified_as(sha256, linted().der()),
        key.verified_as(sha256, b"something else"),
        key.verified_as(sha384, linted().der()),
    ];
    for signature in signatures {
        assert_eq!(linted().assemble(&signature), Err(AssembleError::Signature));
    }
    let certificate = linted().assemble(&key.verified_as(sha256, linted().der())).unwrap();
    let certificate = X509::from_der(&certificate).unwrap();
    assert!(certificate.verify(key.openssl()).unwrap());
    let serial = certificate.serial_number().to_bn().unwrap().to_vec();
    assert_eq!(serial, leaf.serial.as_bytes());
}

#[test]
fn an_algorithm_that_the_cas_key_cannot_do_is_refused() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(DAY_S);
    let names = names(&["a.test"]);
    let leaf = ca.leaf(&profile, &ca.key.public, &names);
    let algorithm = SignatureAlgorithm::RsaPkcs1(Hash::Sha256);
    let refused = Leaf { algorithm, ..leaf }.tbs(NOW_S);
    assert_eq!(refused, Err(TbsError::Algorithm { algorithm, key_type: KeyType::EcP256 }));
}

#[test]
fn a_ca_may_not_go_below_its_path_length_nor_take_its_issuers_name() {
    let (root, issuing, key) = (Key::p256(), Key::p256(), Key::p256());
    let ca = Ca::below_root(&root, &issuing);
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: Some(ca.chain.issuer()),
        algorithm: issuing.algorithm(),
        subject: &subject("CN=Too Deep"),
        path_len: Some(0),
        serial: serial(2),
        public_key: &key.public,
        key_identifier: None,
        not_before_s: NOW_S,
        validity_s: DAY_S,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    assert_eq!(request.tbs(), Err(TbsError::PathLength));
    let root = Ca::root(&root);
    let below_root = CaCertificate { issuer: Some(root.chain.issuer()), ..request };
    let refused = |request: CaCertificate<'_>| request.tbs().unwrap_err();
    let namesake = subject("CN=Test Root,O=kipuka");
    assert_eq!(
        refused(CaCertificate { subject: &namesake, ..below_root }),
        TbsError::SubjectOfIssuer
    );
    let path_len = Some(1);
    assert_eq!(
        refused(CaCertificate { path_len, ..below_root }),
        TbsError::PathLengthOfIssuer { most: 0 }
    );
}

#[test]
fn a_ca_may_not_outlive_its_issuer_nor_begin_outside_its_time() {
    let (root_key, key) = (Key::p256(), Key::p256());
    let root = Ca::root(&root_key);
    let (begin, end) = (root.chain.issuer().not_before_s(), root.chain.issuer().not_after_s());
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: Some(root.chain.issuer()),
        algorithm: root_key.algorithm(),
        subject: &subject("CN=Below"),
        path_len: Some(0),
        serial: serial(2),
        public_key: &key.public,
        key_identifier: None,
        not_before_s: end - DAY_S,
        validity_s: DAY_S + 1,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    assert_eq!(request.tbs().unwrap().not_after_s, end, "to the issuer's last second");
    for (not_before_s, validity_s, error) in [
        (end - DAY_S, DAY_S + 2, TbsError::OutlivesIssuer { days: 1 }),
        (begin, i64::MAX, TbsError::OutlivesIssuer { days: 3650 }),
        (begin - 1, DAY_S, TbsError::IssuerNotYetValid),
        (end + 1, DAY_S, TbsError::IssuerExpired),
    ] {
        let request = CaCertificate { not_before_s, validity_s, ..request };
        assert_eq!(request.tbs(), Err(error), "{not_before_s} {validity_s}");
    }
}

#[test]
fn a_root_has_no_authority_key_identifier_and_a_ca_below_it_has_its() {
    let (root_key, key) = (Key::p256(), Key::p256());
    let root = Ca::root(&root_key);
    let of = |der| Description::of(der).unwrap();
    let description = of(root.chain.issuer().der());
    assert_eq!(description.authority_key_identifier, None);
    let identifier = description.subject_key_identifier;
    assert_eq!(identifier, Some(root_key.public.key_identifier_hex()));
    let below = Ca::below_root(&root_key, &key);
    assert_eq!(of(below.chain.issuer().der()).authority_key_identifier, identifier);
}

#[test]
fn a_second_certificate_keeps_the_first_ones_key_identifier() {
    let (root_key, key) = (Key::p256(), Key::p256());
    let root = Ca::root(&root_key);
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: Some(root.chain.issuer()),
        algorithm: root_key.algorithm(),
        subject: &subject("CN=Crossed"),
        path_len: None,
        serial: serial(2),
        public_key: &key.public,
        key_identifier: Some(b"as it was"),
        not_before_s: NOW_S,
        validity_s: DAY_S,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    let der = root_key.certify(lint_ca(request.tbs().unwrap().der, &request).unwrap());
    let crossed = IssuerCertificate::from_der(&der).unwrap();
    assert_eq!(crossed.subject_key_identifier(), b"as it was");
    let other = CaCertificate { key_identifier: None, ..request };
    assert!(lint_ca(request.tbs().unwrap().der, &other).is_err());
}
