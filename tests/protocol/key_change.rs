//! keyChange (RFC 8555 §7.3.5).

use harness::acme::{Answer, Client};
use harness::zone::ResponseCode;
use harness::{Algorithm, Key, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

/// The inner JWS of a right request, each part of which a test may set.
struct Inner {
    protected: Value,
    payload: Value,
    /// Whose signature it gets.
    signer: Key,
}

impl Inner {
    fn new(client: &Client, new: &Key) -> Self {
        Self {
            protected: json!({
                "alg": new.algorithm.name(), "jwk": new.jwk(), "url": client.url("keyChange"),
            }),
            payload: json!({ "account": client.kid, "oldKey": client.key.jwk() }),
            signer: new.clone(),
        }
    }

    fn signed(&self) -> Value {
        self.signed_payload(self.payload.to_string().as_bytes())
    }

    fn signed_payload(&self, payload: &[u8]) -> Value {
        self.signer.sign_jws(self.protected.to_string(), payload)
    }

    async fn send(&self, client: &mut Client) -> Answer {
        let (url, inner) = (client.url("keyChange"), self.signed());
        client.post(&url, &inner).await
    }
}

#[tokio::test]
async fn an_account_gets_a_new_key_of_any_type_and_keeps_everything_else() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let before = client.post_as_get(&url).await.expect(200).json();
    let pending = client.order(&["a.test"]).await.url;
    for algorithm in Algorithm::ALL {
        let (old, new) = (client.key.clone(), Key::new(algorithm));
        let changed = Inner::new(&client, &new).send(&mut client).await.expect(200);
        assert_eq!(changed.header("location"), url);
        assert_eq!(changed.json(), before, "nothing but the key has changed");

        // The old key is refused at once, the new one accepted at once.
        let refused = client.post_as_get(&url).await;
        // Of another type, it does not even sign with the right algorithm.
        assert!(matches!(refused.status, 400 | 403), "{}", refused.text());
        client.key = new;
        assert_eq!(client.post_as_get(&url).await.expect(200).json(), before);
        assert_eq!(client.post_as_get(&pending).await.expect(200).json()["status"], "pending");
        let existing = json!({ "onlyReturnExisting": true });
        assert_eq!(client.new_account(&existing).await.expect(200).header("location"), url);
        let mut past = server.client_with("ca", old).await;
        past.new_account(&existing).await.expect_problem(400, "accountDoesNotExist");
    }
    let new = Key::new(client.key.algorithm);
    Inner::new(&client, &new).send(&mut client).await.expect(200);
    client.post_as_get(&url).await.expect_problem(403, "unauthorized");
    client.key = new;
    client.order(&["b.test"]).await.prove("http-01").await.finalize().await;
}

#[tokio::test]
async fn a_key_that_has_an_account_is_answered_with_409_and_the_url_of_that_account() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut other = server.account("ca").await;
    let same = client.key.clone();
    for (key, account) in [(same, client.kid.clone()), (other.key.clone(), other.kid.clone())] {
        let refused = Inner::new(&client, &key).send(&mut client).await;
        let refused = refused.expect_problem(409, "malformed");
        assert_eq!(Some(refused.header("location")), account.as_deref());
    }
    // Also where that account is no more: its key stays its own.
    let gone = other.kid.clone().unwrap();
    other.post(&gone, &json!({ "status": "deactivated" })).await.expect(200);
    let refused = Inner::new(&client, &other.key).send(&mut client).await;
    assert_eq!(refused.expect_problem(409, "malformed").header("location"), gone);
    client.post_as_get(&client.kid.clone().unwrap()).await.expect(200);
}

