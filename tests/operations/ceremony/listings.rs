//! `hsm slots`, `hsm keys`, `ca show` and `ca verify`.

use std::fs;

use serde_json::Value;

use harness::Token;

use super::Ceremony;

#[test]
fn slots_show_what_pkcs11_tool_shows_and_what_to_write() {
    let ceremony = Ceremony::new();
    let shown = ceremony.run("hsm slots");
    let listed = ceremony.token.shell("pkcs11-tool --module $MODULE --list-slots");
    let (_, ours) = listed.split_once("token label        : kipuka").unwrap();
    for line in ours.lines().take_while(|line| !line.starts_with("Slot")).skip(1) {
        let (name, value) = line.split_once(':').unwrap();
        let (name, value) = (name.trim(), value.trim());
        let found = shown.lines().find(|line| line.trim().starts_with(name));
        let found = found.unwrap_or_else(|| panic!("{name}: {shown}"));
        // Flags in another order; pkcs11-tool has no word for one of them.
        let found = found.split_once(": ").unwrap().1;
        let words = value.split(", ").filter(|word| !word.starts_with("other flags"));
        for word in words {
            assert!(found.split(", ").any(|found| found == word), "{name}: {word}: {found}");
        }
    }
    assert!(shown.contains("in [hsm] write: token_label = \"kipuka\""), "{shown}");
    let json: Value = serde_json::from_str(&ceremony.run("hsm slots --json")).unwrap();
    let token = &json[0]["token"];
    assert_eq!(token["label"], "kipuka");
    assert_eq!((&token["pin_min"], &token["pin_max"]), (&4.into(), &255.into()));
    assert!(token["flags"].as_array().unwrap().contains(&"token initialized".into()), "{json}");
    assert!(json[0]["slot"].is_u64() && json[1]["token"]["label"] == "", "{json}");
}

#[test]
fn keys_show_what_they_may_do_and_whether_they_can_leave_the_token() {
    let ceremony = Ceremony::new();
    ceremony.run("hsm keygen --id 07 --type rsa-2048 --label mine");
    ceremony.token.keygen("EC:secp384r1", "0a1b");
    let shown = ceremony.run("hsm keys");
    for part in [
        "id 07 label \"mine\" (RSA private key)\n  kind  : RSA 2048\n  usage : sign\n  access: sensitive, \
         always sensitive, never extractable, local\n  in [[ca]] write: hsm_slot = \"07\"\n",
        "id 07 label \"mine\" (RSA public key)\n  kind  : RSA 2048\n  usage : verify\n",
        "id 0a1b label \"key-0a1b\" (EC private key)\n  kind  : EC P-384\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json: Value = serde_json::from_str(&ceremony.run("hsm keys --json")).unwrap();
    let mine = &json[0];
    assert_eq!(mine["id"], "07");
    assert_eq!(mine["class"], "private");
    assert_eq!(mine["kind"], "RSA 2048");
    assert_eq!(mine["usage"], serde_json::json!(["sign"]));
    assert_eq!((&mine["sensitive"], &mine["extractable"]), (&true.into(), &false.into()));
    assert_eq!(json[1]["class"], "public");
    assert_eq!(json[1]["key_identifier"], mine["key_identifier"]);
    // Whoever has read enough of it closes the pipe.
    ceremony.shell(&format!("export KIPUKA_HSM_PIN=1234\n{} hsm keys | head -1", crate::BINARY));
}

#[test]
fn a_fresh_token_is_initialised_once_and_never_again() {
    let ceremony = Ceremony::with(Token::empty_softhsm());
    let init = |variable: &str| {
        let mut command = ceremony.command(&format!("hsm init-token --so-pin-env {variable}"));
        let output = command.env("OFFICER", "12345678").output().unwrap();
        (output.status.code(), harness::command::text(&output))
    };
    assert_eq!(init("NOBODY").0, Some(2));
    let (code, said) = init("OFFICER");
    assert_eq!(code, Some(0), "{said}");
    ceremony.run("hsm keygen --id 07 --type ec-p256 --label here");
    let (code, said) = init("OFFICER");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is a token \"kipuka\" already"), "{said}");
    assert!(ceremony.run("hsm keys").contains("\"here\""), "it was left as it is");
}

/// A root, and below it the CA `example`, which is configured.
fn configured() -> Ceremony {
    let ceremony = Ceremony::new();
    ceremony.run(
        "ca create-root --id 07 --generate ec-p256 --label root --subject CN=Root --days 3650 \
         --out root.pem",
    );
    ceremony.run(
        "ca create-intermediate --id 08 --generate ec-p256 --label ca --subject CN=CA --issuer-id 07 \
         --issuer-cert root.pem --days 365 --path-len 0 --out ca.pem",
    );
    ceremony.configure("\n[[ca]]\nid = \"example\"\ncert = \"ca.pem\"\nhsm_slot = 8\n");
    ceremony
}

