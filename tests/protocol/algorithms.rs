//! CAs of every algorithm, in tokens, each asked for a certificate by every kind of CSR.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use der::Encode as _;
use harness::command::{output, text};
use harness::{Issuer, Server, Settings, Token, csr, kryoptic};
use openssl::x509::X509;
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
const NAME: &str = "a.test";

/// A CA whose key is in a token.
struct Ca {
    id: &'static str,
    /// `CKA_ID` in hex.
    cka_id: &'static str,
    /// Lines of its `[[ca]]`.
    lines: &'static str,
    /// As OpenSSL shows it in an issued certificate.
    signature: &'static str,
}

/// A CSR, and whether only a new OpenSSL can read its key.
struct Csr {
    what: String,
    der: Vec<u8>,
    is_ml_dsa: bool,
}

fn every_kind_of_csr() -> Vec<Csr> {
    let p = |curve| vec!["ec", "-pkeyopt", curve];
    let pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_mgf1_md:sha384", "-sha384"];
    let mut list = Vec::new();
    for (key, is_ml_dsa) in [
        (vec!["rsa:2048"], false),
        ([&["rsa:2048"], &pss[..]].concat(), false),
        ([&["rsa:3072"], &pss[..], &["-sigopt", "rsa_pss_saltlen:digest"]].concat(), false),
        (p("ec_paramgen_curve:P-256"), false),
        (p("ec_paramgen_curve:P-384"), false),
        (p("ec_paramgen_curve:P-521"), false),
        (vec!["ed25519"], false),
        (vec!["ml-dsa-44"], true),
        (vec!["ml-dsa-65"], true),
        (vec!["ml-dsa-87"], true),
    ] {
        let openssl = if is_ml_dsa { kryoptic::openssl() } else { Command::new("openssl") };
        let der = csr::made_by(openssl, &key, NAME);
        list.push(Csr { what: key.join(" "), der, is_ml_dsa });
    }
    list
}

/// A server with these CAs, each with a certificate below one root.
async fn server(token: Token, cas: &[Ca]) -> Server {
    let root = Issuer::root("root", csr::p256());
    let mut text = String::new();
    for Ca { id, cka_id, lines, .. } in cas {
        let certificate = match id.starts_with("ml-dsa") {
            true => certify_ml_dsa(&token, id, cka_id, &root),
            false => token.certify(cka_id, id, &root),
        };
        let certificate = certificate.display();
        text += &format!("[[ca]]\nid = \"{id}\"\ncert = \"{certificate}\"\n{lines}\n");
        text += &format!("hsm_slot = \"{cka_id}\"\n\n");
    }
    let settings = Settings { token: Some(token), ..Settings::default() };
    let mut server = Server::prepare(BINARY, settings).await;
    fs::write(server.root(), root.certificate.to_pem().unwrap()).unwrap();
    let config = fs::read_to_string(server.config()).unwrap();
    fs::write(server.config(), config + &text).unwrap();
    server.spawn();
    server
}

/// A CA certificate for an ML-DSA key in a token, made by an OpenSSL that knows such keys.
fn certify_ml_dsa(token: &Token, name: &str, cka_id: &str, root: &Issuer) -> PathBuf {
    let file = |name: &str| token.path().join(name);
    let (root_certificate, root_key) = root.write(token.path(), "ml-dsa-root", &[]);
    fs::write(file("key.der"), ml_dsa_spki(token, name, cka_id)).unwrap();
    let extensions = "basicConstraints = critical, CA:TRUE\n\
                      keyUsage = critical, digitalSignature, keyCertSign, cRLSign\n\
                      subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n";
    fs::write(file("extensions.cnf"), extensions).unwrap();
    let mut openssl = kryoptic::openssl();
    openssl.args(["x509", "-new", "-days", "3650", "-subj", &format!("/CN={name}")]);
    openssl.arg("-force_pubkey").arg(file("key.der")).arg("-keyform").arg("DER");
    openssl.arg("-CA").arg(&root_certificate).arg("-CAkey").arg(&root_key);
    let out = file(&format!("ca-{cka_id}.pem"));
    openssl.arg("-extfile").arg(file("extensions.cnf")).arg("-out").arg(&out);
    let made = output(&mut openssl);
    assert!(made.status.success(), "{}", text(&made));
    let mut pem = fs::read(&out).unwrap();
    pem.extend(root.certificate.to_pem().unwrap());
    fs::write(&out, pem).unwrap();
    out
}

/// Names the `CKA_ID` of a key to the copy of this process that [`ml_dsa_spki`] starts.
const SHOW: &str = "KIPUKA_TEST_SHOW_PUBLIC_KEY";

