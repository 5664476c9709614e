//! A deactivated account (RFC 8555 §7.3.6): nothing that was pending for it goes on.

use std::time::Duration;

use harness::token::Token;
use harness::zone::ResponseCode;
use harness::{Ca, Client, Database, Server, Settings};
use serde_json::{Value, json};

use crate::server_with;

/// What the operator sees of an account.
fn shown(server: &Server, client: &Client) -> Value {
    let output = server.run(&["account", "show", "--json", client.kid.as_deref().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn deactivate(client: &mut Client) {
    let account = client.kid.clone().unwrap();
    let gone = client.post(&account, &json!({ "status": "deactivated" })).await.expect(200);
    assert_eq!(gone.json()["status"], "deactivated");
}

/// Whatever it asks for, it is refused (RFC 8555 §7.3.6).
async fn expect_refused(client: &mut Client, urls: &[&str]) {
    for url in urls {
        client.post_as_get(url).await.expect_problem(401, "unauthorized");
        client.post(url, &json!({})).await.expect_problem(401, "unauthorized");
    }
    client.new_order(&["a.test"]).await.expect_problem(401, "unauthorized");
    client.new_account(&json!({})).await.expect_problem(401, "unauthorized");
}

async fn a_validation_under_way_is_dropped(database: Database) {
    let settings = Settings {
        server: "hold_s = 0".to_owned(),
        database_url: Some(database.url()),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    // While DNS fails, the validation is put off again and again.
    let asked = "_acme-challenge.a.test";
    server.zone.set_response_code(asked, ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let (order_url, authorization) = (order.url.clone(), order.authorization_urls().remove(0));
    let (name, challenge) = order.challenge(&authorization, "dns-01").await;
    let url = challenge["url"].as_str().unwrap().to_owned();
    let begun = client.post(&url, &json!({})).await.expect(200).json();
    assert_eq!(begun["status"], "processing");
    deactivate(&mut client).await;
    server.zone.clear(asked);
    client.fulfil(&name, &challenge);
    expect_refused(&mut client, &[&order_url, &authorization, &url]).await;
    let before = server.zone.asked().len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked_since = server.zone.asked().split_off(before);
    assert_eq!(asked_since, [], "nobody validates for an account that is gone");
    assert_eq!(shown(&server, &client)["status"], "deactivated");
    assert!(!server.log().contains("\"proved\":true"), "{}", server.log());
}

#[tokio::test]
async fn a_validation_under_way_is_dropped_on_sqlite() {
    a_validation_under_way_is_dropped(Database::sqlite()).await;
}

#[tokio::test]
async fn a_validation_under_way_is_dropped_on_postgres() {
    a_validation_under_way_is_dropped(Database::postgres()).await;
}

/// A plan that waits for a token is not signed when the token is back: by the client's will, or by
/// the operator's.
#[tokio::test]
async fn a_certificate_that_waits_for_a_dead_token_is_not_signed_when_it_is_back() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token: Some(Token::faulty()),
        server: "hold_s = 0".to_owned(),
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let token = server.token.as_ref().unwrap();
    let mut by_client = server.account("ca").await;
    let mut by_operator = server.account("ca").await;
    let mut stays = server.account("ca").await;
    let mut orders = Vec::new();
    token.suffer(&["vanish *"]);
    for client in [&mut by_client, &mut by_operator, &mut stays] {
        let mut order = client.order(&["a.test"]).await.prove("http-01").await;
        let csr = order.csr().der();
        let object = order.finalize_with(&csr).await.expect(200).json();
        assert_eq!(object["status"], "processing", "{object}");
        orders.push(order.url.clone());
    }
    deactivate(&mut by_client).await;
    let output = server.run(&["account", "deactivate", by_operator.kid.as_deref().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    token.suffer(&[]);
    // The one whose account is still there is issued, so the token is back.
    assert_eq!(stays.settled(&orders[2]).await["status"], "valid");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.log().matches("\"certificate issued\"").count(), 1, "{}", server.log());
    expect_refused(&mut by_client, &[&orders[0]]).await;
    expect_refused(&mut by_operator, &[&orders[1]]).await;
}

/// RFC 8555 §7.3.6: they should not be.
#[tokio::test]
async fn the_certificates_of_an_account_that_is_deactivated_are_not_revoked() {
    let server = server_with(Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let mut other = server.account("ca").await;
    let kept = client.order(&["a.test"]).await.prove("http-01").await.finalize().await.remove(0);
    let revoked = other.order(&["b.test"]).await.prove("http-01").await.finalize().await.remove(0);
    deactivate(&mut client).await;
    let url = other.url("revokeCert");
    let certificate = harness::key::base64url(revoked.to_der().unwrap());
    other.post(&url, &json!({ "certificate": certificate })).await.expect(200);
    // The CRL that tells of the other's was made after the deactivation.
    let crl = crate::revocation_list::text(&server.crl("ca", 1).await);
    let serial = |certificate: &openssl::x509::X509| {
        certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
    };
    assert!(crl.contains(&serial(&revoked)) && !crl.contains(&serial(&kept)), "{crl}");
}
