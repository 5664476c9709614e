//! Roots and CAs below them, made here.

use harness::acme::verify_chain;
use harness::{Ca, Server, Settings, Token};
use openssl::x509::X509;

use super::{Ceremony, mode};
use crate::BINARY;

#[tokio::test(flavor = "multi_thread")]
async fn a_root_and_an_issuing_ca_made_here_issue_over_acme() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "first", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let mut server = Server::prepare(BINARY, settings).await;
    let path = |name: &str| server.folder.path().join(name).display().to_string();
    let (root, issuing) = (path("example-root.pem"), path("example-ca.pem"));
    let run = |arguments: &[&str]| {
        let output = server.run(arguments);
        assert!(output.status.success(), "{}", harness::command::text(&output));
    };
    run(&["hsm", "keygen", "--id", "07", "--type", "ec-p384", "--label", "root"]);
    let name = "CN=Example Root,O=Example,C=DE";
    run(&["ca", "create-root", "--id", "07", "--subject", name, "--days", "7300", "--out", &root]);
    let name = "CN=Example CA 1,O=Example,C=DE";
    let key = ["--generate", "rsa-2048", "--label", "issuing", "--id", "0a1b", "--subject", name];
    let issuer = ["--issuer-id", "07", "--issuer-cert", &root, "--path-len", "0"];
    let rest = ["--days", "3650", "--out", &issuing];
    run(&[&["ca", "create-intermediate"][..], &key, &issuer, &rest].concat());

    let config = std::fs::read_to_string(server.config()).unwrap();
    let section = format!(
        "[[ca]]\nid = \"example\"\ncert = \"{issuing}\"\nhsm_slot = \"0a1b\"\n\
         key_usage = [\"digitalSignature\", \"keyCertSign\", \"cRLSign\"]\n"
    );
    std::fs::write(server.config(), config + &section).unwrap();
    run(&["ca", "verify", "--root", &root, "example"]);
    server.spawn();
    let mut client = server.account("example").await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let root = X509::from_pem(&std::fs::read(&root).unwrap()).unwrap();
    verify_chain(&chain, &[root], "a.test");
}

#[test]
fn a_root_of_fifty_years_is_what_openssl_takes_for_one() {
    let ceremony = Ceremony::new();
    ceremony.run("hsm keygen --id 07 --type ec-p384 --label root");
    let subject = "CN=Example_Root,O=Example\\,_Inc.,C=DE";
    // Whatever the umask of the operator: everybody may read a certificate.
    let script = format!(
        "umask 077; exec {BINARY} ca create-root --id 07 --subject '{}' --days 18262 --out root.pem",
        subject.replace('_', " ")
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(ceremony.folder.path());
    harness::command::run(command.env("KIPUKA_HSM_PIN", &ceremony.pin));
    assert_eq!(mode(&ceremony.path("root.pem")), 0o644);

    let text = ceremony.shell("openssl x509 -in root.pem -noout -text -nameopt RFC2253,utf8");
    for part in [
        "Subject: CN=Example Root,O=Example\\, Inc.,C=DE",
        "Issuer: CN=Example Root,O=Example\\, Inc.,C=DE",
        "X509v3 Basic Constraints: critical\n                CA:TRUE\n",
        "X509v3 Key Usage: critical\n                Digital Signature, Certificate Sign, CRL Sign",
        "X509v3 Subject Key Identifier",
        "ecdsa-with-SHA384",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("Authority Key Identifier"), "it would be its own: {text}");
    let dates = ceremony.shell("openssl asn1parse -in root.pem | grep TIME");
    let forms: Vec<_> = dates.lines().map(|line| line.contains("GENERALIZEDTIME")).collect();
    assert_eq!(forms, [false, true], "RFC 5280 §4.1.2.5: {dates}");
    let serial = ceremony.shell("openssl x509 -in root.pem -noout -serial");
    assert!(serial.trim().len() >= "serial=".len() + 16, "64 bits or more: {serial}");
    let other = ceremony.run("ca create-root --id 07 --subject CN=b --days 1 --out b.pem");
    assert!(other.contains("b.pem: the certificate of CN=b"), "{other}");
    assert_ne!(ceremony.shell("openssl x509 -in b.pem -noout -serial"), serial);
    ceremony.shell("openssl verify -x509_strict -CAfile root.pem root.pem");
}

#[test]
fn keys_of_every_kind_make_a_root_and_a_ca_below_it() {
    let ceremony = Ceremony::new();
    for (number, kind) in ["rsa-3072", "ec-p256", "ec-p521", "ed25519"].into_iter().enumerate() {
        ceremony.run(&format!(
            "ca create-root --id a{number} --generate {kind} --label root-{number} \
             --subject CN=Root_{number} --days 3650 --path-len 1 --out root-{number}.pem"
        ));
        ceremony.run(&format!(
            "ca create-intermediate --id b{number} --generate {kind} --label ca-{number} \
             --issuer-id a{number} --issuer-cert root-{number}.pem --subject CN=CA_{number} \
             --days max --path-len 0 --out ca-{number}.pem"
        ));
        ceremony.shell(&format!(
            "openssl verify -x509_strict -CAfile root-{number}.pem ca-{number}.pem\n\
             test \"$(openssl x509 -in root-{number}.pem -noout -enddate)\" = \
             \"$(openssl x509 -in ca-{number}.pem -noout -enddate)\"\n\
             openssl x509 -in ca-{number}.pem -noout -text | grep 'CA:TRUE, pathlen:0'"
        ));
        let chain = ceremony.read(&format!("ca-{number}.pem"));
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "the root stands behind it");
    }
}

