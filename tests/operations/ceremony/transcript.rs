//! What is left for the auditor, and what is not.

use std::fs;

use super::{Ceremony, mode};

#[test]
fn a_transcript_says_what_was_done_with_what_and_by_whom() {
    let ceremony = Ceremony::new();
    ceremony.run(
        "ca create-root --id 07 --generate ec-p256 --label root --subject CN=It's_Root,O=Example \
         --days 3650 --out root.pem --witness Alice_Example --witness Bob_Example",
    );
    let transcript = ceremony.read("root.pem.transcript.txt");
    let value = |name: &str| {
        let line = transcript
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("  ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {transcript}"));
        line[name.len()..].trim_start().to_owned()
    };
    for (name, expected) in [
        ("CKA_ID", "07"),
        ("CKA_LABEL", "\"root\""),
        ("CKA_KEY_TYPE", "CKK_EC"),
        ("CKA_SENSITIVE", "yes"),
        ("CKA_ALWAYS_SENSITIVE", "yes"),
        ("CKA_EXTRACTABLE", "no"),
        ("CKA_NEVER_EXTRACTABLE", "yes"),
        ("CKA_LOCAL", "yes"),
        ("CKA_SIGN", "yes"),
        ("CKA_DECRYPT", "no"),
        ("CKA_UNWRAP", "no"),
        ("CKA_DERIVE", "no"),
        ("CKA_MODIFIABLE", "yes"),
        ("Program", concat!("kipuka ", env!("CARGO_PKG_VERSION"))),
        ("Token", "\"kipuka\""),
        ("  model", "SoftHSM v2"),
        ("  firmware version", "2.6"),
        ("Subject", "CN=It's Root,O=Example"),
        ("Basic constraints", "CA, any number of CAs below it"),
        ("Key usage", "digitalSignature, keyCertSign, cRLSign"),
    ] {
        assert_eq!(value(name), expected, "{transcript}");
    }
    assert!(value("Command").ends_with(
        "ca create-root --id 07 --generate ec-p256 --label root --subject 'CN=It'\\''s \
         Root,O=Example' --days 3650 --out root.pem --witness 'Alice Example' --witness 'Bob \
         Example'"
    ));
    let who = ceremony.shell("printf '%s (uid %s)' \"$(id -un)\" \"$(id -u)\"");
    assert!(value("Run by").starts_with(&who), "{transcript}");
    assert_eq!(value("On"), ceremony.shell("uname -n").trim());
    let now = ceremony.shell("date -u +%Y-%m-%dT");
    assert!(value("Begun").starts_with(now.trim()) && value("Ended").ends_with('Z'));
    let fingerprint = ceremony
        .shell("openssl x509 -in root.pem -noout -fingerprint -sha256 | sed 's/.*=//; s/://g'");
    assert_eq!(value("SHA-256 fingerprint"), fingerprint.trim().to_lowercase());
    let serial = ceremony.shell("openssl x509 -in root.pem -noout -serial | sed 's/.*=//'");
    assert_eq!(value("Serial number"), serial.trim().to_lowercase());
    // The digests of library, configuration, program and certificate file.
    let library = ceremony.token.library().display().to_string();
    for file in [&library, "kipuka.toml", crate::BINARY, "root.pem"] {
        let digest = ceremony.shell(&format!("sha256sum {file} | cut -d' ' -f1"));
        assert!(transcript.contains(digest.trim()), "{file}: {transcript}");
    }
    for witness in ["Alice Example", "Bob Example"] {
        assert!(transcript.lines().any(|line| line.starts_with(witness) && line.contains("____")));
    }
    assert_eq!(mode(&ceremony.path("root.pem.transcript.txt")), 0o644);
}

