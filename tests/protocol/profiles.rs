//! Profiles (draft-ietf-acme-profiles).

use harness::csr::{self, Csr};
use harness::{Order, Server};
use serde_json::json;

use crate::server_with;

const PROFILES: &str = "[profile.default]
description = \"for web servers\"

[profile.short]
validity_hours = 12
key_types = [\"ec-p256\"]
ext_key_usage = [\"clientAuth\"]
subject = \"common-name\"
basic_constraints = false
";

async fn server() -> Server {
    let settings = harness::Settings {
        ca: "profiles = [\"default\", \"short\"]".to_owned(),
        sections: PROFILES.to_owned(),
        ..harness::Settings::key_file()
    };
    server_with(settings).await
}

fn order(profile: Option<&str>) -> serde_json::Value {
    json!({ "identifiers": [{ "type": "dns", "value": "a.test" }], "profile": profile })
}

#[tokio::test]
async fn the_directory_shows_the_profiles_and_an_order_has_the_one_it_asks_for() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let shown = json!({
        "default": "for web servers",
        "short": "certificates that are valid for 12 hours",
    });
    assert_eq!(client.directory["meta"]["profiles"], shown);
    let url = client.url("newOrder");
    for (asked, has) in [(None, "default"), (Some("default"), "default"), (Some("short"), "short")]
    {
        let answer = client.post(&url, &order(asked)).await.expect(201);
        assert_eq!(answer.json()["profile"], has);
        let order = answer.header("location").to_owned();
        assert_eq!(client.post_as_get(&order).await.expect(200).json()["profile"], has);
    }
    for unknown in ["Short", "", "other"] {
        let answer = client.post(&url, &order(Some(unknown))).await;
        answer.expect_problem(400, "invalidProfile");
    }
}

#[tokio::test]
async fn a_certificate_is_what_its_profile_says() {
    let server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let answer = client.post(&client.url("newOrder"), &order(Some("short"))).await.expect(201);
    let (url, object) = (answer.header("location").to_owned(), answer.json());
    let mut short = Order { client: &mut client, url, object, names: vec!["a.test".to_owned()] };
    let rsa = Csr { key: csr::rsa(2048), ..short.csr() }.der();
    let refused = short.finalize_with(&rsa).await.expect_problem(400, "badCSR");
    assert!(refused.text().contains("ec-p256"), "{}", refused.text());
    let certificate = short.finalize().await.remove(0);
    let life = certificate.not_before().diff(certificate.not_after()).unwrap();
    assert_eq!((life.days, life.secs), (0, 12 * 3600 - 1));
    let text = String::from_utf8(certificate.to_text().unwrap()).unwrap();
    assert!(text.contains("TLS Web Client Authentication"), "{text}");
    assert!(!text.contains("TLS Web Server Authentication"), "{text}");
    assert_eq!(certificate.subject_name().entries().count(), 1);
    assert!(!text.contains("Basic Constraints"), "{text}");
    let usual = client.order(&["a.test"]).await.finalize().await.remove(0);
    let text = String::from_utf8(usual.to_text().unwrap()).unwrap();
    assert!(text.contains("CA:FALSE"), "{text}");
}

#[tokio::test]
async fn an_order_whose_profile_was_taken_away_is_told_so_when_it_is_finalized() {
    let mut server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let answer = client.post(&client.url("newOrder"), &order(Some("short"))).await.expect(201);
    let (url, object) = (answer.header("location").to_owned(), answer.json());
    let config = std::fs::read_to_string(server.config()).unwrap();
    let without = config.replace("[\"default\", \"short\"]", "[\"default\"]");
    std::fs::write(server.config(), without).unwrap();
    server.kill();
    server.spawn();
    client.forget_nonce();
    let mut order = Order { client: &mut client, url, object, names: vec!["a.test".to_owned()] };
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect_problem(400, "invalidProfile");
}
