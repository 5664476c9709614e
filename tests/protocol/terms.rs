//! Changed terms of service (RFC 8555 §7.3.3).

use std::fs;

use harness::acme::Answer;
use harness::{Algorithm, Database, Key, Server, Settings};
use serde_json::json;

use crate::server_with;

const OLD: &str = "https://example.test/terms/1";
const NEW: &str = "https://example.test/terms/2";

/// Has the server read another configuration while it serves.
async fn reload(server: &Server, from: &str, to: &str) {
    let config = fs::read_to_string(server.config()).unwrap();
    assert!(config.contains(from), "{config}");
    fs::write(server.config(), config.replace(from, to)).unwrap();
    server.reload().await;
}

#[track_caller]
fn expect_terms(answer: Answer, terms: &str) {
    let answer = answer.expect_problem(403, "userActionRequired");
    assert_eq!(answer.json()["instance"], terms);
    let link = format!("<{terms}>;rel=\"terms-of-service\"");
    assert_eq!(answer.links().iter().filter(|found| **found == link).count(), 1);
}

async fn changed_terms_are_agreed_to_before_anything_else(database: Database) {
    let settings = Settings {
        ca: format!("terms_of_service = \"{OLD}\""),
        database_url: Some(database.url()),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let mut newcomer = server.client("ca").await;
    expect_terms(newcomer.new_account(&json!({})).await, OLD);
    let mut client = server.account("ca").await;
    let account = client.kid.clone().unwrap();
    let placed = client.order(&["a.test"]).await.prove("http-01").await;
    let (order, finalize) = (placed.url.clone(), placed.object["finalize"].clone());
    let authorization = placed.authorization_urls().remove(0);

    reload(&server, OLD, NEW).await;
    let directory = client.get("/acme/ca/directory").await.expect(200).json();
    assert_eq!(directory["meta"]["termsOfService"], NEW);

    expect_terms(client.new_order(&["a.test"]).await, NEW);
    let orders = format!("{account}/orders");
    for url in [&order, &authorization, &orders] {
        expect_terms(client.post_as_get(url).await, NEW);
    }
    expect_terms(client.post(finalize.as_str().unwrap(), &json!({ "csr": "" })).await, NEW);
    expect_terms(client.post(&account, &json!({ "contact": [] })).await, NEW);
    let disagreed = json!({ "contact": ["mailto:a@b.test"], "termsOfServiceAgreed": false });
    expect_terms(client.post(&account, &disagreed).await, NEW);

    // The account can be read, found, and agree.
    let read = client.post_as_get(&account).await.expect(200).json();
    assert_eq!(read.get("termsOfServiceAgreed"), None, "not to these: {read}");
    assert_eq!(read["contact"], json!([]));
    let found = client.new_account(&json!({ "onlyReturnExisting": true })).await.expect(200);
    assert_eq!(found.header("location"), account);
    let agreed = client.post(&account, &json!({ "termsOfServiceAgreed": true })).await.expect(200);
    assert_eq!(agreed.json()["termsOfServiceAgreed"], true);
    client.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    let object = client.post_as_get(&order).await.expect(200).json();
    assert_eq!(object["status"], "ready", "what was begun before goes on");

    // Back to what it agreed to first: it has agreed to others since.
    reload(&server, NEW, OLD).await;
    expect_terms(client.new_order(&["a.test"]).await, OLD);
    client.post(&account, &json!({ "status": "deactivated" })).await.expect(200);
}

#[tokio::test]
async fn changed_terms_are_agreed_to_before_anything_else_on_sqlite() {
    changed_terms_are_agreed_to_before_anything_else(Database::sqlite()).await;
}

#[tokio::test]
async fn changed_terms_are_agreed_to_before_anything_else_on_postgres() {
    changed_terms_are_agreed_to_before_anything_else(Database::postgres()).await;
}

#[tokio::test]
async fn first_terms_are_agreed_to_by_accounts_from_before_there_were_any() {
    let server = crate::server().await;
    let mut client = server.account("ca").await;
    let account = client.kid.clone().unwrap();
    let here = "[[ca]]\n";
    reload(&server, here, &format!("{here}terms_of_service = \"{NEW}\"\n")).await;
    expect_terms(client.new_order(&["a.test"]).await, NEW);
    let change = json!({ "termsOfServiceAgreed": true, "contact": ["mailto:a@b.test"] });
    client.post(&account, &change).await.expect(200);
    client.new_order(&["a.test"]).await.expect(201);
    // No terms at all: nothing to agree to.
    reload(&server, &format!("terms_of_service = \"{NEW}\"\n"), "").await;
    let mut other = server.client_with("ca", Key::new(Algorithm::Es256)).await;
    other.new_account(&json!({})).await.expect(201);
    client.new_order(&["a.test"]).await.expect(201);
}
