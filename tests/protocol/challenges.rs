//! What clients rely on while they prove control (RFC 8555 §7.1.6, §7.5.1, §8).

use std::time::{Duration, Instant};

use harness::zone::ResponseCode;
use harness::{Server, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

/// Answers to a challenge come at once, whatever became of it.
async fn without_hold() -> Server {
    server_with(Settings { server: "hold_s = 0".to_owned(), ..Settings::key_file() }).await
}

async fn patient() -> Server {
    let settings = Settings {
        server: "hold_s = 0".to_owned(),
        validation: "attempts = 20".to_owned(),
        ..Settings::key_file()
    };
    server_with(settings).await
}

fn retry_after_s(answer: &harness::Answer) -> u32 {
    let value = answer.header("retry-after");
    value.parse().unwrap_or_else(|_| panic!("Retry-After {value:?} is no integer of seconds"))
}

#[tokio::test]
async fn a_challenge_is_begun_by_an_empty_object_or_an_old_key_authorization_and_may_be_posted_again()
 {
    let server = server().await;
    let mut client = server.account("ca").await;
    for payload in [json!({}), json!({ "keyAuthorization": "x", "resource": "challenge" })] {
        let mut order = client.order(&["a.test"]).await;
        let url = order.authorization_urls().remove(0);
        let (name, challenge) = order.challenge(&url, "http-01").await;
        client.fulfil(&name, &challenge);
        let challenge = challenge["url"].as_str().unwrap();
        client.post(challenge, &payload).await.expect(200);
        client.settled(&url).await;
        for _ in 0..2 {
            let again = client.post(challenge, &payload).await.expect(200).json();
            assert_eq!(again["status"], "valid");
        }
    }
}

#[tokio::test]
async fn a_failure_makes_challenge_authorization_and_order_invalid_in_one_instant() {
    let server = without_hold().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test", "b.test"]).await;
    let order_url = order.url.clone();
    let url = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&url, "http-01").await;
    let challenge = challenge["url"].as_str().unwrap();
    client.post(challenge, &json!({})).await.expect(200);
    loop {
        let seen = client.post_as_get(challenge).await.expect(200).json();
        let authorization = client.post_as_get(&url).await.expect(200).json();
        let order = client.post_as_get(&order_url).await.expect(200).json();
        if seen["status"] == "invalid" {
            assert!(seen["error"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            assert_eq!(authorization["status"], "invalid");
            assert_eq!(order["status"], "invalid");
            break;
        }
        assert_eq!(seen["status"], "processing");
    }
}

#[tokio::test]
async fn the_order_is_ready_as_soon_as_its_last_authorization_is_seen_to_be_valid() {
    let server = without_hold().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test", "b.test", "c.test"]).await;
    let order_url = order.url.clone();
    let urls = order.authorization_urls();
    for url in &urls {
        let (name, challenge) = order.challenge(url, "http-01").await;
        order.client.fulfil(&name, &challenge);
        order.client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    }
    loop {
        let mut valid = 0;
        for url in &urls {
            let seen = client.post_as_get(url).await.expect(200).json();
            valid += usize::from(seen["status"] == "valid");
        }
        // Read after its authorizations, so that nothing but being late could excuse it.
        let order = client.post_as_get(&order_url).await.expect(200).json();
        if valid == urls.len() {
            assert_eq!(order["status"], "ready");
            break;
        }
    }
}

#[tokio::test]
async fn a_wildcard_and_its_apex_are_proved_by_two_values_of_one_name_behind_an_alias() {
    let server = server().await;
    let mut client = server.account("ca").await;
    server.zone.add_cname("_acme-challenge.a.test", "a.validation.test");
    server.zone.add_txt("a.validation.test", &"x".repeat(300));
    let mut order = client.order(&["*.a.test", "a.test"]).await;
    let urls = order.authorization_urls();
    let mut challenges = Vec::new();
    for url in &urls {
        let (name, mut challenge) = order.challenge(url, "dns-01").await;
        assert_eq!(name, "a.test");
        // At the alias's target, where there is another value, too, in two strings.
        challenge["at"] = json!("a.validation.test");
        let token = challenge["token"].as_str().unwrap();
        let proof = order.client.key_authorization(token);
        let digest = openssl::sha::sha256(proof.as_bytes());
        server.zone.add_txt("a.validation.test", &harness::key::base64url(digest));
        challenges.push(challenge);
    }
    for (url, challenge) in urls.iter().zip(challenges) {
        client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
        assert_eq!(client.settled(url).await["status"], "valid");
    }
}

#[tokio::test]
async fn retry_after_is_a_small_integer_of_seconds_for_challenge_and_authorization() {
    let server = patient().await;
    let mut client = server.account("ca").await;
    server.zone.set_response_code("_acme-challenge.a.test", ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&url, "dns-01").await;
    let begun = client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(begun.json()["status"], "processing");
    assert!((1..=5).contains(&retry_after_s(&begun)));
    let seen = client.post_as_get(&url).await.expect(200);
    assert!((1..=5).contains(&retry_after_s(&seen)));
}

#[tokio::test]
async fn a_validation_that_is_tried_again_tells_of_each_query_that_failed() {
    let server = patient().await;
    let mut client = server.account("ca").await;
    let owner = "_acme-challenge.a.test";
    server.zone.set_response_code(owner, ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&url, "dns-01").await;
    let at = challenge["url"].as_str().unwrap();
    let begun = client.post(at, &json!({})).await.expect(200).json();
    assert_eq!(begun["status"], "processing");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut entries = 0;
    while entries < 2 {
        assert!(Instant::now() < deadline);
        let seen = client.post_as_get(at).await.expect(200);
        assert!(retry_after_s(&seen) >= 1);
        let seen = seen.json();
        assert_eq!(seen["status"], "processing");
        assert!(seen.get("validated").is_none());
        let Some(error) = seen.get("error") else { continue };
        assert_eq!(error["type"], "urn:ietf:params:acme:error:dns");
        assert!(error["detail"].as_str().unwrap().contains("SERVFAIL"), "{error}");
        let failed = error["subproblems"].as_array().unwrap();
        assert!(failed.iter().all(|one| one["identifier"]["value"] == "a.test"), "{error}");
        assert!(failed.len() >= entries, "entries are added");
        entries = failed.len();
    }
    server.zone.clear(owner);
    client.fulfil(&name, &challenge);
    let settled = client.settled(&url).await;
    assert_eq!(settled["status"], "valid");
    assert!(settled["challenges"][0].get("error").is_none(), "{settled}");
}

#[tokio::test]
async fn a_challenge_that_another_overtook_is_not_processing_for_ever() {
    let server = patient().await;
    let mut client = server.account("ca").await;
    server.zone.set_response_code("_acme-challenge.a.test", ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (_, slow) = order.challenge(&url, "dns-01").await;
    let (name, quick) = order.challenge(&url, "http-01").await;
    let slow = slow["url"].as_str().unwrap();
    let begun = client.post(slow, &json!({})).await.expect(200).json();
    assert_eq!(begun["status"], "processing");
    client.fulfil(&name, &quick);
    client.post(quick["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(client.settled(&url).await["status"], "valid");
    let overtaken = client.post_as_get(slow).await.expect(200);
    assert_eq!(overtaken.header("retry-after"), "");
    let overtaken = overtaken.json();
    assert_eq!(overtaken["status"], "invalid");
    assert!(overtaken["error"]["detail"].as_str().unwrap().contains("another challenge decided"));
    // The authorization has nothing to do with it.
    let seen = client.post_as_get(&url).await.expect(200).json();
    assert_eq!(seen["status"], "valid");
    assert_eq!(seen["challenges"].as_array().map(Vec::len), Some(1));
    client.post(slow, &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_challenge_of_an_authorization_that_was_given_up_is_not_processing_for_ever() {
    let server = patient().await;
    let mut client = server.account("ca").await;
    server.zone.set_response_code("_acme-challenge.a.test", ResponseCode::ServFail);
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&url, "dns-01").await;
    let at = challenge["url"].as_str().unwrap();
    client.post(at, &json!({})).await.expect(200);
    client.post(&url, &json!({ "status": "deactivated" })).await.expect(200);
    assert_eq!(client.post_as_get(at).await.expect(200).json()["status"], "invalid");
}

#[tokio::test]
async fn validation_starts_at_once_and_not_on_a_timer() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let (mut waits, mut usual) = (Vec::new(), Vec::new());
    for number in 0..9 {
        let asked = Instant::now();
        let mut order = client.order(&[&format!("n{number}.test")]).await;
        usual.push(asked.elapsed());
        let url = order.authorization_urls().remove(0);
        let (name, challenge) = order.challenge(&url, "http-01").await;
        client.fulfil(&name, &challenge);
        // Wherever in its period a timer would be, it would not always be at its end.
        tokio::time::sleep(Duration::from_millis(37 * number)).await;
        let began = Instant::now();
        let answer = client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
        waits.push(began.elapsed());
        assert_eq!(answer.json()["status"], Value::from("valid"), "one request is enough");
    }
    waits.sort_unstable();
    usual.sort_unstable();
    // Half of the second that a worker sleeps where nobody wakes it: so long a timer would take. The
    // work itself takes as long as a few requests, which on a busy machine is long, too.
    let limit = Duration::from_millis(500) + usual[usual.len() / 2] * 5;
    assert!(waits[waits.len() / 2] < limit, "{waits:?}, other requests {usual:?}");
}

/// Rule 21: a search list, as it stands in /etc/resolv.conf or LOCALDOMAIN, is for people.
#[tokio::test]
async fn rule_21_dns_is_asked_for_whole_names_alone_also_where_there_is_no_answer() {
    let settings = Settings { validation: "attempts = 1".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    client.order(&["printer", "a.b.test."]).await.prove("http-01").await;
    // Where a name is not found, a search list would go on with another.
    for name in ["nobody", "_acme-challenge.nobody", "nobody.test", "_acme-challenge.nobody.test"] {
        server.zone.set_response_code(name, ResponseCode::NXDomain);
    }
    for (name, kind) in [
        ("nobody", "http-01"),
        ("nobody", "dns-01"),
        ("nobody.test", "http-01"),
        ("nobody.test.", "dns-01"),
    ] {
        let mut order = client.order(&[name]).await;
        let url = order.authorization_urls().remove(0);
        let (_, challenge) = order.challenge(&url, kind).await;
        client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
        assert_eq!(client.settled(&url).await["status"], "invalid", "{name} by {kind}");
    }
    let mut asked: Vec<_> = server.zone.asked().into_iter().map(|(name, _)| name).collect();
    asked.sort();
    asked.dedup();
    let whole = [
        "_acme-challenge.nobody",
        "_acme-challenge.nobody.test",
        "a.b.test",
        "nobody",
        "nobody.test",
        "printer",
    ];
    assert_eq!(asked, whole);
}
