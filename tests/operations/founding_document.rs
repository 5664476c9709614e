//! The founding document's examples, on the tokens that they are written for.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::acme::verify_chain;
use harness::{Algorithm, Client, Issuer, Key, Port, Responder, Token, Zone, csr, kryoptic};
use openssl::x509::X509;

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

/// "Development Setup with Kryoptic": its commands, from the token to the CA certificate.
const DEVELOPMENT_COMMANDS: &str = r#"
mkdir -p ~/.config/kryoptic

pkcs11-tool --module target/release/libkryoptic_pkcs11.so \
  --init-token \
  --label "kipuka-dev" \
  --so-pin 12345678

pkcs11-tool --module target/release/libkryoptic_pkcs11.so \
  --init-pin \
  --so-pin 12345678 \
  --pin 1234

pkcs11-tool --module target/release/libkryoptic_pkcs11.so \
  --login \
  --pin 1234 \
  --keypairgen \
  --key-type rsa:2048 \
  --id 01 \
  --label "kipuka-dev-ca"

export KIPUKA_HSM_PIN=1234

# Generate a self-signed CA certificate using the HSM key
openssl req -new -x509 \
  -engine pkcs11 \
  -keyform engine \
  -key "pkcs11:token=kipuka-dev;id=%01;type=private" \
  -out /etc/kipuka/ca/dev-ca.pem \
  -days 3650 \
  -subj "/CN=kipuka Development CA"
"#;

/// Its `kipuka.toml`.
const DEVELOPMENT: &str = r#"
[hsm]
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

/// What the document leaves to the reader: where Kryoptic keeps its token, that OpenSSL's engine
/// wants the library and the PIN, and which extensions make a CA (RFC 5280 §4.2.1.3 demands keyUsage,
/// which Debian's openssl.cnf does not give).
const DEVELOPMENT_FILES: &str = r#"
mkdir -p ~/.config/kryoptic
cat > ~/.config/kryoptic/token.conf <<CONF
[[slots]]
slot = 1
dbtype = "sqlite"
dbargs = "$HOME/.config/kryoptic/token.sql"
CONF
cat > ~/openssl.cnf <<CONF
openssl_conf = openssl_init
[openssl_init]
engines = engines
[engines]
pkcs11 = pkcs11
[pkcs11]
engine_id = pkcs11
MODULE_PATH = $MODULE
PIN = 1234
init = 0
[req]
distinguished_name = name
x509_extensions = v3_ca
[name]
[v3_ca]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always,issuer
basicConstraints = critical,CA:true
keyUsage = critical,digitalSignature,keyCertSign,cRLSign
CONF
"#;

/// `kipuka` alone, as the document starts it.
struct Running(Child);

impl Running {
    fn start(config: &Path, environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(BINARY);
        command.env("KIPUKA_CONFIG", config).env("KIPUKA_HSM_PIN", harness::token::PIN);
        command.envs(environment.iter().cloned()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The directory of a CA, once the server answers.
fn directory(port: u16, ca: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--insecure", "--retry", "100", "--retry-delay", "0"]);
    curl.args(["--retry-connrefused", "--retry-max-time", "30"]);
    curl.arg(format!("https://127.0.0.1:{port}/acme/{ca}/directory"));
    harness::command::run(&mut curl)
}

#[test]
fn the_full_example_serves_two_cas_on_softhsm2() {
    the_full_example_serves_two_cas(&Token::softhsm());
}

#[test]
fn the_full_example_serves_two_cas_on_kryoptic() {
    the_full_example_serves_two_cas(&Token::kryoptic());
}

fn the_full_example_serves_two_cas(token: &Token) {
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
    let port = Port::reserve();
    // Only what is different on this machine is changed: where things are.
    let config = EXAMPLE
        .replace("/etc/kipuka", &etc.to_string_lossy())
        .replace("0.0.0.0:8443", &port.address().to_string())
        .replace("/usr/lib/pkcs11/libkryoptic_pkcs11.so", &token.library().to_string_lossy());
    let file = etc.join("kipuka.toml");
    fs::write(&file, config).unwrap();
    let _running = Running::start(&file, token.environment());
    for ca in ["hsm-rsa-ca", "hsm-ec-ca"] {
        let directory = directory(port.number, ca);
        assert!(directory.contains("/new-order"), "{directory}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_development_setup_with_kryoptic_leads_to_a_certificate() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path).to_string_lossy().into_owned();
    let library = kryoptic::library().to_string_lossy().into_owned();
    fs::create_dir_all(at("etc/kipuka/ca")).unwrap();
    // --init-pin needs the officer's login, which the document does not write.
    let commands = DEVELOPMENT_COMMANDS
        .replace("target/release/libkryoptic_pkcs11.so", &library)
        .replace("--init-pin", "--login --login-type so --init-pin")
        .replace("/etc/kipuka", &at("etc/kipuka"));
    let environment = [("HOME", at("")), ("MODULE", library.clone())];
    let conf = at("openssl.cnf");
    let mut variables: Vec<_> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    harness::command::shell(DEVELOPMENT_FILES, &variables);
    variables.push(("OPENSSL_CONF", &conf));
    harness::command::shell(&commands, &variables);

    let (port, zone, responder) = (Port::reserve(), Zone::start().await, Responder::start().await);
    let config = DEVELOPMENT
        .replace("/etc/kipuka", &at("etc/kipuka"))
        .replace("/home/user/kryoptic/target/release/libkryoptic_pkcs11.so", &library);
    let here = format!(
        "[server]\nlisten = \"{}\"\n[validation]\nresolvers = [\"{}\"]\nhttp_port = {}\n",
        port.address(),
        zone.address,
        responder.http_port
    );
    let file = home.path().join("etc/kipuka/kipuka.toml");
    fs::write(&file, format!("{config}\n{here}")).unwrap();
    let _running = Running::start(&file, &environment);
    directory(port.number, "dev-ca");
    let roots = X509::stack_from_pem(&fs::read(at("etc/kipuka/ca/dev-ca.pem")).unwrap()).unwrap();
    let key = Key::new(Algorithm::Es256);
    let mut client = Client::new(port.address(), "dev-ca", key, &roots, &responder, &zone).await;
    client.register().await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    verify_chain(&chain, &roots, "a.test");
}
