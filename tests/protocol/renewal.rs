//! Renewal information and what replaces what (RFC 9773).

use harness::{Ca, Client, Settings};
use jiff::Timestamp;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::{server, server_with};

/// The identifier of a certificate, made as RFC 9773 §4.1 says.
fn identifier(certificate: &X509) -> String {
    let key_identifier = certificate.authority_key_id().unwrap().as_slice();
    let mut serial = certificate.serial_number().to_bn().unwrap().to_vec();
    if serial[0] & 0x80 != 0 {
        serial.insert(0, 0);
    }
    format!("{}.{}", harness::key::base64url(key_identifier), harness::key::base64url(serial))
}

async fn certificate(client: &mut Client, names: &[&str]) -> X509 {
    client.order(names).await.prove("http-01").await.finalize().await.remove(0)
}

fn replacing(names: &[&str], replaces: &str) -> Value {
    let identifiers: Vec<_> =
        names.iter().map(|name| json!({ "type": "dns", "value": name })).collect();
    json!({ "identifiers": identifiers, "replaces": replaces })
}

fn window(info: &Value) -> [i64; 2] {
    ["start", "end"].map(|end| {
        let time = info["suggestedWindow"][end].as_str().unwrap();
        time.parse::<Timestamp>().unwrap().as_second()
    })
}

#[tokio::test]
async fn rule_42_renewal_information_is_read_by_get_without_an_account_with_retry_after_in_hours() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let issued = certificate(&mut client, &["a.test"]).await;
    let url = format!("{}/{}", client.url("renewalInfo"), identifier(&issued));
    let answer = server.client("ca").await.get(&url).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("retry-after"), "21600");
    let day = 24 * 3600;
    let [start, end] = window(&answer.json());
    let now = Timestamp::now().as_second();
    assert!((start - now - 60 * day).abs() < 600, "the last third of 90 days");
    assert!((end - now - 75 * day).abs() < 600);
}

#[tokio::test]
async fn rule_42_a_certificate_that_is_not_known_is_404() {
    let cas = ["ca", "other"].map(|id| Ca::KeyFile { id, rsa: false });
    let server = server_with(Settings { cas: cas.into(), ..Settings::key_file() }).await;
    let mut client = server.account("ca").await;
    let id = identifier(&certificate(&mut client, &["a.test"]).await);
    let (aki, serial) = id.split_once('.').unwrap();
    let url = client.url("renewalInfo");
    let unknown =
        ["aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", &format!("AAAA.{serial}"), &format!("{aki}.AQ")];
    for id in unknown {
        client.get(&format!("{url}/{id}")).await.expect_problem(404, "malformed");
    }
    let elsewhere = url.replace("/acme/ca/", "/acme/other/");
    client.get(&format!("{elsewhere}/{id}")).await.expect_problem(404, "malformed");
    for id in [aki, "AQ==.AQ", "AQ.AA", ".", "a.b.c", &"A".repeat(300)] {
        client.get(&format!("{url}/{id}")).await.expect_problem(400, "malformed");
    }
    client.with_method("DELETE", &format!("{url}/{id}")).await.expect_problem(405, "malformed");
}

#[tokio::test]
async fn a_revoked_certificate_should_be_renewed_at_once() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let issued = certificate(&mut client, &["a.test"]).await;
    let der = harness::key::base64url(issued.to_der().unwrap());
    let revoke = client.url("revokeCert");
    client.post(&revoke, &json!({ "certificate": der })).await.expect(200);
    let url = format!("{}/{}", client.url("renewalInfo"), identifier(&issued));
    let [start, end] = window(&client.get(&url).await.expect(200).json());
    assert!(start < end && end < Timestamp::now().as_second() - 3600);
}

#[tokio::test]
async fn an_order_shows_what_it_replaces() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let id = identifier(&certificate(&mut client, &["a.test", "b.test"]).await);
    let url = client.url("newOrder");
    let answer = client.post(&url, &replacing(&["a.test", "c.test"], &id)).await.expect(201);
    assert_eq!(answer.json()["replaces"], id.as_str());
    let order = answer.header("location").to_owned();
    assert_eq!(client.post_as_get(&order).await.expect(200).json()["replaces"], id.as_str());
}

#[tokio::test]
async fn rule_41_only_a_valid_replacement_counts_for_already_replaced() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let id = identifier(&certificate(&mut client, &["a.test"]).await);
    let url = client.url("newOrder");
    let payload = replacing(&["a.test"], &id);
    // One that waits, and one that fails.
    client.post(&url, &payload).await.expect(201);
    let failing = replacing(&["a.test", "b.test"], &id);
    let object = client.post(&url, &failing).await.expect(201).json();
    for authorization in object["authorizations"].as_array().unwrap() {
        let authorization = authorization.as_str().unwrap();
        let object = client.post_as_get(authorization).await.json();
        if object["status"] == "pending" {
            client.post(authorization, &json!({ "status": "deactivated" })).await.expect(200);
        }
    }
    let answer = client.post(&url, &payload).await.expect(201);
    let (order, object) = (answer.header("location").to_owned(), answer.json());
    let names = vec!["a.test".to_owned()];
    harness::Order { client: &mut client, url: order, object, names }.finalize().await;
    client.post(&url, &payload).await.expect_problem(409, "alreadyReplaced");
    client.new_order(&["a.test"]).await.expect(201);
}

#[tokio::test]
async fn rule_41_a_certificate_of_another_ca_may_be_named_and_marks_nothing() {
    let cas = ["ca", "other"].map(|id| Ca::KeyFile { id, rsa: false });
    let server = server_with(Settings { cas: cas.into(), ..Settings::key_file() }).await;
    let mut elsewhere = server.account("other").await;
    let foreign = identifier(&certificate(&mut elsewhere, &["a.test"]).await);
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    for id in ["aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", &foreign] {
        let order = client.post(&url, &replacing(&["a.test"], id)).await.expect(201).json();
        assert_eq!(order["replaces"], id);
    }
}

#[tokio::test]
async fn what_does_not_correspond_replaces_nothing() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let id = identifier(&certificate(&mut client, &["a.test"]).await);
    let url = client.url("newOrder");
    let other_names = replacing(&["b.test"], &id);
    client.post(&url, &other_names).await.expect_problem(400, "malformed");
    let unknown = format!("{}.AQ", id.split_once('.').unwrap().0);
    let unknown = replacing(&["a.test"], &unknown);
    client.post(&url, &unknown).await.expect_problem(400, "malformed");
    for wrong in ["", "AQ", "AQ==.AQ", "https://a.test"] {
        client.post(&url, &replacing(&["a.test"], wrong)).await.expect_problem(400, "malformed");
    }
    let mut stranger = server.account("ca").await;
    let payload = replacing(&["a.test"], &id);
    stranger.post(&url, &payload).await.expect_problem(403, "unauthorized");
}

#[tokio::test]
async fn the_operators_page_explains_the_window_where_there_is_one() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let issued = certificate(&mut client, &["a.test"]).await;
    let url = format!("{}/{}", client.url("renewalInfo"), identifier(&issued));
    let info = client.get(&url).await.expect(200).json();
    assert!(info.get("explanationURL").is_none(), "{info}");
    let config = std::fs::read_to_string(server.config()).unwrap();
    let page = "https://ca.test/incident?id=7";
    let with = config.replace("[[ca]]", &format!("[[ca]]\nrenewal_explanation = {page:?}"));
    std::fs::write(server.config(), with).unwrap();
    server.reload().await;
    let info = client.get(&url).await.expect(200).json();
    assert_eq!(info["explanationURL"], page);
    assert!(info["suggestedWindow"].is_object());
}
