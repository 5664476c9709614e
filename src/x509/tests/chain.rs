//! Files of CA certificates, well made and not.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::x509::extension::{BasicConstraints, KeyUsage};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};

use super::*;
use crate::x509::chain::ChainError;
use crate::x509::issuer::IssuerError;
use crate::x509::lint::RevocationListError;
use crate::x509::pem::PemError;

fn pem(certificates: &[&IssuerCertificate]) -> String {
    let pem = |certificate: &&IssuerCertificate| {
        let pem = X509::from_der(certificate.der()).unwrap().to_pem().unwrap();
        String::from_utf8(pem).unwrap()
    };
    certificates.iter().map(pem).collect()
}

/// A self-signed certificate as a stranger's tool makes it.
pub(super) fn foreign(
    key: &Key,
    common_name: &str,
    dress: impl FnOnce(&mut X509Builder),
) -> Vec<u8> {
    let mut name = X509NameBuilder::new().unwrap();
    if !common_name.is_empty() {
        name.append_entry_by_text("CN", common_name).unwrap();
    }
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key.openssl()).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(NOW_S).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(NOW_S + DAY_S).unwrap()).unwrap();
    dress(&mut builder);
    builder.sign(key.openssl(), MessageDigest::sha256()).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn the_download_is_leaf_first_with_lf_and_without_blank_lines_or_root() {
    let root = Key::p256();
    let ca = Ca::below_root(&root, &Key::p256());
    let profile = Profile::tls_server(DAY_S);
    let leaf_key = Key::p256();
    let names = names(&["a.test"]);
    let leaf = ca.issue(&ca.leaf(&profile, &leaf_key.public, &names));
    let text = ca.chain.to_pem(&leaf);
    assert!(text.ends_with("-----END CERTIFICATE-----\n"));
    assert!(!text.contains('\r') && !text.contains("\n\n"), "{text}");
    let is_right = |line: &str| line.starts_with("-----") || (1..=64).contains(&line.len());
    assert!(text.lines().all(is_right));
    let found: Vec<_> = X509::stack_from_pem(text.as_bytes()).unwrap();
    let found: Vec<_> = found.iter().map(|certificate| certificate.to_der().unwrap()).collect();
    assert_eq!(found, [leaf, ca.chain.issuer().der().to_vec()], "no root");
}

#[test]
fn a_root_that_issues_itself_is_in_the_download() {
    let ca = Ca::root(&Key::p256());
    let text = ca.chain.to_pem(b"leaf");
    assert_eq!(text.matches("-----BEGIN CERTIFICATE-----\n").count(), 2, "certbot wants two");
    assert!(text.ends_with(&pem(&[ca.chain.issuer()])));
}

#[test]
fn a_file_is_read_with_and_without_the_root_and_with_text_between() {
    let ca = Ca::below_root(&Key::rsa(2048), &Key::p256());
    let certificates: Vec<_> = ca.chain.certificates().collect();
    let whole = pem(&certificates);
    assert_eq!(Chain::from_pem(&whole), Ok(ca.chain.clone()));
    assert_eq!(Chain::from_pem(&ca.chain.to_file()), Ok(ca.chain.clone()));
    assert_eq!(
        Chain::from_pem(&format!("subject=x\n{}", whole.replace('\n', "\r\n"))),
        Ok(ca.chain.clone())
    );
    let alone = Chain::from_pem(&pem(&certificates[..1])).unwrap();
    assert_eq!(alone.issuer(), ca.chain.issuer());
    assert_eq!(alone.to_pem(b"leaf"), ca.chain.to_pem(b"leaf"), "the root is left out anyway");
}

#[test]
fn files_that_are_no_chain_are_refused_with_the_reason() {
    let (root_key, key) = (Key::p256(), Key::p256());
    let ca = Ca::below_root(&root_key, &key);
    let stranger = Ca::root(&Key::p256());
    let (issuer, root, stranger) =
        (ca.chain.issuer(), ca.chain.certificates().last().unwrap(), stranger.chain.issuer());
    let order =
        |place, subject: &IssuerCertificate, issuer: &IssuerCertificate| ChainError::Order {
            place,
            subject: subject.subject().to_owned(),
            issuer: issuer.subject().to_owned(),
        };
    let private = String::from_utf8(key.openssl().private_key_to_pem_pkcs8().unwrap()).unwrap();
    for (text, error) in [
        (String::new(), ChainError::Empty),
        ("no PEM".to_owned(), ChainError::Empty),
        (pem(&[root, issuer]), order(1, root, issuer)),
        (pem(&[issuer, stranger]), order(1, issuer, stranger)),
        (pem(&[issuer, issuer]), order(1, issuer, issuer)),
        (pem(&[issuer, root, stranger]), order(2, root, stranger)),
        (pem(&[issuer]) + &private, ChainError::ForeignBlock("PRIVATE KEY".to_owned())),
        (pem(&[issuer]).replace("-----END", "----END"), ChainError::Pem(PemError::Unfinished(1))),
        (pem(&[root]).replace("\nMI", "\n*I"), ChainError::Pem(PemError::Base64(1))),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            ChainError::Certificate { place: 1, error: IssuerError::Malformed },
        ),
    ] {
        let refused = Chain::from_pem(&text);
        assert_eq!(refused, Err(error));
        let left = openssl::error::ErrorStack::get();
        assert!(left.errors().is_empty(), "TLS on this thread would stumble over {left}");
    }
}

