//! kill -9, and start again.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::{Ca, Client, Database, Server, Settings};
use serde_json::json;

use crate::BINARY;

/// Sends a signed request that may be cut off.
async fn post(client: Client, url: String, body: String) {
    let request = http::Request::post(&url)
        .header("host", "localhost")
        .header("content-type", "application/jose+json");
    let _ = client.try_send(request.body(body.into()).unwrap()).await;
}

async fn an_order_survives_kills_at_any_moment_of_its_issuance(database: Database) {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        database_url: Some(database.url()),
        ..Settings::default()
    };
    let mut server = Server::start(BINARY, settings).await;
    let mut serials = BTreeSet::new();
    for delay_ms in [0, 1, 2, 4, 8, 16, 32] {
        let mut client = server.account("ca").await;
        let mut order = client.order(&["a.test"]).await.prove("http-01").await;
        let csr = order.csr().der();
        let (url, finalize) =
            (order.url.clone(), order.object["finalize"].as_str().unwrap().to_owned());
        let payload = json!({ "csr": harness::key::base64url(&csr) }).to_string();
        let jws = order.client.jws(&finalize, payload).await;
        let body = order.client.sign(&jws).to_string();
        let finalizing = tokio::spawn(post(order.client.clone(), finalize, body));
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        server.kill();
        let _ = finalizing.await;
        server.spawn();
        // The client does what clients do: it asks, and sends its CSR again where it is wanted.
        let object = order.client.post_as_get(&url).await.expect(200).json();
        if object["status"] == "ready" {
            order.finalize_with(&csr).await.expect(200);
        }
        let chain = order.certificates().await;
        harness::acme::verify_chain(&chain, &server.roots(), "a.test");
        let serial = chain[0].serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
        assert!(serials.insert(serial), "one certificate for each order");
        // Whatever came before the kill, the same CSR again gives the same certificate.
        let again = order.finalize_with(&csr).await.expect(200).json();
        assert_eq!(again["certificate"], order.refresh().await.object["certificate"]);
    }
}

#[tokio::test]
async fn an_order_survives_kills_at_any_moment_of_its_issuance_on_sqlite() {
    an_order_survives_kills_at_any_moment_of_its_issuance(Database::sqlite()).await;
}

#[tokio::test]
async fn an_order_survives_kills_at_any_moment_of_its_issuance_on_postgres() {
    an_order_survives_kills_at_any_moment_of_its_issuance(Database::postgres()).await;
}

#[tokio::test]
async fn a_validation_that_was_under_way_is_done_again_after_a_kill() {
    let mut server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await;
    let authorization = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&authorization, "http-01").await;
    order.client.fulfil(&name, &challenge);
    let url = challenge["url"].as_str().unwrap().to_owned();
    let jws = order.client.jws(&url, "{}").await;
    let body = order.client.sign(&jws).to_string();
    let answering = tokio::spawn(post(order.client.clone(), url, body));
    tokio::time::sleep(Duration::from_millis(3)).await;
    server.kill();
    let _ = answering.await;
    server.spawn();
    // Said again in case the first did not get through; said twice it does no harm.
    order.client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let settled = order.client.settled(&authorization).await;
    assert_eq!(settled["status"], "valid", "{settled}");
}

#[tokio::test]
async fn a_nonce_from_before_a_restart_works_at_most_once() {
    for (database, unspent_works) in [(Database::sqlite(), false), (Database::postgres(), true)] {
        let url = database.url();
        let settings = Settings { database_url: Some(url), ..Settings::key_file() };
        a_nonce_from_before_a_restart(settings, unspent_works).await;
    }
}

/// A process that has its database to itself remembers nonces in its memory.
async fn a_nonce_from_before_a_restart(settings: Settings, unspent_works: bool) {
    let mut server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let unspent = client.jws(&url, "").await;
    let unspent = client.sign(&unspent);
    let spent = client.jws(&url, "").await;
    let spent = client.sign(&spent);
    client.post_json(&url, &spent).await.expect(200);
    server.kill();
    server.spawn();
    client.post_json(&url, &spent).await.expect_problem(400, "badNonce");
    let answer = client.post_json(&url, &unspent).await;
    if unspent_works {
        answer.expect(200);
    } else {
        answer.expect_problem(400, "badNonce");
        // With the nonce that the refusal brought.
        client.post_as_get(&url).await.expect(200);
    }
}
