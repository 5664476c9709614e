//! The steps of one thing, each at the other instance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::external_account::Credentials;
use harness::key::base64url;
use harness::{Algorithm, Ca, Client, Database, Key, Server, Settings, Token};
use openssl::x509::{X509, X509Crl};
use serde_json::json;

use super::Pair;
use crate::BINARY;

async fn issue(client: &mut Client, name: &str) -> Vec<X509> {
    client.order(&[name]).await.prove("http-01").await.finalize().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_an_issuance_may_reach_another_instance() {
    let pair = Pair::start(Settings::key_file).await;
    let mut client = pair.alternating().await;
    client.register().await;
    let before = pair.answered();
    for number in 0..3 {
        // An odd number of requests between them: what the first got now gets the second.
        client.with_method("HEAD", &client.url("newNonce")).await.expect(200);
        let chain = issue(&mut client, &format!("host-{number}.test")).await;
        harness::acme::verify_chain(&chain, &pair.first.roots(), &format!("host-{number}.test"));
    }
    let after = pair.answered();
    for instance in [0, 1] {
        // newOrder, authorization, challenge, order, finalize, certificate and polls, half of each.
        assert!(after[instance] >= before[instance] + 8, "{before:?} {after:?}");
    }
    // A nonce works once, wherever it is sent.
    let url = client.kid.clone().unwrap();
    let jws = client.jws(&url, "").await;
    let body = client.sign(&jws);
    client.post_json(&url, &body).await.expect(200);
    for _ in 0..2 {
        client.post_json(&url, &body).await.expect_problem(400, "badNonce");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_key_at_one_instance_is_known_to_the_other_at_once() {
    let pair = Pair::start(Settings::key_file).await;
    let mut client = pair.alternating().await;
    client.register().await;
    for number in 0..6 {
        // Both have the account's key at hand.
        let account = client.kid.clone().unwrap();
        for _ in 0..2 {
            client.post_as_get(&account).await.expect(200);
        }
        let (old, new) = (client.key.clone(), Key::new(Algorithm::Es256));
        let url = client.url("keyChange");
        let header = json!({ "alg": new.algorithm.name(), "jwk": new.jwk(), "url": url });
        let payload = json!({ "account": account, "oldKey": old.jwk() });
        let inner = new.sign_jws(header.to_string(), payload.to_string().as_bytes());
        client.post(&url, &inner).await.expect(200);
        for _ in 0..2 {
            assert!(client.post_as_get(&account).await.status >= 400, "the old key, {number}");
        }
        client.key = new;
        for _ in 0..2 {
            client.post_as_get(&account).await.expect(200);
        }
    }
    issue(&mut client, "a.test").await;
    // And so is the end of the account.
    let account = client.kid.clone().unwrap();
    client.post(&account, &json!({ "status": "deactivated" })).await.expect(200);
    for _ in 0..2 {
        client.post_as_get(&account).await.expect_problem(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_binds_once_at_whichever_instance() {
    let required =
        || Settings { ca: "external_account_required = true".to_owned(), ..Settings::key_file() };
    let pair = Pair::start(required).await;
    let output = pair.second.run(&["eab", "create", "--json"]);
    let credentials = Credentials::from_json(&String::from_utf8(output.stdout).unwrap());
    let mut client = pair.alternating().await;
    let bind = |client: &Client| {
        let binding = credentials.bind(&client.url("newAccount"), &client.key.jwk());
        json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding })
    };
    let payload = bind(&client);
    let answer = client.new_account(&payload).await.expect(201);
    client.kid = Some(answer.header("location").to_owned());
    issue(&mut client, "a.test").await;
    let mut other = pair.alternating().await;
    for _ in 0..2 {
        let payload = bind(&other);
        let refused = other.new_account(&payload).await;
        assert!(refused.status >= 400, "{}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_at_one_instance_is_in_the_crl_of_both_under_one_number() {
    let pair = Pair::start(Settings::key_file).await;
    let mut client = pair.alternating().await;
    client.register().await;
    let mut revoked = BTreeSet::new();
    let mut highest = 0;
    for number in 0..3 {
        let chain = issue(&mut client, &format!("host-{number}.test")).await;
        let url = client.url("revokeCert");
        let payload = json!({ "certificate": base64url(chain[0].to_der().unwrap()) });
        client.post(&url, &payload).await.expect(200);
        client.post(&url, &payload).await.expect_problem(400, "alreadyRevoked");
        revoked.insert(chain[0].serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string());
        let mut numbers = BTreeSet::new();
        for server in [&pair.first, &pair.second] {
            numbers.insert(tells_of(server, &revoked).await);
        }
        assert_eq!(numbers.len(), 1, "{numbers:?}");
        let number = *numbers.first().unwrap();
        assert!(number > highest, "{number} after {highest}");
        highest = number;
    }
}

/// Waits until the CRL of an instance tells of all these; its number.
async fn tells_of(server: &Server, serials: &BTreeSet<String>) -> u64 {
    let client = server.client("ca").await;
    let begun = Instant::now();
    loop {
        let answer = client.get("/crl/ca.crl").await;
        if answer.status == 200 {
            let crl = X509Crl::from_der(&answer.body).unwrap();
            let told = crl.get_revoked().into_iter().flatten();
            let hex = |one: &openssl::x509::X509RevokedRef| {
                one.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
            };
            let told: BTreeSet<String> = told.map(hex).collect();
            if told.is_superset(serials) {
                return answer.header("etag").trim_matches('"').parse().unwrap();
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no CRL tells of {serials:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finalize_at_an_instance_that_cannot_sign_is_held_until_the_other_has_signed() {
    let database = Database::postgres();
    let settings = |cas, token| Settings {
        cas,
        token,
        database_url: Some(database.url()),
        server: "hold_s = 25".to_owned(),
        ..Settings::default()
    };
    let cas = vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }];
    let ill = Token::softhsm().failing_on_command();
    let first = Server::start(BINARY, settings(cas, Some(ill))).await;
    let mut second = Server::prepare(BINARY, settings(Vec::new(), None)).await;
    second.take_cas_of(&first);
    // The same token, by a library that is well.
    let token = first.token.as_ref().unwrap();
    let text = std::fs::read_to_string(second.config()).unwrap();
    let well = text.replace(&token.library().display().to_string(), harness::token::LIBRARY);
    assert_ne!(text, well);
    std::fs::write(second.config(), well).unwrap();
    second.spawn();
    let mut client = first.account("ca").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    token.suffer(&["vanish kipuka"]);
    let csr = order.csr().der();
    let answer = order.finalize_with(&csr).await.expect(200);
    assert_eq!(answer.json()["status"], "valid", "{}", answer.text());
    let signed = second.log().matches("\"certificate issued\"").count();
    assert!(signed > 0, "{}", second.log());
}