/// What pkcs11-tool does not show of an ML-DSA key. In a copy of this process, for the library reads
/// its environment.
fn ml_dsa_spki(token: &Token, name: &str, cka_id: &str) -> Vec<u8> {
    let test = "algorithms::ml_dsa_cas_issue_for_every_kind_of_csr";
    let mut copy = Command::new(std::env::current_exe().unwrap());
    copy.args([test, "--exact", "--nocapture"]).envs(token.environment().iter().cloned());
    let shown = output(copy.env(SHOW, cka_id).env("MODULE", token.library()));
    let shown = text(&shown);
    let hex = shown.split_once("value:").unwrap().1.lines().next().unwrap();
    let value = openssl::bn::BigNum::from_hex_str(hex).unwrap();
    let value = value.to_vec_padded(i32::try_from(hex.len() / 2).unwrap()).unwrap();
    let oid = match name {
        "ml-dsa-44" => "2.16.840.1.101.3.4.3.17",
        "ml-dsa-65" => "2.16.840.1.101.3.4.3.18",
        _ => "2.16.840.1.101.3.4.3.19",
    };
    let oid = ObjectIdentifier::new_unwrap(oid);
    let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
    let subject_public_key = der::asn1::BitString::from_bytes(&value).unwrap();
    SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().unwrap()
}

fn show_public_key(cka_id: &str) {
    let context = Pkcs11::new(std::env::var_os("MODULE").unwrap()).unwrap();
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap()[0];
    let session = context.open_ro_session(slot).unwrap();
    let id = vec![u8::from_str_radix(cka_id, 16).unwrap()];
    let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id)];
    let key = session.find_objects(&template).unwrap()[0];
    for attribute in session.get_attributes(key, &[AttributeType::Value]).unwrap() {
        let Attribute::Value(value) = attribute else { continue };
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("value:{hex}");
    }
}

async fn issue_everything(server: &Server, cas: &[Ca]) {
    let requests = every_kind_of_csr();
    let chain_file = server.folder.path().join("chain.pem");
    for (Ca { id, signature, .. }, number) in cas.iter().zip(0..) {
        let mut client = server.account(id).await;
        // The first CA is asked with every CSR, each other with a third of them.
        let (skip, step) = if number == 0 { (0, 1) } else { (number % 3, 3) };
        for request in requests.iter().skip(skip).step_by(step) {
            let what = format!("{} at the CA {id}", request.what);
            let mut order = client.order(&[NAME]).await.prove("http-01").await;
            order.finalize_with(&request.der).await.expect(200);
            let chain = order.certificates().await;
            let pem = chain.iter().flat_map(|one| one.to_pem().unwrap()).collect::<Vec<_>>();
            fs::write(&chain_file, pem).unwrap();
            // An OpenSSL that does not know ML-DSA cannot judge what has to do with it.
            if request.is_ml_dsa || id.starts_with("ml-dsa") {
                let judged = kryoptic::verify(&server.root(), &chain_file);
                assert_eq!(judged, Ok(()), "{what}");
            } else {
                verify(&server.root(), &chain_file, &what);
            }
            assert_eq!(signature_algorithm(&chain[0]), *signature, "{what}");
        }
    }
}

fn verify(root: &Path, chain: &Path, what: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-CAfile"]).arg(root).arg("-untrusted");
    let judged = output(openssl.args([chain, chain]));
    assert!(judged.status.success(), "{what}: {}", text(&judged));
}

/// Every CA's list lets a certificate pass until it is revoked.
async fn revoke_everywhere(server: &Server, cas: &[Ca]) {
    let folder = server.folder.path();
    // Those of one key have one certificate here: they are one issuer, and its first CA signs for all.
    let mut keys = std::collections::BTreeSet::new();
    for Ca { id, .. } in cas.iter().filter(|ca| keys.insert(ca.cka_id)) {
        let mut client = server.account(id).await;
        let chain = client.order(&[NAME]).await.prove("http-01").await.finalize().await;
        let pem = chain.iter().flat_map(|one| one.to_pem().unwrap()).collect::<Vec<_>>();
        fs::write(folder.join("chain.pem"), pem).unwrap();
        fs::write(folder.join("issuer.pem"), chain[1].to_pem().unwrap()).unwrap();
        let openssl = |arguments: &[&str]| {
            let mut openssl = match id.starts_with("ml-dsa") {
                true => kryoptic::openssl(),
                false => Command::new("openssl"),
            };
            let output = output(openssl.args(arguments).current_dir(folder));
            (output.status.success(), text(&output))
        };
        let check = |crl: String| {
            fs::write(folder.join("crl.pem"), crl).unwrap();
            let (_, said) =
                openssl(&["crl", "-noout", "-verify", "-in", "crl.pem", "-CAfile", "issuer.pem"]);
            assert!(said.contains("verify OK"), "{id}: {said}");
            openssl(&[
                "verify",
                "-x509_strict",
                "-crl_check",
                "-CAfile",
                "root.pem",
                "-CRLfile",
                "crl.pem",
                "-untrusted",
                "chain.pem",
                "chain.pem",
            ])
        };
        let (good, said) = check(server.crl(id, 0).await);
        assert!(good, "{id}: {said}");
        let url = client.url("revokeCert");
        let certificate = harness::key::base64url(chain[0].to_der().unwrap());
        let payload = serde_json::json!({ "certificate": certificate, "reason": 5 });
        client.post(&url, &payload).await.expect(200);
        let (good, said) = check(server.crl(id, 1).await);
        assert!(!good && said.contains("certificate revoked"), "{id}: {said}");
    }
}

