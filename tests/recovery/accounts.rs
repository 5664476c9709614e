//! What becomes of an account at one instance counts at once at every other, although each remembers the
//! accounts that it has seen.

use harness::key::{Algorithm, Key};
use harness::{Client, Database, Server, Settings};
use serde_json::json;

use crate::BINARY;

/// Two processes on one Postgres, and a client with an account that both have seen.
async fn two_that_know_an_account() -> (Database, Server, Server, Client) {
    let database = Database::postgres();
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let first = Server::start(BINARY, settings).await;
    let only_the_database = Settings { database_url: Some(database.url()), ..Settings::default() };
    let mut second = Server::prepare(BINARY, only_the_database).await;
    second.take_cas_of(&first);
    second.spawn();
    let client = first.account("ca").await;
    for server in [&first, &second] {
        let mut client = at(server, &client).await;
        let url = client.kid.clone().unwrap();
        client.post_as_get(&url).await.expect(200);
    }
    (database, first, second, client)
}

/// The same account, as seen by another instance.
async fn at(server: &Server, client: &Client) -> Client {
    let mut there = server.client_with("ca", client.key.clone()).await;
    let id = client.kid.as_deref().unwrap().rsplit_once('/').unwrap().1;
    let base = there.url("newAccount");
    let base = base.strip_suffix("new-account").unwrap();
    there.kid = Some(format!("{base}account/{id}"));
    there
}

#[tokio::test]
async fn an_account_that_was_deactivated_at_one_instance_is_refused_by_the_other_at_once() {
    let (_database, _first, second, mut client) = two_that_know_an_account().await;
    let url = client.kid.clone().unwrap();
    client.post(&url, &json!({ "status": "deactivated" })).await.expect(200);
    let mut there = at(&second, &client).await;
    let url = there.kid.clone().unwrap();
    there.post_as_get(&url).await.expect_problem(401, "unauthorized");
    there.new_order(&["a.test"]).await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_key_that_was_changed_at_one_instance_is_the_only_one_at_the_other_at_once() {
    let (_database, _first, second, mut client) = two_that_know_an_account().await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Es256] {
        let (old, new) = (client.key.clone(), Key::new(algorithm));
        let url = client.url("keyChange");
        let protected = json!({ "alg": algorithm.name(), "jwk": new.jwk(), "url": url });
        let payload = json!({ "account": client.kid, "oldKey": old.jwk() }).to_string();
        let inner = new.sign_jws(protected.to_string(), payload.as_bytes());
        client.post(&url, &inner).await.expect(200);
        let mut there = at(&second, &client).await;
        let url = there.kid.clone().unwrap();
        let refused = there.post_as_get(&url).await;
        assert!(matches!(refused.status, 400 | 403), "{}", refused.text());
        client.key = new;
        let mut there = at(&second, &client).await;
        there.post_as_get(&url).await.expect(200);
    }
}

#[tokio::test]
async fn contacts_that_were_changed_at_one_instance_are_shown_by_the_other_at_once() {
    let (_database, _first, second, mut client) = two_that_know_an_account().await;
    let url = client.kid.clone().unwrap();
    for contact in ["mailto:a@a.test", "mailto:b@b.test"] {
        client.post(&url, &json!({ "contact": [contact] })).await.expect(200);
        let mut there = at(&second, &client).await;
        let url = there.kid.clone().unwrap();
        let account = there.post_as_get(&url).await.expect(200).json();
        assert_eq!(account["contact"], json!([contact]));
    }
}
