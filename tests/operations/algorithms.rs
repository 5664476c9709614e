//! `digest` and `rsa_padding` against the key that the CA has.

use std::fs;

use harness::command::text;
use harness::{Issuer, Server, Settings, csr};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};

use crate::BINARY;

fn p521() -> PKey<Private> {
    let group = openssl::ec::EcGroup::from_curve_name(Nid::SECP521R1).unwrap();
    PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap()
}

/// What `kipuka check` says of a CA with this key in a file and these lines.
async fn check(key: PKey<Private>, lines: &str) -> (bool, String) {
    let settings = Settings { ca: lines.to_owned(), ..Settings::key_file() };
    let server = Server::prepare(BINARY, settings).await;
    let root = Issuer::root("another root", csr::p256());
    root.below("ca", key).write(server.folder.path(), "ca", &[&root]);
    let config = fs::read_to_string(server.config()).unwrap();
    assert!(config.contains("/ca-key.pem"), "{config}");
    let output = server.run(&["check"]);
    (output.status.success(), text(&output))
}

#[tokio::test]
async fn every_key_signs_as_the_configuration_asks() {
    let ed25519 = || PKey::generate_ed25519().unwrap();
    for (key, lines) in [
        (csr::rsa(2048), "digest = \"sha512\""),
        (csr::rsa(2048), "rsa_padding = \"pss\""),
        (csr::rsa(2048), "rsa_padding = \"pss\"\ndigest = \"sha384\""),
        (csr::p256(), "digest = \"sha512\""),
        (csr::p256(), "rsa_padding = \"pkcs1\""),
        (p521(), ""),
        (p521(), "digest = \"sha256\""),
        (ed25519(), ""),
    ] {
        let (well, said) = check(key, lines).await;
        assert!(well, "{lines}: {said}");
    }
}

#[tokio::test]
async fn what_does_not_fit_the_key_is_refused_with_what_to_remove() {
    let ed25519 = PKey::generate_ed25519().unwrap();
    for (key, lines, parts) in [
        (csr::p256(), "rsa_padding = \"pss\"", ["EC P-256", "remove rsa_padding"]),
        (ed25519.clone(), "rsa_padding = \"pss\"", ["Ed25519", "remove rsa_padding"]),
        (ed25519, "digest = \"sha256\"", ["Ed25519", "remove digest"]),
    ] {
        let (well, said) = check(key, lines).await;
        assert!(!well, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