#[test]
fn a_ca_below_more_cas_than_allowed_is_refused() {
    let keys = [Key::p256(), Key::p256(), Key::p256()];
    let root = ca("CN=Root", &keys[0], Some(1), None);
    let middle = ca("CN=Middle", &keys[1], None, Some(&root));
    // The maker is as strict about the direct issuer only: the root's limit shows in the chain.
    let nowhere = AuthorityInformation::default();
    let request = CaCertificate {
        issuer: Some(middle.chain.issuer()),
        algorithm: keys[1].algorithm(),
        subject: &subject("CN=Lowest"),
        path_len: None,
        serial: serial(3),
        public_key: &keys[2].public,
        key_identifier: None,
        not_before_s: NOW_S,
        validity_s: DAY_S,
        crl_distribution_point: None,
        authority_information: &nowhere,
    };
    let lowest = keys[1].certify(lint_ca(request.tbs().unwrap().der, &request).unwrap());
    let lowest = IssuerCertificate::from_der(&lowest).unwrap();
    let mut certificates = vec![lowest];
    certificates.extend(middle.chain.certificates().cloned());
    assert_eq!(
        Chain::new(certificates),
        Err(ChainError::PathLength {
            place: 3,
            subject: "CN=Root".to_owned(),
            allowed: 1,
            found: 2
        })
    );
}

#[test]
fn certificates_that_are_not_a_cas_are_refused() {
    let key = Key::p256();
    let read = |der: &[u8]| IssuerCertificate::from_der(der).err();
    let ca = |builder: &mut X509Builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    };
    assert_eq!(read(&foreign(&key, "Plain", ca)), None);
    assert_eq!(read(&foreign(&key, "", ca)), Some(IssuerError::EmptySubject));
    assert_eq!(read(&foreign(&key, "Leaf", |_| ())), Some(IssuerError::NotCa));
    let not_ca = |builder: &mut X509Builder| {
        builder.append_extension(BasicConstraints::new().build().unwrap()).unwrap();
    };
    assert_eq!(read(&foreign(&key, "Leaf", not_ca)), Some(IssuerError::NotCa));
    let crl_only = |builder: &mut X509Builder| {
        ca(builder);
        builder.append_extension(KeyUsage::new().crl_sign().build().unwrap()).unwrap();
    };
    assert_eq!(read(&foreign(&key, "CRL", crl_only)), Some(IssuerError::MayNotSign));
    let twice = |builder: &mut X509Builder| {
        ca(builder);
        ca(builder);
    };
    let twice = read(&foreign(&key, "Twice", twice));
    // OpenSSL itself may refuse a second one first.
    assert!(
        matches!(twice, Some(IssuerError::Extension("basicConstraints") | IssuerError::Malformed)),
        "{twice:?}"
    );
    let mut trailing = foreign(&key, "Trailing", ca);
    trailing.push(0);
    assert_eq!(read(&trailing), Some(IssuerError::Malformed));
}

#[test]
fn a_ca_certificate_without_key_usage_or_key_identifier_will_do() {
    // `openssl req -new -x509` leaves keyUsage out.
    let key = Key::p256();
    let der = foreign(&key, "Development CA", |builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    });
    let certificate = IssuerCertificate::from_der(&der).unwrap();
    assert_eq!(certificate.key_usage(), None);
    assert_eq!(certificate.subject_key_identifier(), key.public.key_identifier());
    assert_eq!(certificate.subject(), "CN=Development CA");
    assert_eq!((certificate.not_before_s(), certificate.not_after_s()), (NOW_S, NOW_S + DAY_S));
    assert!(certificate.is_self_signed());
    let chain = Chain::new(vec![certificate]).unwrap();
    assert_eq!(chain.not_after_s(), NOW_S + DAY_S);
}

#[test]
fn key_usage_and_path_length_are_named() {
    let ca = Ca::below_root(&Key::p256(), &Key::p256());
    let usage = ca.chain.issuer().key_usage().unwrap();
    assert_eq!(
        usage.into_iter().collect::<Vec<_>>(),
        ["cRLSign", "digitalSignature", "keyCertSign"]
    );
    assert_eq!(ca.chain.issuer().path_len(), Some(0));
    assert!(!ca.chain.issuer().is_self_signed());
}

/// RFC 5280 §4.2.1.3.
#[test]
fn a_key_signs_crls_unless_the_key_usage_of_its_certificate_leaves_that_out() {
    let key = Key::p256();
    let ca = |builder: &mut X509Builder| {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    };
    let with = |usage: X509Extension| {
        move |builder: &mut X509Builder| {
            ca(builder);
            builder.append_extension(usage).unwrap();
        }
    };
    let certificates_alone = KeyUsage::new().key_cert_sign().build().unwrap();
    let both = KeyUsage::new().key_cert_sign().crl_sign().build().unwrap();
    for (der, may) in [
        (foreign(&key, "CA", ca), true),
        (foreign(&key, "CA", with(both)), true),
        (foreign(&key, "CA", with(certificates_alone)), false),
    ] {
        let issuer = IssuerCertificate::from_der(&der).unwrap();
        assert_eq!(issuer.may_sign_crls(), may);
        let list = RevocationList {
            issuer: &issuer,
            algorithm: key.algorithm(),
            number: 1,
            this_update_s: NOW_S,
            next_update_s: NOW_S + DAY_S,
            entries: &[],
        };
        let errors = lint_revocation_list(list.tbs().unwrap(), &list).err().unwrap_or_default();
        assert_eq!(errors.is_empty(), may, "{errors:?}");
        assert!(may || errors == [RevocationListError::KeyUsage]);
    }
}