#[test]
fn show_tells_what_a_certificate_says_and_where_its_key_is() {
    let ceremony = configured();
    let shown = ceremony.run("ca show");
    for part in [
        "CA \"example\"",
        "CN=CA",
        "CA, path length 0",
        "CKA_ID 08 on the token \"kipuka\"",
        "it matches",
        "above it:",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let json: Value = serde_json::from_str(&ceremony.run("ca show example --json")).unwrap();
    let certificates = json[0]["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 2);
    let own = &certificates[0];
    assert_eq!((&own["subject"], &own["issuer"]), (&"CN=CA".into(), &"CN=Root".into()));
    assert_eq!((&own["path_len"], &own["is_ca"]), (&0.into(), &true.into()));
    assert_eq!(own["key_usage"], serde_json::json!(["digitalSignature", "keyCertSign", "cRLSign"]));
    assert_eq!(own["authority_key_identifier"], certificates[1]["subject_key_identifier"]);
    let digest = ceremony.shell("openssl x509 -in ca.pem -outform DER | sha256sum | cut -d' ' -f1");
    assert_eq!(own["sha256"], digest.trim());
    assert_eq!(json[0]["keys"][0]["matches"], true);
    assert_eq!(json[0]["keys"][0]["cka_id"], "08");

    // A file needs neither configuration nor token, and may hold any certificate.
    ceremony.shell(&format!(
        "openssl req -new -x509 -newkey rsa:2048 -nodes -keyout k -subj /CN=any -addext \
         basicConstraints=CA:FALSE -outform DER -out any.cer 2>/dev/null\n\
         rm kipuka.toml\n{} ca show any.cer | grep 'no CA'",
        crate::BINARY
    ));
}

#[test]
fn show_tells_where_the_key_is_another_or_none() {
    let ceremony = configured();
    let config = ceremony.read("kipuka.toml");
    for (slot, matches, part) in [
        ("7", Value::Bool(false), "another key has this id there"),
        ("99", Value::Null, "has no private key with CKA_ID 63"),
    ] {
        let text = config.replace("hsm_slot = 8", &format!("hsm_slot = {slot}"));
        fs::write(ceremony.path("kipuka.toml"), text).unwrap();
        let json: Value = serde_json::from_str(&ceremony.run("ca show --json")).unwrap();
        let key = &json[0]["keys"][0];
        assert_eq!(key["matches"], matches);
        assert!(key["detail"].as_str().unwrap().contains(part), "{key}");
    }
}

#[test]
fn verify_prints_a_line_for_each_ca_and_ends_with_1_where_one_is_wrong() {
    let ceremony = configured();
    let said = ceremony.run("ca verify --root root.pem");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        "ok       CA \"example\": CN=CA until ",
        "path to CN=Root",
        "key usage cRLSign, digitalSignature, keyCertSign",
        "path length 0",
        "test signature verified",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(ceremony.run("ca verify").contains("(in its own file)"));

    ceremony.run(
        "ca create-root --id 0a --generate ec-p256 --label other --subject CN=Root --days 9 \
         --out other.pem",
    );
    ceremony.refused("ca verify --root other.pem", 1, "WRONG    CA \"example\"");
    let chain = ceremony.read("ca.pem");
    let end = "-----END CERTIFICATE-----\n";
    let (own, _) = chain.split_at(chain.find(end).unwrap() + end.len());
    fs::write(ceremony.path("ca.pem"), own).unwrap();
    ceremony.refused("ca verify", 1, "the root is not in it; name it with --root");
    ceremony.run("ca verify --root root.pem");
    ceremony.refused("ca verify --root root.pem nobody", 2, "no [[ca]] with the id \"nobody\"");

    let config = ceremony.read("kipuka.toml");
    let demands = config.replace("hsm_slot = 8", "hsm_slot = 8\nkey_usage = [\"keyAgreement\"]");
    fs::write(ceremony.path("kipuka.toml"), demands).unwrap();
    ceremony.refused("ca verify --root root.pem", 1, "lacks the key usage keyAgreement");
    fs::write(ceremony.path("kipuka.toml"), config.replace("hsm_slot = 8", "hsm_slot = 7"))
        .unwrap();
    ceremony.refused("ca verify --root root.pem", 1, "do not belong together");
}
