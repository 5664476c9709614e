//! The whole way, on the real parts: token, databases, every challenge type.

use harness::acme::verify_chain;
use harness::{Algorithm, Ca, Database, Key, Server, Settings, csr};

use crate::server_with;

fn two_cas_in_one_token(database: &Database) -> Settings {
    Settings {
        cas: vec![
            Ca::Token { id: "rsa", key_type: "rsa:2048", cka_id: 1 },
            Ca::Token { id: "ec", key_type: "EC:secp384r1", cka_id: 3 },
        ],
        database_url: Some(database.url()),
        ..Settings::default()
    }
}

async fn issue_everything(server: &Server, ca: &str) {
    let mut client = server.account(ca).await;
    for (index, kind) in ["http-01", "dns-01", "tls-alpn-01"].into_iter().enumerate() {
        let name = format!("n{index}.{ca}.test");
        let chain = client.order(&[&name]).await.prove(kind).await.finalize().await;
        assert!(chain.len() >= 2, "certbot wants the issuer, too");
        verify_chain(&chain, &server.roots(), &name);
    }
    let wildcard = format!("*.{ca}.test");
    let apex = format!("{ca}.test");
    let chain = client.order(&[&wildcard, &apex]).await.prove("dns-01").await.finalize().await;
    verify_chain(&chain, &server.roots(), &format!("anything.{ca}.test"));
    verify_chain(&chain, &server.roots(), &apex);

    let mut order = client.order(&["leaf-rsa.test"]).await.prove("http-01").await;
    let request = csr::Csr { key: csr::rsa(2048), ..order.csr() };
    order.finalize_with(&request.der()).await.expect(200);
    let chain = order.certificates().await;
    verify_chain(&chain, &server.roots(), "leaf-rsa.test");
    assert!(chain[0].public_key().unwrap().public_eq(&request.key));
}

async fn an_rsa_and_an_ec_ca_issue_from_one_token(database: Database) {
    let server = server_with(two_cas_in_one_token(&database)).await;
    issue_everything(&server, "rsa").await;
    issue_everything(&server, "ec").await;
}

#[tokio::test]
async fn an_rsa_and_an_ec_ca_issue_from_one_token_on_sqlite() {
    an_rsa_and_an_ec_ca_issue_from_one_token(Database::sqlite()).await;
}

#[tokio::test]
async fn an_rsa_and_an_ec_ca_issue_from_one_token_on_postgres() {
    an_rsa_and_an_ec_ca_issue_from_one_token(Database::postgres()).await;
}

#[tokio::test]
async fn two_cas_are_blind_to_each_others_accounts_orders_and_nonces() {
    let settings = Settings {
        cas: vec![Ca::KeyFile { id: "one", rsa: false }, Ca::KeyFile { id: "two", rsa: true }],
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let mut one = server.account("one").await;
    let order = one.order(&["a.test"]).await.url;
    let key = one.key.clone();

    // The account does not exist at the other CA, neither by its key nor by its URL …
    let mut two = server.client_with("two", key).await;
    let only_existing = serde_json::json!({ "onlyReturnExisting": true });
    two.new_account(&only_existing).await.expect_problem(400, "accountDoesNotExist");
    let mut smuggler = two.clone();
    smuggler.kid.clone_from(&one.kid);
    smuggler.new_order(&["a.test"]).await.expect_problem(400, "accountDoesNotExist");
    smuggler.kid = one.kid.as_ref().map(|kid| kid.replace("/one/", "/two/"));
    smuggler.new_order(&["a.test"]).await.expect_problem(400, "accountDoesNotExist");

    // … nor does its order …
    two.register().await;
    let elsewhere = order.replace("/one/", "/two/");
    two.post_as_get(&elsewhere).await.expect_problem(404, "malformed");

    // … nor its nonce.
    let nonce = one.nonce().await;
    let url = two.url("newOrder");
    let mut jws = two.jws(&url, "{}").await;
    jws.protected["nonce"] = nonce.into();
    let body = two.sign(&jws);
    two.post_json(&url, &body).await.expect_problem(400, "badNonce");
}

#[tokio::test]
async fn every_account_key_type_gets_a_certificate() {
    let server = crate::server().await;
    for algorithm in Algorithm::ALL {
        let mut client = server.client_with("ca", Key::new(algorithm)).await;
        client.register().await;
        let name = format!("{}.test", algorithm.name().to_lowercase());
        let chain = client.order(&[&name]).await.prove("http-01").await.finalize().await;
        verify_chain(&chain, &server.roots(), &name);
    }
}

#[tokio::test]
async fn an_order_of_a_hundred_names_becomes_one_certificate() {
    let server = crate::server().await;
    let mut client = server.account("ca").await;
    let names: Vec<_> = (0..100).map(|index| format!("n{index}.example.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let chain = client.order(&names).await.prove("http-01").await.finalize().await;
    for name in names {
        verify_chain(&chain, &server.roots(), name);
    }
}