/// OpenSSL 3.0 does not know ML-DSA, so kipuka judges itself.
#[test]
fn a_root_may_sign_with_ml_dsa() {
    let ceremony = Ceremony::with(Token::kryoptic());
    ceremony.run(
        "ca create-root --id 07 --generate ml-dsa-65 --label root --subject CN=Root --days 3650 \
         --out root.pem",
    );
    ceremony.run(
        "ca create-intermediate --id 08 --generate ml-dsa-44 --label ca --issuer-id 07 \
         --issuer-cert root.pem --subject CN=CA --days 365 --out ca.pem",
    );
    ceremony.configure("\n[[ca]]\nid = \"ca\"\ncert = \"ca.pem\"\nhsm_slot = 8\n");
    let said = ceremony.run("ca verify --root root.pem");
    assert!(said.contains("path to CN=Root") && said.contains("ML-DSA-44"), "{said}");
    let text = ceremony.shell("openssl x509 -in root.pem -noout -text");
    assert!(text.contains("2.16.840.1.101.3.4.3.18"), "RFC 9881 §2: {text}");
}

#[test]
fn a_dry_run_leaves_nothing_and_says_what_would_be() {
    let ceremony = Ceremony::new();
    let keygen = "hsm keygen --id 07 --type ec-p256 --label root";
    let said = ceremony.run(&format!("{keygen} --dry-run --transcript key.txt"));
    assert!(said.contains("would make: the ec-p256 key \"root\" with CKA_ID 07"), "{said}");
    assert_eq!((ceremony.keys(), ceremony.files().len()), (0, 1), "nothing was made");

    let root = "ca create-root --id 07 --subject CN=Root --days 3650 --out root.pem";
    let said = ceremony.run(&format!("{root} --generate ec-p256 --label root --dry-run"));
    for part in ["would make", "would sign: the certificate of CN=Root", "would write: root.pem"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((ceremony.keys(), ceremony.files().len()), (0, 1), "nothing was made");
    ceremony.run(keygen);
    let said = ceremony.run(&format!("{root} --dry-run"));
    assert!(said.contains("EC P-256 key with CKA_ID 07 found on the token \"kipuka\""), "{said}");
    assert_eq!(ceremony.files().len(), 1, "nothing was written");

    // A refusal is the same with and without.
    ceremony.refused(&format!("{root} --generate ec-p256 --label root --dry-run"), 1, "is taken");
    ceremony.run(root);
    let below = "ca create-intermediate --id 08 --generate ec-p256 --label ca --issuer-id 07 \
                 --issuer-cert root.pem --subject CN=CA --out ca.pem";
    let keys = ceremony.keys();
    ceremony.refused(&format!("{below} --days 9999 --dry-run"), 1, "or fewer, or --days max");
    // No key is left over from an act that could not be finished.
    ceremony.refused(&format!("{below} --days 9999"), 1, "or fewer, or --days max");
    assert_eq!(ceremony.keys(), keys);
    let said = ceremony.run(&format!("{below} --days max --dry-run"));
    assert!(said.contains("would sign: the certificate of CN=CA, issued by CN=Root"), "{said}");
    let csr = "ca create-intermediate --id 07 --subject CN=CA --csr-out ca.csr --dry-run";
    assert!(ceremony.run(csr).contains("would sign: a request for CN=CA"));
    let cross = "ca cross-sign --cert root.pem --issuer-id 07 --issuer-cert root.pem --days 1 \
                 --out x.pem --dry-run";
    ceremony.refused(cross, 1, "its issuer's own");
    assert_eq!((ceremony.keys(), ceremony.files().len()), (keys, 3), "root and transcript only");
}

#[test]
fn of_two_tokens_one_has_the_root_and_one_the_ca() {
    let (ceremony, second) = (Ceremony::new(), Token::softhsm());
    // Both in one folder, for SoftHSM2 has one configuration in a process.
    let conf = std::fs::read_to_string(ceremony.token.conf()).unwrap();
    drop(second);
    ceremony
        .token
        .shell("softhsm2-util --init-token --free --label offline --so-pin 12345678 --pin 5678");
    assert!(conf.contains("tokendir"));
    let library = ceremony.token.library().display().to_string();
    let environment = format!("SOFTHSM2_CONF = {:?}", ceremony.token.conf());
    let table = |name: &str, label: &str, pin: &str| {
        format!(
            "[[hsm]]\nname = \"{name}\"\nlibrary = \"{library}\"\ntoken_label = \"{label}\"\n\
             pin_file = \"{pin}\"\nenvironment = {{ {environment} }}\n"
        )
    };
    let text = table("online", "kipuka", "online.pin") + &table("vault", "offline", "vault.pin");
    std::fs::write(ceremony.path("kipuka.toml"), text).unwrap();
    ceremony.shell("umask 077; echo 1234 > online.pin; echo 5678 > vault.pin");
    let root = "ca create-root --id 07 --generate ec-p256 --label root --subject CN=Root --days 99 \
                --out root.pem";
    ceremony.refused(root, 2, "--hsm");
    ceremony.refused(&format!("{root} --hsm nowhere"), 2, "online, vault");
    ceremony.run(&format!("{root} --hsm vault"));
    ceremony.run(
        "ca create-intermediate --id 07 --hsm online --generate ec-p256 --label ca --issuer-id 07 \
         --issuer-hsm vault --issuer-cert root.pem --subject CN=CA --days max --out ca.pem",
    );
    ceremony.shell("openssl verify -x509_strict -CAfile root.pem ca.pem");
    let transcript = ceremony.read("ca.pem.transcript.txt");
    for part in ["Token                     \"kipuka\"", "Token                     \"offline\""] {
        assert!(transcript.contains(part), "{part}: {transcript}");
    }
    for (name, label) in [("online", "\"ca\""), ("vault", "\"root\"")] {
        let keys = ceremony.run(&format!("hsm --hsm {name} keys"));
        assert!(keys.contains(label), "{keys}");
    }
}
