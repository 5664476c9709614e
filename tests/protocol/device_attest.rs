//! Devices that attest their keys (draft-ietf-acme-device-attest).

use std::fs;

use harness::attestation::{Device, FORMATS, Statement, Vendor, permanent_identifier};
use harness::csr::{self, Csr};
use harness::key::base64url;
use harness::{Answer, Client, Database, Order, Server, Settings};
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server_with;

const SERIAL: &str = "12345678";

/// A CA that issues for devices of one vendor.
struct Site {
    server: Server,
    vendor: Vendor,
    _folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        Self::with(Settings::key_file()).await
    }

    async fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendor = Vendor::new("test");
        let roots = folder.path().join("devices.pem");
        fs::write(&roots, vendor.root_pem()).unwrap();
        let settings = Settings {
            ca: format!(
                "challenges = [\"http-01\", \"device-attest-01\"]\nattestation_roots = [{roots:?}]\n\
                 subdomain_authorizations = true\n"
            ),
            policy: "allow_devices = [\"1234*\", \"other\"]".to_owned(),
            ..settings
        };
        Self { server: server_with(settings).await, vendor, _folder: folder }
    }
}

fn devices(serials: &[&str]) -> Value {
    let identifiers = serials.iter();
    let identifiers = identifiers
        .map(|serial| json!({ "type": "permanent-identifier", "value": serial }))
        .collect::<Vec<_>>();
    json!({ "identifiers": identifiers })
}

async fn order<'c>(client: &'c mut Client, payload: &Value) -> Order<'c> {
    let answer = client.post(&client.url("newOrder"), payload).await.expect(201);
    let (url, object) = (answer.header("location").to_owned(), answer.json());
    Order { client, url, object, names: Vec::new() }
}

/// The only challenge of an authorization for a device: its URL, and what a device is asked to attest.
struct Asked {
    url: String,
    token: String,
    key_authorization: String,
}

async fn asked(order: &mut Order<'_>) -> Asked {
    let authorization = order.authorization_urls().remove(0);
    let object = order.client.post_as_get(&authorization).await.expect(200).json();
    assert_eq!(object["identifier"], json!({ "type": "permanent-identifier", "value": SERIAL }));
    let challenges = object["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 1, "nothing else proves a device: {object}");
    assert_eq!(challenges[0]["type"], "device-attest-01");
    let token = challenges[0]["token"].as_str().unwrap().to_owned();
    let key_authorization = order.client.key_authorization(&token);
    Asked { url: challenges[0]["url"].as_str().unwrap().to_owned(), token, key_authorization }
}

impl Asked {
    fn device<'a>(&'a self, vendor: &'a Vendor, key: &'a PKey<Private>) -> Device<'a> {
        Device {
            vendor,
            key,
            serial: SERIAL,
            token: &self.token,
            key_authorization: &self.key_authorization,
            now_s: jiff::Timestamp::now().as_second(),
        }
    }

    async fn answer(&self, client: &mut Client, statement: &Statement) -> Answer {
        client.post(&self.url, &json!({ "attObj": base64url(statement.object()) })).await
    }
}

fn has_identity(certificate: &X509, serial: &str) -> bool {
    let wanted = permanent_identifier(serial);
    certificate.to_der().unwrap().windows(wanted.len()).any(|part| part == wanted)
}

async fn a_device_gets_a_certificate_for_the_key_that_it_attests(database: Database) {
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let site = Site::with(settings).await;
    let mut client = site.server.account("ca").await;
    for make in FORMATS {
        let mut order = order(&mut client, &devices(&[SERIAL])).await;
        assert_eq!(order.object["status"], "pending", "one statement is for one order");
        let asked = asked(&mut order).await;
        let key = csr::p256();
        let statement = make(&asked.device(&site.vendor, &key));
        let answer = asked.answer(order.client, &statement).await.expect(200).json();
        assert_eq!(answer["status"], "valid", "{}: {answer}", statement.format);
        order = order.refresh().await;
        assert_eq!(order.object["status"], "ready");
        // Of the key that was attested, and no other.
        let other = Csr::new(&[]).der();
        let refused = order.finalize_with(&other).await.expect_problem(400, "badCSR");
        assert!(refused.text().contains("attested"), "{}", refused.text());
        let named = Csr {
            key: key.clone(),
            permanent_identifiers: vec![SERIAL.to_owned()],
            ..Csr::new(&[])
        };
        order.finalize_with(&named.der()).await.expect(200);
        let certificate = order.certificates().await.remove(0);
        assert!(certificate.public_key().unwrap().public_eq(&key));
        assert!(has_identity(&certificate, SERIAL), "{}", statement.format);
    }
    let output =
        site.server.run(&["cert", "list", "--name", &format!("permanent-identifier:{SERIAL}")]);
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed.lines().count(), FORMATS.len(), "{listed}");
}

