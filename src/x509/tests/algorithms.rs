//! Chains of every signature algorithm. OpenSSL judges each that it knows; ML-DSA is judged by a
//! newer OpenSSL, which shares no code with what verifies it here.

use std::path::Path;
use std::process::Command;

use der::Decode;
use der::asn1::Any;
use openssl::x509::X509;

use super::*;
use crate::x509::chain::ChainError;
use crate::x509::signed::Signed;

/// A key for each algorithm that a CA signs with.
fn keys() -> Vec<Key> {
    let rsa = Key::rsa(2048);
    let ec = [Key::p256(), Key::ec(Nid::SECP384R1), Key::ec(Nid::SECP521R1)];
    let mut keys = Vec::new();
    for hash in Hash::ALL {
        keys.push(rsa.signing(SignatureAlgorithm::RsaPkcs1(hash)));
        keys.push(rsa.signing(SignatureAlgorithm::RsaPss(hash)));
        keys.extend(ec.iter().map(|key| key.signing(SignatureAlgorithm::Ecdsa(hash))));
    }
    keys.push(Key::ed25519());
    keys.extend(ParameterSet::ALL.map(Key::ml_dsa));
    keys
}

fn is_ml_dsa(key: &Key) -> bool {
    matches!(key.public.key_type(), KeyType::MlDsa(_))
}

/// Judges a chain (PEM, leaf first) under `root` as a TLS server's, by strict rules.
fn judge(mut openssl: Command, folder: &Path, root: &IssuerCertificate, pem: &str) {
    let (root_file, chain) = (folder.join("root.pem"), folder.join("chain.pem"));
    let root_pem = Chain::new(vec![root.clone()]).unwrap().to_file();
    std::fs::write(&root_file, root_pem).unwrap();
    std::fs::write(&chain, pem).unwrap();
    let output = openssl
        .args(["verify", "-x509_strict", "-purpose", "sslserver"])
        .args(["-attime", &NOW_S.to_string(), "-verify_hostname", "a.test", "-CAfile"])
        .args([&root_file])
        .arg("-untrusted")
        .args([&chain, &chain])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn openssl_accepts_the_chains_of_every_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let profile = Profile::tls_server(90 * DAY_S);
    let names = names(&["a.test"]);
    let leaf_keys = [Key::p256(), Key::rsa(2048), Key::ml_dsa(ParameterSet::MlDsa65)];
    for (key, number) in keys().into_iter().zip(0..) {
        let ca = Ca::below_root(&key, &key);
        let file = ca.chain.to_file();
        assert_eq!(Chain::from_pem(&file), Ok(ca.chain.clone()), "{}", key.algorithm());
        let left = openssl::error::ErrorStack::get();
        assert!(left.errors().is_empty(), "TLS on this thread would stumble over {left}");
        let root = ca.chain.certificates().last().unwrap();
        assert!(root.is_self_signed() && !ca.chain.issuer().is_self_signed());
        let leaf_key = &leaf_keys[number % leaf_keys.len()];
        let leaf = ca.issue(&ca.leaf(&profile, &leaf_key.public, &names));
        let pem = ca.chain.to_pem(&leaf);
        judge(harness::kryoptic::openssl(), folder.path(), root, &pem);
        // An OpenSSL that does not know a leaf's key refuses the leaf, whoever signed it.
        if !is_ml_dsa(&key) && !is_ml_dsa(leaf_key) {
            judge(Command::new("openssl"), folder.path(), root, &pem);
        }
    }
}

#[test]
fn a_chain_whose_signature_is_altered_is_refused() {
    for key in keys() {
        let ca = Ca::below_root(&key, &key);
        let [issuing, root] = &ca.chain.certificates().collect::<Vec<_>>()[..] else {
            panic!("two certificates");
        };
        let mut der = issuing.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let altered = IssuerCertificate::from_der(&der).unwrap();
        let refused = Chain::new(vec![altered, (*root).clone()]);
        let algorithm = key.algorithm();
        assert!(matches!(refused, Err(ChainError::Order { place: 1, .. })), "{algorithm}");
    }
}

/// The names alone do not make an issuer.
#[test]
fn an_ml_dsa_issuer_needs_the_name_and_the_key() {
    let [key, stranger] = [(), ()].map(|()| Key::ml_dsa(ParameterSet::MlDsa44));
    let ca = Ca::below_root(&key, &key);
    let namesake = Ca::root(&stranger);
    let renamed = ca_named("CN=Another Root,O=kipuka", &key);
    for root in [&namesake, &renamed] {
        let chain = vec![ca.chain.issuer().clone(), root.chain.issuer().clone()];
        assert!(matches!(Chain::new(chain), Err(ChainError::Order { place: 1, .. })));
    }
}

/// RFC 5280 §4.1.1.2.
#[test]
fn an_ml_dsa_certificate_names_one_algorithm_inside_and_outside() {
    let root_key = Key::ml_dsa(ParameterSet::MlDsa65);
    let ca = Ca::below_root(&root_key, &Key::p256());
    let root = ca.chain.certificates().last().unwrap();
    let Signed { content, algorithm, signature } =
        Signed::from_der(ca.chain.issuer().der()).unwrap();
    let of = |set| SignatureAlgorithm::MlDsa(set).identifier().to_der().unwrap();
    let (said, other) = (of(ParameterSet::MlDsa65), of(ParameterSet::MlDsa44));
    let mut tbs = content.to_der().unwrap();
    let place = tbs.windows(said.len()).position(|window| window == said).unwrap();
    let issued = |tbs: &[u8], signature| {
        let content = Any::from_der(tbs).unwrap();
        let signed = Signed { content, algorithm: algorithm.clone(), signature };
        IssuerCertificate::from_der(&signed.to_der().unwrap()).unwrap().is_issued_by(root)
    };
    assert!(issued(&tbs, signature));
    tbs[place..place + said.len()].copy_from_slice(&other);
    let signature = root_key.sign_as(root_key.algorithm(), &tbs);
    assert!(!issued(&tbs, BitString::from_bytes(&signature).unwrap()));
}

fn ca_named(subject: &str, key: &Key) -> Ca {
    ca(subject, key, Some(1), None)
}

#[test]
fn a_ca_of_one_algorithm_below_a_root_of_another_is_a_chain() {
    let keys = [
        Key::rsa(2048).signing(SignatureAlgorithm::RsaPss(Hash::Sha256)),
        Key::p256(),
        Key::ed25519(),
        Key::ml_dsa(ParameterSet::MlDsa87),
    ];
    for root in &keys {
        for issuing in &keys {
            let ca = Ca::below_root(root, issuing);
            assert_eq!(Chain::from_pem(&ca.chain.to_file()), Ok(ca.chain));
        }
    }
}

#[test]
fn what_only_signs_may_only_sign() {
    let ca = Ca::root(&Key::p256());
    let profile = Profile::tls_server(DAY_S);
    let names = names(&["a.test"]);
    for key in [Key::ed25519(), Key::ml_dsa(ParameterSet::MlDsa44), Key::ec(Nid::SECP521R1)] {
        let leaf = ca.issue(&ca.leaf(&profile, &key.public, &names));
        let text = X509::from_der(&leaf).unwrap().to_text().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("Key Usage: critical\n                Digital Signature\n"),
            "{text}"
        );
    }
}
