//! `kipuka cert`: what an operator sees and revokes, beside a server that runs.

use harness::command::text;
use harness::{Client, Server, Settings};
use openssl::x509::X509;
use serde_json::Value;

use crate::BINARY;

async fn issue(client: &mut Client, names: &[&str]) -> X509 {
    client.order(names).await.prove("dns-01").await.finalize().await.remove(0)
}

fn serial(certificate: &X509) -> String {
    certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase()
}

/// What a command prints that must succeed.
fn run(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(&[&["cert"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says that must fail, with its exit code.
fn fail(server: &Server, arguments: &[&str], code: i32) -> String {
    let output = server.run(&[&["cert"], arguments].concat());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    text(&output)
}

fn serials(json: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(json).unwrap();
    let serial = |row: &Value| row["serial"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(serial).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_listed_by_ca_serial_name_and_end() {
    let settings = Settings {
        cas: vec![
            harness::Ca::KeyFile { id: "ca", rsa: false },
            harness::Ca::KeyFile { id: "other", rsa: false },
        ],
        ca: "validity_days = 10".to_owned(),
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let first = serial(&issue(&mut client, &["a.test", "*.b.test"]).await);
    let second = serial(&issue(&mut client, &["b.test"]).await);
    let third = serial(&issue(&mut server.account("other").await, &["a.test"]).await);
    // The server's own is the oldest, and the first CA's.
    let all = serials(&run(&server, &["list", "--json"]));
    assert_eq!(all[..3], [third.as_str(), second.as_str(), first.as_str()]);
    assert_eq!(all.len(), 4);
    let listed =
        |options: &[&str]| serials(&run(&server, &[&["list", "--json"], options].concat()));
    assert_eq!(listed(&["--ca", "other"]), [third.as_str()]);
    assert!(listed(&["--ca", "nobody"]).is_empty());
    assert_eq!(listed(&["--name", "a.test"]), [third.as_str(), first.as_str()]);
    assert_eq!(listed(&["--name", "A.TEST", "--ca", "ca"]), [first.as_str()]);
    assert_eq!(listed(&["--name", "*.b.test"]), [first.as_str()]);
    assert_eq!(listed(&["--name", ".b.test"]), [first.as_str()]);
    assert_eq!(listed(&["--name", "127.0.0.1"]), [all[3].as_str()]);
    assert_eq!(listed(&["--serial", &second.to_uppercase()]), [second.as_str()]);
    assert!(listed(&["--serial", &second, "--ca", "other"]).is_empty());
    assert_eq!(listed(&["--limit", "2"]), all[..2]);
    assert_eq!(listed(&["--limit", "1", "--name", "b.test"]), [second.as_str()]);
    let text = run(&server, &["list", "--limit", "3"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    fail(&server, &["list", "--limit", "0"], 2);
    let end = |days: u32| {
        let time = openssl::asn1::Asn1Time::days_from_now(days).unwrap();
        let shown = time.to_string();
        let mut words = shown.split_whitespace();
        let (month, day, _, year) =
            (words.next().unwrap(), words.next().unwrap(), words.next(), words.next().unwrap());
        let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
        format!("{year}-{:02}-{day:0>2}", months.find(month).unwrap() / 3 + 1)
    };
    assert!(listed(&["--expiring-before", &end(8)]).is_empty());
    assert_eq!(listed(&["--expiring-before", &end(12)]).len(), 4);
    assert_eq!(listed(&["--expiring-before", &format!("{}T00:00:00Z", end(12))]).len(), 4);
    let lines = run(&server, &["list", "--name", "b.test"]);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.starts_with(&second) && lines.contains(" valid ") && lines.contains(" ca "));
    for wrong in [["--expiring-before", "soon"], ["--serial", "xyz"]] {
        fail(&server, &[&["list"], &wrong[..]].concat(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_revokes_and_the_running_server_publishes() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let certificate = issue(&mut client, &["a.test"]).await;
    let serial = serial(&certificate);
    let shown = run(&server, &["show", "--serial", &serial]);
    assert!(shown.contains("status    : valid") && shown.contains("names     : a.test"), "{shown}");
    let account = client.kid.as_ref().unwrap().rsplit('/').next().unwrap().to_owned();
    assert!(shown.contains(&account), "{shown}");
    let pem = &shown[shown.find("-----BEGIN").unwrap()..];
    assert_eq!(
        X509::from_pem(pem.as_bytes()).unwrap().to_der().unwrap(),
        certificate.to_der().unwrap()
    );
    server.crl("ca", 0).await;

    let colons: Vec<_> =
        serial.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
    let said =
        run(&server, &["revoke", "--serial", &colons.join(":"), "--reason", "privilegeWithdrawn"]);
    assert!(said.contains("revoked"), "{said}");
    let crl = server.crl("ca", 1).await;
    assert!(crl.starts_with("-----BEGIN X509 CRL-----"), "{crl}");
    let shown: Value =
        serde_json::from_str(&run(&server, &["show", "--serial", &serial, "--json"])).unwrap();
    assert_eq!(shown["revocation"]["reason"], "privilegeWithdrawn");
    let by = shown["revocation"]["revoked_by"].as_str().unwrap();
    assert!(by.starts_with("operator ") && by.contains("uid"), "{by}");
    assert!(run(&server, &["list", "--name", "a.test"]).contains(" revoked "));
    // Once, and for good; and the client is told the same.
    let said = fail(&server, &["revoke", "--serial", &serial], 1);
    assert!(said.contains("was revoked before"), "{said}");
    let url = client.url("revokeCert");
    let payload = serde_json::json!({ "certificate": harness::key::base64url(certificate.to_der().unwrap()) });
    client.post(&url, &payload).await.expect_problem(400, "alreadyRevoked");
    let said = fail(&server, &["revoke", "--serial", "4f00"], 1);
    assert!(said.contains("no certificate with the serial 4f00"), "{said}");
    for wrong in [&["revoke"][..], &["revoke", "--serial", &serial, "--reason", "certificateHold"]]
    {
        fail(&server, wrong, 2);
    }
    // Kipuka's own, which no account ordered.
    let own: Value =
        serde_json::from_str(&run(&server, &["list", "--name", "localhost", "--json"])).unwrap();
    assert_eq!(own[0]["account"], Value::Null);
    run(
        &server,
        &["revoke", "--serial", own[0]["serial"].as_str().unwrap(), "--ca", "ca", "--json"],
    );
    server.crl("ca", 2).await;
}
