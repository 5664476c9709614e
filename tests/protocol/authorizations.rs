//! Authorizations and challenges (RFC 8555 §7.1.4, §7.1.5, §7.5, §8).

use std::collections::BTreeSet;

use serde_json::json;

use crate::server;

#[tokio::test]
async fn an_authorization_shows_its_challenges_and_a_wildcard_only_dns_01() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let object = client.post_as_get(&url).await.expect(200).json();
    assert_eq!(object["status"], "pending");
    assert_eq!(object["identifier"], json!({ "type": "dns", "value": "a.test" }));
    assert!(object.get("wildcard").is_none());
    let mut kinds: Vec<_> = object["challenges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|challenge| {
            assert_eq!(challenge["status"], "pending");
            assert_eq!(challenge["token"].as_str().unwrap().len(), 43);
            challenge["type"].as_str().unwrap()
        })
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["dns-01", "http-01", "tls-alpn-01"]);

    let wildcard = client.order(&["*.a.test"]).await.authorization_urls().remove(0);
    let object = client.post_as_get(&wildcard).await.expect(200).json();
    assert_eq!(object["identifier"]["value"], "a.test");
    assert_eq!(object["wildcard"], true);
    assert_eq!(object["challenges"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_fulfilled_challenge_is_valid_and_alone_in_its_authorization() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&url, "http-01").await;
    order.client.fulfil(&name, &challenge);
    let challenge_url = challenge["url"].as_str().unwrap().to_owned();
    // Older clients send their key authorization along; it is of no use, and no harm.
    let begun = client.post(&challenge_url, &json!({ "keyAuthorization": "x" })).await.expect(200);
    assert!(begun.links().contains(&format!("<{url}>;rel=\"up\"").as_str()));
    let settled = client.settled(&url).await;
    assert_eq!(settled["status"], "valid");
    let challenges = settled["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 1);
    assert!(challenges[0]["validated"].as_str().is_some_and(|time| time.ends_with('Z')));
    // Said again, it is what it is.
    let again = client.post(&challenge_url, &json!({})).await.expect(200);
    assert_eq!(again.json()["status"], "valid");
}

#[tokio::test]
async fn a_failed_challenge_makes_authorization_and_order_invalid_and_says_why() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test", "b.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&url, "http-01").await;
    let order_url = order.url.clone();
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let settled = client.settled(&url).await;
    assert_eq!(settled["status"], "invalid");
    let error = &settled["challenges"][0]["error"];
    assert_eq!(error["type"], "urn:ietf:params:acme:error:incorrectResponse");
    let detail = error["detail"].as_str().unwrap();
    let asked = format!("http://{name}:{}/.well-known/acme-challenge/", server.responder.http_port);
    assert!(
        detail.contains(&asked) && detail.contains("127.0.0.1") && detail.contains("404"),
        "{detail}"
    );
    let order = client.post_as_get(&order_url).await.expect(200).json();
    assert_eq!(order["status"], "invalid");
    assert_eq!(order["error"]["subproblems"][0]["identifier"]["value"], name.as_str());
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let finalize = order["finalize"].as_str().unwrap();
    client.post(finalize, &json!({ "csr": "" })).await.expect_problem(403, "orderNotReady");
}

#[tokio::test]
async fn a_wrong_proof_is_refused_for_every_challenge_type() {
    let server = server().await;
    let mut client = server.account("ca").await;
    for (index, kind) in ["http-01", "dns-01", "tls-alpn-01"].into_iter().enumerate() {
        let name = format!("n{index}.test");
        let mut order = client.order(&[&name]).await;
        let url = order.authorization_urls().remove(0);
        let (name, mut challenge) = order.challenge(&url, kind).await;
        let real = challenge.clone();
        // The proof of another token.
        if kind == "http-01" {
            let token = real["token"].as_str().unwrap();
            server.responder.show_http01(token, "someone-elses.key-authorization");
        } else {
            challenge["token"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            order.client.fulfil(&name, &challenge);
        }
        client.post(real["url"].as_str().unwrap(), &json!({})).await.expect(200);
        let settled = client.settled(&url).await;
        assert_eq!(settled["status"], "invalid", "{kind}: {settled}");
        let problem = settled["challenges"][0]["error"]["type"].as_str().unwrap().to_owned();
        assert!(problem.ends_with(":incorrectResponse"), "{kind}: {settled}");
    }
}

#[tokio::test]
async fn an_authorization_can_be_deactivated_while_pending_and_while_valid() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let deactivate = json!({ "status": "deactivated" });
    for prove in [false, true] {
        let mut order = client.order(&["a.test"]).await;
        if prove {
            order = order.prove("http-01").await;
            assert_eq!(order.object["status"], "ready");
        }
        let (order_url, url) = (order.url.clone(), order.authorization_urls().remove(0));
        client.post(&url, &json!({ "status": "valid" })).await.expect_problem(400, "malformed");
        let object = client.post(&url, &deactivate).await.expect(200).json();
        assert_eq!(object["status"], "deactivated");
        client.post(&url, &deactivate).await.expect(200);
        let order = client.post_as_get(&order_url).await.json();
        assert_eq!(order["status"], "invalid");
        if !prove {
            let challenge = object["challenges"][0]["url"].as_str().unwrap().to_owned();
            client.post(&challenge, &json!({})).await.expect_problem(400, "malformed");
        }
    }
}

/// RFC 8555 §8.3, §8.4, RFC 8737 §3: 128 bits at least, in base64url without padding; §10.5: nor can
/// a URL be guessed.
#[tokio::test]
async fn tokens_and_urls_hold_128_random_bits_and_more_in_base64url() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let (mut tokens, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let (mut seen_tokens, mut seen_ids) = (0, 0);
    let in_base64url =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    ids.insert(client.kid.clone().unwrap().rsplit_once('/').unwrap().1.to_owned());
    for name in ["a.test", "b.test", "c.test"] {
        let order = client.order(&[name]).await;
        let authorization = order.authorization_urls().remove(0);
        let mut urls = vec![order.url.clone(), authorization.clone()];
        let object = client.post_as_get(&authorization).await.expect(200).json();
        for challenge in object["challenges"].as_array().unwrap() {
            let token = challenge["token"].as_str().unwrap().to_owned();
            // 128 bits are 22 characters of 6.
            assert!(token.len() >= 22 && in_base64url(&token), "{token}");
            urls.push(challenge["url"].as_str().unwrap().to_owned());
            tokens.insert(token);
            seen_tokens += 1;
        }
        for url in urls {
            let id = url.rsplit_once('/').unwrap().1.to_owned();
            // 5 bytes are the time's.
            assert!(id.len() >= 28 && in_base64url(&id), "{url}");
            ids.insert(id);
            seen_ids += 1;
        }
    }
    assert_eq!((tokens.len(), ids.len()), (seen_tokens, seen_ids + 1), "none comes twice");
}