#[tokio::test]
async fn a_device_gets_a_certificate_for_the_key_that_it_attests_on_sqlite() {
    a_device_gets_a_certificate_for_the_key_that_it_attests(Database::sqlite()).await;
}

#[tokio::test]
async fn a_device_gets_a_certificate_for_the_key_that_it_attests_on_postgres() {
    a_device_gets_a_certificate_for_the_key_that_it_attests(Database::postgres()).await;
}

/// The draft lets a CSR leave the device out (§3.2), and Apple's devices have it as common name.
#[tokio::test]
async fn a_csr_may_leave_the_device_out_or_have_it_as_common_name_and_name_no_other() {
    let site = Site::new().await;
    let mut client = site.server.account("ca").await;
    for (common_name, device, taken) in [
        (None, None, true),
        (Some(SERIAL), None, true),
        (None, Some("87654321"), false),
        (Some("87654321"), None, false),
    ] {
        let mut order = order(&mut client, &devices(&[SERIAL])).await;
        let asked = asked(&mut order).await;
        let key = csr::p256();
        let statement = asked.device(&site.vendor, &key).apple();
        asked.answer(order.client, &statement).await.expect(200);
        order = order.refresh().await;
        let csr = Csr {
            key,
            common_name: common_name.map(str::to_owned),
            permanent_identifiers: device.into_iter().map(str::to_owned).collect(),
            ..Csr::new(&[])
        };
        let answer = order.finalize_with(&csr.der()).await;
        if taken {
            answer.expect(200);
            assert!(has_identity(&order.certificates().await[0], SERIAL));
        } else {
            answer.expect_problem(400, "badCSR");
        }
    }
}

#[tokio::test]
async fn a_device_and_a_name_may_stand_in_one_certificate() {
    let site = Site::new().await;
    let mut client = site.server.account("ca").await;
    let mut payload = devices(&[SERIAL]);
    let name = json!({ "type": "dns", "value": "a.test" });
    payload["identifiers"].as_array_mut().unwrap().push(name);
    let mut order = order(&mut client, &payload).await;
    let key = csr::p256();
    for url in order.authorization_urls() {
        let object = order.client.post_as_get(&url).await.expect(200).json();
        let challenge = &object["challenges"][0];
        let at = challenge["url"].as_str().unwrap().to_owned();
        if object["identifier"]["type"] == "dns" {
            order.client.fulfil("a.test", challenge);
            order.client.post(&at, &json!({})).await.expect(200);
        } else {
            let token = challenge["token"].as_str().unwrap().to_owned();
            let key_authorization = order.client.key_authorization(&token);
            let asked = Asked { url: at, token, key_authorization };
            let statement = asked.device(&site.vendor, &key).tpm();
            asked.answer(order.client, &statement).await.expect(200);
        }
        assert_eq!(order.client.settled(&url).await["status"], "valid");
    }
    order = order.refresh().await;
    let csr = Csr { key, ..Csr::new(&["a.test"]) };
    order.finalize_with(&csr.der()).await.expect(200);
    let chain = order.certificates().await;
    harness::acme::verify_chain(&chain, &site.server.roots(), "a.test");
    assert!(has_identity(&chain[0], SERIAL));
}

