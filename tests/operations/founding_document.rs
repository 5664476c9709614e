//! The full example of the founding document: an RSA CA and an EC CA on one token.

use std::fs;
use std::process::{Command, Stdio};

use harness::{Issuer, Port, SoftToken, csr};

use crate::BINARY;

/// As the document has it, comments and all.
const EXAMPLE: &str = r#"
# HSM configuration
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

#[test]
fn the_full_example_of_the_founding_document_serves_two_cas() {
    let token = SoftToken::new();
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    fs::create_dir_all(etc.join("ca")).unwrap();
    for (key_type, id, name) in
        [("rsa:2048", "01", "hsm-rsa-ca"), ("EC:prime256v1", "03", "hsm-ec-ca")]
    {
        token.keygen(key_type, id);
        fs::copy(token.self_sign(id, name), etc.join(format!("ca/{name}.pem"))).unwrap();
    }
    let tls = Issuer::root("localhost", csr::p256());
    tls.write(&etc, "server", &[]);
    let reserved = Port::reserve();
    let port = reserved.number;
    // Only what is different on this machine is changed: where things are.
    let config = EXAMPLE
        .replace("/etc/kipuka", &etc.to_string_lossy())
        .replace("0.0.0.0:8443", &format!("127.0.0.1:{port}"))
        .replace("/usr/lib/pkcs11/libkryoptic_pkcs11.so", harness::token::LIBRARY);
    let file = etc.join("kipuka.toml");
    fs::write(&file, config).unwrap();

    // `kipuka` alone, as the document starts it.
    let mut command = Command::new(BINARY);
    command.env("KIPUKA_CONFIG", &file).env("KIPUKA_HSM_PIN", harness::token::PIN);
    command.env("SOFTHSM2_CONF", token.conf()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    let directory = |ca: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--insecure", "--retry", "100", "--retry-delay", "0"]);
        curl.args(["--retry-connrefused", "--retry-max-time", "30"]);
        curl.arg(format!("https://127.0.0.1:{port}/acme/{ca}/directory"));
        harness::command::output(&mut curl)
    };
    let answers = ["hsm-rsa-ca", "hsm-ec-ca"].map(directory);
    running.kill().unwrap();
    running.wait().unwrap();
    for answer in answers {
        let text = harness::command::text(&answer);
        assert!(text.contains("/new-order"), "{text}");
    }
}
