//! `kipuka policy explain`.

use std::fs;
use std::process::Command;

use harness::command::text;
use harness::external_account::Credentials;
use harness::{Ca, Server, Settings};
use serde_json::{Value, json};

use crate::BINARY;

const CONFIG: &str = r#"
[policy]
deny = [".corp"]

[[ca]]
id = "web"
cert = "web.pem"
key = "web-key.pem"
[ca.policy]
allow = [".example.internal", "printer"]
allow_networks = ["10.0.0.0/8"]
max_identifiers = 3

[[ca]]
id = "strict"
cert = "strict.pem"
key = "strict-key.pem"
challenges = ["http-01"]
caa_identities = ["ca.test"]
caa = "enforce"

[[ca]]
id = "open"
cert = "open.pem"
key = "open-key.pem"
"#;

/// Exit code, what stands on stdout, and everything that was said.
fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kipuka.toml");
    fs::write(&file, CONFIG).unwrap();
    let mut kipuka = Command::new(BINARY);
    kipuka.arg("--config").arg(&file).args(["policy", "explain"]).args(arguments);
    let output = kipuka.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), text(&output))
}

#[test]
fn explain_says_which_rule_decides_and_what_would_be_offered() {
    let (code, said, all) = explain(&["--ca", "web", "A.example.internal.", "10.0.0.1"]);
    assert_eq!(code, Some(0), "{all}");
    let lines: Vec<_> = said.lines().collect();
    let [name, address] = lines[..] else { panic!("{said}") };
    assert!(
        name.starts_with("a.example.internal: yes: allow = \".example.internal\" in [ca.policy]; ")
            && name.contains("http-01")
            && name.contains("dns-01"),
        "{name}"
    );
    assert!(
        address.starts_with("10.0.0.1: yes: allow_networks = \"10.0.0.0/8\" in [ca.policy]; ")
            && address.contains("tls-alpn-01")
            && !address.contains("dns-01"),
        "{address}"
    );
    let (code, said, all) = explain(&["--ca", "open", "a.corp", "*.b.test", "a..test"]);
    assert_eq!(code, Some(1), "{all}");
    assert!(all.contains("2 of 3 names would not be issued"), "{all}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with("(deny = \".corp\" in [policy])"), "{said}");
    assert!(
        lines[1].starts_with("*.b.test: yes: no allow is set; ") && lines[1].contains("dns-01")
    );
    assert!(lines[2].contains("has an empty label"), "{said}");
}

#[test]
fn explain_knows_the_challenges_and_the_caa_records_of_the_ca() {
    let (code, said, all) = explain(&["--ca", "strict", "a.test", "*.a.test"]);
    assert_eq!(code, Some(1), "{all}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with("; proved by http-01; caa = \"enforce\""), "{said}");
    assert!(lines[1].contains("no: none of the CA's challenges can prove it"), "{said}");
}

#[test]
fn explain_tells_programs_the_same() {
    let (code, said, all) = explain(&["--ca", "web", "--json", "a.corp", "printer", "c", "d"]);
    assert_eq!(code, Some(1), "{all}");
    let object: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&object["ca"], &object["caa"]), (&json!("web"), &json!("off")));
    let names = object["names"].as_array().unwrap();
    assert_eq!(names[0]["issued"], false);
    assert_eq!(
        names[0]["rule"],
        json!({ "key": "deny", "value": "\".corp\"", "section": "policy" })
    );
    assert_eq!(names[0]["challenges"], json!([]));
    assert_eq!(names[1]["issued"], true);
    assert_eq!(names[1]["identifier"], json!({ "type": "dns", "value": "printer" }));
    assert_eq!(names[2]["rule"], json!({ "key": "allow", "value": null, "section": "ca.policy" }));
    assert_eq!(object["order"]["issued"], false, "four names, where three are allowed");
    assert_eq!(object["order"]["rule"]["key"], "max_identifiers");
}

#[test]
fn explain_of_a_ca_that_is_not_there_or_of_nothing_is_wrong_usage() {
    let (code, _, all) = explain(&["--ca", "wbe", "a.test"]);
    assert_eq!(code, Some(2), "{all}");
    assert!(all.contains("there are: web, strict, open"), "{all}");
    assert_eq!(explain(&["--ca", "web"]).0, Some(2));
    assert_eq!(explain(&["a.test"]).0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_of_an_account_counts_what_bound_it() {
    let settings = Settings {
        policy: "deny = [\"secret.a.test\"]".to_owned(),
        cas: vec![Ca::KeyFile { id: "one", rsa: false }, Ca::KeyFile { id: "two", rsa: false }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let run = |arguments: &[&str]| {
        let output = server.run(arguments);
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), text(&output))
    };
    let options = ["eab", "create", "--ca", "one", "--allow", ".a.test", "--json"];
    let credentials = Credentials::from_json(&run(&options).1);
    let mut client = server.client("one").await;
    let binding = credentials.bind(&client.url("newAccount"), &client.key.jwk());
    let payload = json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding });
    let url = client.new_account(&payload).await.expect(201).header("location").to_owned();

    let explain = ["policy", "explain", "--account", &url, "--ca"];
    let (code, said, all) = run(&[&explain[..], &["one", "x.a.test"]].concat());
    assert_eq!(code, Some(0), "{all}");
    assert!(said.starts_with("x.a.test: yes: no allow is set; "), "{said}");
    let (code, said, all) = run(&[&explain[..], &["one", "b.test", "secret.a.test"]].concat());
    assert_eq!(code, Some(1), "{all}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("no: b.test is not among") && lines[0].contains(".a.test"), "{said}");
    assert!(lines[1].contains("(deny = \"secret.a.test\" in [policy])"), "{said}");
    let (code, _, all) = run(&[&explain[..], &["two", "x.a.test"]].concat());
    assert_eq!(code, Some(2), "{all}");
    assert!(all.contains("is one of the CA \"one\""), "{all}");

    let id = url.rsplit('/').next().unwrap();
    run(&["account", "deactivate", id]);
    let (code, said, _) = run(&["policy", "explain", "--ca", "one", "--account", id, "x.a.test"]);
    assert_eq!((code, &*said), (Some(1), "x.a.test: no: the account is deactivated\n"));
}