fn signature_algorithm(certificate: &X509) -> String {
    let der = certificate.to_der().unwrap();
    let mut openssl = kryoptic::openssl();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), der).unwrap();
    let shown = output(openssl.args(["x509", "-noout", "-text", "-in"]).arg(file.path()));
    let shown = text(&shown);
    // That of PSS is shown with its parameters.
    let (_, rest) = shown.split_once("Signature Algorithm: ").unwrap();
    let (algorithm, _) = rest.split_once("Issuer:").unwrap();
    algorithm.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hsm_keygen(token: &Token, key_type: &str, id: &str) {
    let config = token.path().join("keygen.toml");
    fs::write(&config, token.section()).unwrap();
    let mut kipuka = token.command(BINARY);
    kipuka.arg("--config").arg(&config).args(["hsm", "keygen", "--label", key_type]);
    kipuka.args(["--id", id, "--type", key_type]).env("KIPUKA_HSM_PIN", harness::token::PIN);
    let made = output(&mut kipuka);
    assert!(made.status.success(), "{key_type}: {}", text(&made));
}

const PSS_SHA256: &str = "rsassaPss Hash Algorithm: sha256 Mask Algorithm: mgf1 with sha256 \
                          Salt Length: 0x20 Trailer Field: 0x01 (default)";
const PSS_SHA512: &str = "rsassaPss Hash Algorithm: sha512 Mask Algorithm: mgf1 with sha512 \
                          Salt Length: 0x40 Trailer Field: 0x01 (default)";

/// RFC 4055, RFC 5758, RFC 8410.
#[tokio::test]
async fn cas_of_every_classic_algorithm_issue_for_every_kind_of_csr() {
    let token = Token::softhsm();
    // Half of them as pkcs11-tool makes them: with other attributes, and Ed25519 by its name.
    for (key_type, id) in [("rsa:2048", "01"), ("EC:prime256v1", "03"), ("EC:edwards25519", "06")] {
        token.keygen(key_type, id);
    }
    for (key_type, id) in [("rsa-3072", "02"), ("ec-p384", "04"), ("ec-p521", "05")] {
        hsm_keygen(&token, key_type, id);
    }
    hsm_keygen(&token, "ed25519", "07");
    let ca = |id, cka_id, lines, signature| Ca { id, cka_id, lines, signature };
    let pss = "rsa_padding = \"pss\"";
    let pss_sha512 = "rsa_padding = \"pss\"\ndigest = \"sha512\"";
    let cas = [
        ca("rsa", "01", "", "sha256WithRSAEncryption"),
        ca("rsa-sha512", "01", "digest = \"sha512\"", "sha512WithRSAEncryption"),
        ca("pss", "01", pss, PSS_SHA256),
        ca("pss-sha512", "02", pss_sha512, PSS_SHA512),
        ca("p256", "03", "", "ecdsa-with-SHA256"),
        ca("p384", "04", "", "ecdsa-with-SHA384"),
        ca("p521", "05", "", "ecdsa-with-SHA512"),
        ca("ed25519", "06", "", "ED25519"),
        ca("ed25519-too", "07", "", "ED25519"),
    ];
    let server = server(token, &cas).await;
    issue_everything(&server, &cas).await;
    revoke_everywhere(&server, &cas).await;
}

/// RFC 9881.
#[tokio::test]
async fn ml_dsa_cas_issue_for_every_kind_of_csr() {
    if let Ok(cka_id) = std::env::var(SHOW) {
        return show_public_key(&cka_id);
    }
    let token = Token::kryoptic();
    let mut cas = Vec::new();
    // The server's own certificate is from the first CA, and no TLS client here knows ML-DSA.
    for (id, cka_id, signature) in [
        ("ec-p256", "04", "ecdsa-with-SHA256"),
        ("ml-dsa-44", "01", "ML-DSA-44"),
        ("ml-dsa-65", "02", "ML-DSA-65"),
        ("ml-dsa-87", "03", "ML-DSA-87"),
    ] {
        hsm_keygen(&token, id, cka_id);
        cas.push(Ca { id, cka_id, lines: "", signature });
    }
    let server = server(token, &cas).await;
    issue_everything(&server, &cas).await;
    revoke_everywhere(&server, &cas).await;
}