#[tokio::test]
async fn a_statement_that_does_not_count_is_answered_with_its_problem_and_ends_the_order() {
    let site = Site::new().await;
    let mut client = site.server.account("ca").await;
    let other = Vendor::new("other");
    for make in FORMATS {
        let mut order = order(&mut client, &devices(&[SERIAL])).await;
        let asked = asked(&mut order).await;
        let key = csr::p256();
        let statement = make(&asked.device(&other, &key));
        let refused = asked.answer(order.client, &statement).await;
        let refused = refused.expect_problem(400, "badAttestationStatement");
        assert!(refused.text().contains("x5c"), "{}", refused.text());
        assert!(!refused.header("replay-nonce").is_empty());
        let seen = order.client.post_as_get(&asked.url).await.expect(200).json();
        assert_eq!(seen["status"], "invalid");
        let kind = "urn:ietf:params:acme:error:badAttestationStatement";
        assert_eq!(seen["error"]["type"], kind);
        let url = order.authorization_urls().remove(0);
        let authorization = order.client.post_as_get(&url).await.expect(200).json();
        assert_eq!(authorization["status"], "invalid");
        assert_eq!(order.refresh().await.object["status"], "invalid");
    }
}

#[tokio::test]
async fn an_answer_without_a_statement_that_can_be_read_begins_nothing() {
    let site = Site::new().await;
    let mut client = site.server.account("ca").await;
    let mut order = order(&mut client, &devices(&[SERIAL])).await;
    let asked = asked(&mut order).await;
    let long = base64url(vec![0; 60 * 1024]);
    for payload in [
        json!({}),
        json!({ "attObj": "not base64url!" }),
        json!({ "attObj": "AA==" }),
        json!({ "attObj": long }),
    ] {
        let refused = order.client.post(&asked.url, &payload).await;
        refused.expect_problem(400, "badAttestationStatement");
    }
    for payload in [json!({ "attObj": 1 }), json!({ "attObj": ["AA"] })] {
        order.client.post(&asked.url, &payload).await.expect_problem(400, "malformed");
    }
    let seen = order.client.post_as_get(&asked.url).await.expect(200).json();
    assert_eq!(seen["status"], "pending");
    // Nonsense that can be read is looked at, once.
    let nonsense = json!({ "attObj": base64url(b"nonsense"), "more": true });
    let refused = order.client.post(&asked.url, &nonsense).await;
    refused.expect_problem(400, "badAttestationStatement");
    let key = csr::p256();
    let statement = asked.device(&site.vendor, &key).apple();
    let refused = asked.answer(order.client, &statement).await;
    refused.expect_problem(400, "badAttestationStatement");
}

#[tokio::test]
async fn a_device_that_cannot_be_had_is_refused_when_it_is_ordered() {
    let site = Site::new().await;
    let mut client = site.server.account("ca").await;
    let url = client.url("newOrder");
    for (value, problem) in [
        ("87654321", "rejectedIdentifier"),
        ("", "malformed"),
        ("12345678/", "malformed"),
        ("12345678/1", "malformed"),
        ("12345678/1.2/3", "malformed"),
        ("1234\n", "rejectedIdentifier"),
    ] {
        client.post(&url, &devices(&[value])).await.expect_problem(400, problem);
    }
    let refused = client.post(&url, &devices(&["87654321"])).await;
    assert!(refused.text().contains("allow_devices"), "{}", refused.text());
    let module = json!({ "identifiers": [{ "type": "hardware-module", "value": "A/1.2.3" }] });
    client.post(&url, &module).await.expect_problem(400, "unsupportedIdentifier");
    let authorize = json!({ "identifier": { "type": "permanent-identifier", "value": SERIAL } });
    let refused = client.post(&client.url("newAuthz"), &authorize).await;
    refused.expect_problem(403, "rejectedIdentifier");
    let explain = |name: &str| {
        let output = site.server.run(&["policy", "explain", "--ca", "ca", name]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = explain("permanent-identifier:12345678");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("allow_devices = \"1234*\"") && said.contains("device-attest-01"),
        "{said}"
    );
    let (code, said) = explain("permanent-identifier:87654321");
    assert_eq!(code, Some(1), "{said}");
}

#[tokio::test]
async fn without_roots_no_device_is_believed() {
    let server = server_with(Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let refused = client.post(&client.url("newOrder"), &devices(&[SERIAL])).await;
    refused.expect_problem(400, "rejectedIdentifier");
    let policy = "allow_devices = [\"*\"]".to_owned();
    let server = server_with(Settings { policy, ..Settings::key_file() }).await;
    let mut client = server.account("ca").await;
    let refused = client.post(&client.url("newOrder"), &devices(&[SERIAL])).await;
    let refused = refused.expect_problem(400, "rejectedIdentifier");
    assert!(refused.text().contains("no challenge"), "{}", refused.text());
}