#[tokio::test]
async fn a_request_that_fails_any_check_changes_nothing() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let other = server.account("ca").await;
    let new = Key::new(Algorithm::Es256);
    let account = client.clone();
    let right = || Inner::new(&account, &new);
    let mut cases: Vec<(&str, Inner, u16, &str)> = Vec::new();
    let mut case = |what, problem, status, bend: &dyn Fn(&mut Inner)| {
        let mut inner = right();
        bend(&mut inner);
        cases.push((what, inner, status, problem));
    };
    let remove = |value: &mut Value, name: &str| {
        value.as_object_mut().unwrap().remove(name);
    };
    case("no jwk", "malformed", 400, &|inner| remove(&mut inner.protected, "jwk"));
    case("kid instead of jwk", "malformed", 400, &|inner| {
        remove(&mut inner.protected, "jwk");
        inner.protected["kid"] = json!(account.kid);
    });
    case("jwk and kid", "malformed", 400, &|inner| inner.protected["kid"] = json!(account.kid));
    case("a nonce", "malformed", 400, &|inner| inner.protected["nonce"] = json!("bm9uY2U"));
    case("no url", "malformed", 400, &|inner| remove(&mut inner.protected, "url"));
    case("another url", "malformed", 400, &|inner| {
        inner.protected["url"] = json!(account.url("newOrder"));
    });
    case("no alg", "malformed", 400, &|inner| remove(&mut inner.protected, "alg"));
    case("a MAC", "badSignatureAlgorithm", 400, &|inner| inner.protected["alg"] = json!("HS256"));
    case("crit", "malformed", 400, &|inner| inner.protected["crit"] = json!(["exp"]));
    case("another key's signature", "unauthorized", 403, &|inner| inner.signer = other.key.clone());
    case("the old key's signature", "unauthorized", 403, &|inner| {
        inner.signer = account.key.clone();
    });
    case("a weak key", "badPublicKey", 400, &|inner| {
        inner.protected["jwk"] = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
        inner.protected["alg"] = json!("RS256");
    });
    case("a private key", "badPublicKey", 400, &|inner| {
        inner.protected["jwk"]["d"] = json!("AAAA");
    });
    case("no account", "malformed", 400, &|inner| remove(&mut inner.payload, "account"));
    case("another account", "malformed", 400, &|inner| {
        inner.payload["account"] = json!(other.kid);
    });
    case("an account that is no text", "malformed", 400, &|inner| {
        inner.payload["account"] = json!(1);
    });
    case("no oldKey", "malformed", 400, &|inner| remove(&mut inner.payload, "oldKey"));
    case("another oldKey", "malformed", 400, &|inner| {
        inner.payload["oldKey"] = other.key.jwk();
    });
    case("the new key as oldKey", "malformed", 400, &|inner| {
        inner.payload["oldKey"] = new.jwk();
    });
    case("an oldKey that is none", "malformed", 400, &|inner| {
        inner.payload["oldKey"] = json!({ "kty": "EC" });
    });
    case("a list", "malformed", 400, &|inner| {
        inner.payload = json!([account.kid, account.key.jwk()]);
    });
    assert_eq!(cases.len(), 21);
    for (what, inner, status, problem) in cases {
        eprintln!("{what}");
        inner.send(&mut client).await.expect_problem(status, problem);
    }

    let url = client.url("keyChange");
    for payload in [json!({}), json!(null), json!("text"), json!({ "protected": "e30" })] {
        client.post(&url, &payload).await.expect_problem(400, "malformed");
    }
    let mut inner = right().signed();
    inner["header"] = json!({});
    client.post(&url, &inner).await.expect_problem(400, "malformed");
    let empty = right().signed_payload(b"");
    client.post(&url, &empty).await.expect_problem(400, "malformed");
    client.post_as_get(&url).await.expect_problem(400, "malformed");

    // The outer JWS must be the account's.
    let (inner, kid) = (right().signed(), client.kid.take());
    client.post(&url, &inner).await.expect_problem(400, "malformed");
    client.kid = kid;
    let foreign = Inner { payload: right().payload, ..Inner::new(&other, &new) };
    foreign.send(&mut other.clone()).await.expect_problem(400, "malformed");

    client.post_as_get(&client.kid.clone().unwrap()).await.expect(200);
    right().send(&mut client.clone()).await.expect(200);
}

#[tokio::test]
async fn members_of_the_old_key_may_stand_in_any_order_with_others() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let new = Key::new(Algorithm::Es256);
    let mut inner = Inner::new(&client, &new);
    let old = client.key.jwk();
    let text = format!(
        "{{\"more\":{{}},\"oldKey\":{{\"y\":{},\"x\":{},\"kid\":\"1\",\"kty\":\"EC\",\
         \"crv\":\"P-256\"}},\"account\":{}}}",
        old["y"],
        old["x"],
        json!(client.kid)
    );
    inner.payload = serde_json::from_str(&text).unwrap();
    inner.send(&mut client).await.expect(200);
}

#[tokio::test]
async fn of_two_changes_that_come_together_one_is_made() {
    let server = server().await;
    let client = server.account("ca").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = client.clone();
        // A nonce of its own for each.
        let _ = client.nonce().await;
        let new = Key::new(Algorithm::Es256);
        tasks.spawn(async move {
            let answer = Inner::new(&client, &new).send(&mut client).await;
            client.key = new;
            (answer, client)
        });
    }
    let mut changed = 0;
    for (answer, mut client) in tasks.join_all().await {
        let account = client.kid.clone().unwrap();
        if answer.status == 200 {
            changed += 1;
            client.post_as_get(&account).await.expect(200);
        } else {
            answer.expect_problem(403, "unauthorized");
            client.post_as_get(&account).await.expect_problem(403, "unauthorized");
        }
    }
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn a_challenge_that_was_begun_with_the_old_key_is_validated_with_it() {
    let settings = Settings { server: "hold_s = 0".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    // While DNS fails, a validation is put off and not decided.
    let asked = "_acme-challenge.a.test";
    server.zone.set_response_code(asked, ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let authorization = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&authorization, "dns-01").await;
    let old = order.client.clone();
    let url = challenge["url"].as_str().unwrap().to_owned();
    order.client.post(&url, &json!({})).await.expect(200);
    let new = Key::new(Algorithm::Es256);
    Inner::new(&old, &new).send(order.client).await.expect(200);
    order.client.key = new;
    server.zone.clear(asked);
    old.fulfil(&name, &challenge);
    let settled = order.client.settled(&authorization).await;
    assert_eq!(settled["status"], "valid", "{settled}");
}
