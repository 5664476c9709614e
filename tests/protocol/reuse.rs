//! Authorizations that stand before an order (RFC 8555 §7.4, §7.4.1).

use harness::{Client, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

fn identifier(value: &str) -> Value {
    json!({ "identifier": { "type": "dns", "value": value } })
}

/// Proves the authorization at this URL by http-01.
async fn prove(client: &mut Client, url: &str) {
    let object = client.post_as_get(url).await.expect(200).json();
    let challenges = object["challenges"].as_array().unwrap();
    let challenge = challenges.iter().find(|challenge| challenge["type"] == "http-01").unwrap();
    client.fulfil(object["identifier"]["value"].as_str().unwrap(), challenge);
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(client.settled(url).await["status"], "valid");
}

#[tokio::test]
async fn a_second_order_for_a_proved_name_is_ready_at_once() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let first = client.order(&["a.test", "b.test"]).await.prove("http-01").await;
    let (url, mut proved) = (first.url.clone(), first.authorization_urls());
    let second = client.new_order(&["b.test", "a.test"]).await.expect(201);
    assert_ne!(second.header("location"), url, "an order of its own");
    let object = second.json();
    assert_eq!(object["status"], "ready");
    let mut used: Vec<_> = object["authorizations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    used.sort_unstable();
    proved.sort_unstable();
    assert_eq!(used, proved);
    let chain = client.order(&["a.test", "b.test"]).await.finalize().await;
    harness::acme::verify_chain(&chain, &server.roots(), "a.test");
}

#[tokio::test]
async fn an_order_takes_what_is_proved_and_asks_for_the_rest() {
    let server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let order = client.order(&["a.test", "c.test", "*.a.test"]).await;
    assert_eq!(order.object["status"], "pending");
    let mut statuses = Vec::new();
    for url in order.authorization_urls() {
        let object = order.client.post_as_get(&url).await.expect(200).json();
        let wildcard = object["wildcard"] == true;
        statuses.push((
            object["identifier"]["value"].as_str().unwrap().to_owned(),
            wildcard,
            object["status"].as_str().unwrap().to_owned(),
        ));
    }
    statuses.sort();
    let of = |name: &str, wildcard, status: &str| (name.to_owned(), wildcard, status.to_owned());
    let expected = [
        of("a.test", false, "valid"),
        of("a.test", true, "pending"),
        of("c.test", false, "pending"),
    ];
    assert_eq!(statuses, expected, "a name says nothing of its wildcard");
}

#[tokio::test]
async fn a_proof_is_nothing_to_another_account_and_to_another_ca() {
    let cas = ["ca", "other"].map(|id| harness::Ca::KeyFile { id, rsa: false });
    let server = server_with(Settings { cas: cas.into(), ..Settings::key_file() }).await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let mut stranger = server.account("ca").await;
    assert_eq!(stranger.new_order(&["a.test"]).await.expect(201).json()["status"], "pending");
    let mut elsewhere = server.client_with("other", client.key.clone()).await;
    elsewhere.register().await;
    assert_eq!(elsewhere.new_order(&["a.test"]).await.expect(201).json()["status"], "pending");
}

#[tokio::test]
async fn a_deactivated_authorization_serves_no_order() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = client.order(&["a.test"]).await.prove("http-01").await;
    let url = order.authorization_urls().remove(0);
    let waiting = client.order(&["a.test"]).await;
    assert_eq!(waiting.object["status"], "ready");
    let waiting = waiting.url.clone();
    client.post(&url, &json!({ "status": "deactivated" })).await.expect(200);
    assert_eq!(client.post_as_get(&waiting).await.json()["status"], "invalid");
    assert_eq!(client.new_order(&["a.test"]).await.expect(201).json()["status"], "pending");
}

#[tokio::test]
async fn a_pending_authorization_is_not_shared() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let first = client.order(&["a.test"]).await.authorization_urls();
    let second = client.order(&["a.test"]).await.authorization_urls();
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_pre_authorization_makes_a_later_order_ready() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let answer = client.post(&client.url("newAuthz"), &identifier("A.test")).await.expect(201);
    let url = answer.header("location").to_owned();
    let object = answer.json();
    assert_eq!(object["status"], "pending");
    assert_eq!(object["identifier"], json!({ "type": "dns", "value": "a.test" }));
    assert!(object.get("wildcard").is_none() && object["challenges"].as_array().unwrap().len() > 2);
    assert_eq!(client.post_as_get(&url).await.expect(200).json(), object);
    prove(&mut client, &url).await;
    let order = client.order(&["a.test"]).await;
    assert_eq!((&order.object["status"], order.authorization_urls()), (&json!("ready"), vec![url]));
    order.finalize().await;
}

#[tokio::test]
async fn a_pre_authorization_is_for_one_name_that_could_be_ordered() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newAuthz");
    for value in ["*.a.test", "a_b.test", ""] {
        let answer = client.post(&url, &identifier(value)).await;
        answer.expect_problem(403, "rejectedIdentifier");
    }
    let mail = json!({ "identifier": { "type": "email", "value": "a@b.test" } });
    client.post(&url, &mail).await.expect_problem(403, "unsupportedIdentifier");
    for payload in [json!({}), json!({ "identifier": "a.test" }), json!({ "identifier": [] })] {
        client.post(&url, &payload).await.expect_problem(400, "malformed");
    }
    client.get(&url).await.expect_problem(405, "malformed");
}

#[tokio::test]
async fn where_nothing_is_reused_every_order_proves_anew_and_there_is_no_pre_authorization() {
    let settings = Settings { validation: "reuse_hours = 0".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    assert!(client.directory.get("newAuthz").is_none());
    client.order(&["a.test"]).await.prove("http-01").await;
    assert_eq!(client.new_order(&["a.test"]).await.expect(201).json()["status"], "pending");
    let url = client.url("newOrder").replace("new-order", "new-authz");
    client.post(&url, &identifier("a.test")).await.expect_problem(404, "malformed");
}
