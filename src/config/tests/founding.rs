//! The founding document's examples, as it writes them.

use super::*;

const FULL: &str = r#"# HSM configuration
[hsm]
library = "/usr/lib/pkcs11/libkryoptic_pkcs11.so"
token_label = "kipuka"
pin_env = "KIPUKA_HSM_PIN"

# Server configuration
[server]
listen = "0.0.0.0:8443"
tls_cert = "/etc/kipuka/server.pem"
tls_key = "/etc/kipuka/server-key.pem"

# RSA CA using HSM key
[[ca]]
id = "hsm-rsa-ca"
name = "HSM-Protected RSA CA"
cert = "/etc/kipuka/ca/hsm-rsa-ca.pem"
hsm_slot = 1
validity_days = 365
key_usage = ["digitalSignature", "keyCertSign", "cRLSign"]

# ECDSA CA using HSM key
[[ca]]
id = "hsm-ec-ca"
name = "HSM-Protected ECDSA CA"
cert = "/etc/kipuka/ca/hsm-ec-ca.pem"
hsm_slot = 3
validity_days = 365
key_usage = ["digitalSignature", "keyCertSign", "cRLSign"]
"#;

const DEVELOPMENT: &str = r#"[hsm]
library = "/home/user/kryoptic/target/release/libkryoptic_pkcs11.so"
token_label = "kipuka-dev"
pin_env = "KIPUKA_HSM_PIN"

[[ca]]
id = "dev-ca"
name = "Development CA"
cert = "/etc/kipuka/ca/dev-ca.pem"
hsm_slot = 1
validity_days = 365
"#;

const TOKENS: [&str; 4] = [
    r#"[hsm]
library = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "kipuka"
pin_env = "KIPUKA_HSM_PIN"
"#,
    r#"[hsm]
library = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "kipuka"
pin_file = "/etc/kipuka/hsm.pin"
"#,
    r#"[hsm]
library = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "kipuka"
pin = "1234"
"#,
    r#"[hsm]
library = "/usr/lib/softhsm/libsofthsm2.so"
slot = 0
pin_env = "KIPUKA_HSM_PIN"
"#,
];

#[test]
fn the_full_example_is_two_cas_on_one_token() {
    let config = good(FULL);
    let [hsm] = &config.hsms[..] else { panic!("{config:?}") };
    assert_eq!(hsm.library, Path::new("/usr/lib/pkcs11/libkryoptic_pkcs11.so"));
    assert_eq!((hsm.slot, hsm.token_label.as_deref()), (None, Some("kipuka")));
    assert_eq!(config.server.listen, "0.0.0.0:8443".parse().unwrap());
    let tls = config.server.tls.unwrap();
    assert_eq!(tls.cert, Path::new("/etc/kipuka/server.pem"));
    assert_eq!(tls.key, Path::new("/etc/kipuka/server-key.pem"));

    let [rsa, ec] = <[Ca; 2]>::try_from(config.cas).unwrap();
    assert_eq!((&*rsa.id, &*rsa.name), ("hsm-rsa-ca", "HSM-Protected RSA CA"));
    assert_eq!(rsa.key, in_token(1));
    assert_eq!((&*ec.id, ec.validity_days), ("hsm-ec-ca", 365));
    assert_eq!(ec.cert, Path::new("/etc/kipuka/ca/hsm-ec-ca.pem"));
    assert_eq!(ec.key, in_token(3));
    let usages = [KeyUsage::DigitalSignature, KeyUsage::KeyCertSign, KeyUsage::CrlSign];
    assert_eq!(ec.key_usage, usages);
    assert_eq!(usages.map(KeyUsage::bit), [0, 5, 6]);
}

#[test]
fn the_development_example_loads() {
    assert_eq!(good(DEVELOPMENT).cas[0].id, "dev-ca");
}

#[test]
fn every_example_of_a_token_loads_without_a_ca() {
    for text in TOKENS {
        let hsm = good(text).hsms.remove(0);
        assert!(hsm.slot == Some(0) || hsm.token_label.as_deref() == Some("kipuka"));
    }
}

fn in_token(id: u8) -> CaKey {
    CaKey::Hsm { cka_id: vec![id], tokens: vec!["hsm".to_owned()], sharing: Sharing::InOrder }
}