#[test]
fn each_command_leaves_a_transcript_of_what_it_did() {
    let ceremony = Ceremony::new();
    ceremony.run("hsm keygen --id 07 --type rsa-2048 --label root --transcript key.txt");
    ceremony.run("ca create-root --id 07 --subject CN=Root --days 30 --out root.pem");
    let keys = "--id 08 --generate ec-p256 --label ca";
    ceremony.run(&format!("ca create-intermediate {keys} --subject CN=CA --csr-out ca.csr"));
    let issuer = "--issuer-id 07 --issuer-cert root.pem --days 9";
    ceremony.run(&format!("ca sign-csr --csr ca.csr {issuer} --out back.pem"));
    ceremony.run("ca import --id 08 --csr ca.csr --cert back.pem --out ca.pem --transcript in.txt");
    ceremony.run(&format!("ca create-intermediate --id 08 --subject CN=CA {issuer} --out two.pem"));
    for (file, parts) in [
        ("key.txt", &["a new key", "CKK_RSA", "RSA 2048", "CKA_DECRYPT               no"][..]),
        (
            "ca.csr.transcript.txt",
            &["a request for a CA certificate", "made now, as ec-p256", "SHA-256 of its DER"],
        ),
        (
            "back.pem.transcript.txt",
            &["the signing of a request", "Certificate of the issuer", "Request"],
        ),
        (
            "in.txt",
            &[
                "made elsewhere",
                "its subject is the one that was asked for",
                "the path leads to CN=Root",
            ],
        ),
        (
            "two.pem.transcript.txt",
            &["a CA below another", "Key of the issuer", "Certificate of the issuer"],
        ),
    ] {
        let transcript = ceremony.read(file);
        let all = ["CKA_NEVER_EXTRACTABLE", "serial number", "Signatures", "Ended"];
        for part in parts.iter().chain(&all) {
            assert!(transcript.contains(part), "{file}: {part}: {transcript}");
        }
    }
}

#[test]
fn a_key_that_was_not_made_in_the_token_or_may_leave_it_is_told() {
    let ceremony = Ceremony::new();
    ceremony.token.shell(&format!(
        "openssl genpkey -algorithm RSA -out {0}/key.pem 2>/dev/null\n\
         openssl pkey -in {0}/key.pem -outform DER -out {0}/key.der\n\
         openssl pkey -in {0}/key.pem -pubout -outform DER -out {0}/pub.der\n\
         for part in privkey:key pubkey:pub; do\n\
         pkcs11-tool --module $MODULE --token-label kipuka --login --pin $PIN --id 07 --label in \
         --write-object {0}/${{part#*:}}.der --type ${{part%:*}} --usage-sign\n\
         done",
        ceremony.folder.path().display()
    ));
    let root = "ca create-root --id 07 --subject CN=Root --days 30 --out root.pem";
    let said = ceremony.run(root);
    assert!(said.contains("warning: the key was not made in this token"), "{said}");
    let transcript = ceremony.read("root.pem.transcript.txt");
    assert!(transcript.contains("CKA_LOCAL                 no"), "{transcript}");
    assert!(transcript.contains("NOTE                      the key was not made in this token"));
}

#[test]
fn no_pin_stands_anywhere() {
    let mut ceremony = Ceremony::new();
    let pin = "correct-horse-battery";
    ceremony.token.shell(&format!(
        "pkcs11-tool --module $MODULE --token-label kipuka --login --pin $PIN --change-pin --new-pin {pin}"
    ));
    pin.clone_into(&mut ceremony.pin);
    let mut said =
        ceremony.run("hsm keygen --id 07 --type ec-p256 --label root --transcript key.txt");
    let root = "ca create-root --id 07 --subject CN=Root --days 30 --out root.pem";
    said += &ceremony.run(root);
    said += &ceremony.try_run(root).1;
    said += &ceremony.run("hsm keys");
    assert!(!said.contains(pin), "{said}");
    for file in ceremony.files() {
        assert!(!ceremony.read(&file).contains(pin), "{file}");
    }

    // Nor what it could be guessed from: the digest of a file that it stands in.
    let config = ceremony.read("kipuka.toml");
    let config = config.replace("pin_env = \"KIPUKA_HSM_PIN\"", &format!("pin = \"{pin}\""));
    fs::write(ceremony.path("kipuka.toml"), config).unwrap();
    ceremony.run(&format!("{root} --force"));
    let transcript = ceremony.read("root.pem.transcript.txt");
    assert!(transcript.contains("not given: a secret stands in the file"), "{transcript}");
    let digest = ceremony.shell("sha256sum kipuka.toml | cut -d' ' -f1");
    assert!(!transcript.contains(digest.trim()) && !transcript.contains(pin), "{transcript}");
}
