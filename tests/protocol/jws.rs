//! Request authentication (RFC 8555 §6.2 to §6.5).

use harness::key::base64url;
use harness::{Algorithm, Key};
use serde_json::{Value, json};

use crate::server;

/// A change to a right request, and the problem that it must be answered with.
type Bent = (&'static str, fn(&mut Value), u16, &'static str);

#[tokio::test]
async fn a_protected_header_that_is_wrong_is_refused_with_its_problem() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let bent: &[Bent] = &[
        ("no alg", |header| drop(header.as_object_mut().unwrap().remove("alg")), 400, "malformed"),
        ("alg none", |header| header["alg"] = json!("none"), 400, "badSignatureAlgorithm"),
        ("a MAC", |header| header["alg"] = json!("HS256"), 400, "badSignatureAlgorithm"),
        ("an unknown alg", |header| header["alg"] = json!("XX99"), 400, "badSignatureAlgorithm"),
        (
            "no nonce",
            |header| drop(header.as_object_mut().unwrap().remove("nonce")),
            400,
            "badNonce",
        ),
        ("an empty nonce", |header| header["nonce"] = json!(""), 400, "badNonce"),
        ("a made-up nonce", |header| header["nonce"] = json!("AAAAAAAAAAAAAAAA"), 400, "badNonce"),
        // RFC 8555 §6.5.2: what is not base64url is malformed, not merely bad.
        ("no base64url", |header| header["nonce"] = json!("a+b="), 400, "malformed"),
        ("no url", |header| drop(header.as_object_mut().unwrap().remove("url")), 400, "malformed"),
        ("another url", |header| header["url"] = json!("https://localhost/"), 403, "unauthorized"),
        ("no kid", |header| drop(header.as_object_mut().unwrap().remove("kid")), 400, "malformed"),
        (
            "a foreign kid",
            |header| header["kid"] = json!("https://localhost/x"),
            400,
            "accountDoesNotExist",
        ),
        ("crit", |header| header["crit"] = json!(["exp"]), 400, "malformed"),
        ("b64", |header| header["b64"] = json!(false), 400, "malformed"),
        ("another alg", |header| header["alg"] = json!("RS256"), 400, "malformed"),
    ];
    for (why, bend, status, problem) in bent {
        let mut jws = client.jws(&url, "").await;
        bend(&mut jws.protected);
        let body = client.sign(&jws);
        let answer = client.post_json(&url, &body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (*status, *problem),
            "{why}: {}",
            answer.text()
        );
        assert!(!answer.header("replay-nonce").is_empty(), "{why}");
        if *problem == "badSignatureAlgorithm" {
            let algorithms = answer.json()["algorithms"].as_array().unwrap().len();
            assert_eq!(algorithms, 6, "{why}: the answer lists what would do");
        }
    }
    client.post_as_get(&url).await.expect(200);
}

#[tokio::test]
async fn a_body_that_is_no_flattened_jws_is_malformed() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let jws = client.jws(&url, "").await;
    let good = client.sign(&jws);
    let part = |name: &str| good[name].as_str().unwrap().to_owned();
    let (protected, signature) = (part("protected"), part("signature"));
    let bodies = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!("{good} ").trim_end().to_owned() + "x",
        format!(r#"{{"protected":"{protected}","signature":"{signature}"}}"#),
        format!(
            r#"{{"protected":"{protected}","payload":"","payload":"","signature":"{signature}"}}"#
        ),
        format!(
            r#"{{"protected":"{protected}","payload":"","signature":"{signature}","header":{{}}}}"#
        ),
        format!(
            r#"{{"payload":"","signatures":[{{"protected":"{protected}","signature":"{signature}"}}]}}"#
        ),
        format!(r#"{{"protected":"{protected}=","payload":"","signature":"{signature}"}}"#),
        format!(r#"{{"protected":"","payload":"","signature":"{signature}"}}"#),
        format!("{protected}..{signature}"),
    ];
    for body in bodies {
        let answer =
            client.post_raw(&url, "application/jose+json", body.clone().into_bytes()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "malformed"),
            "{body}: {}",
            answer.text()
        );
    }
    // After all that, the nonce is still good.
    client.post_json(&url, &good).await.expect(200);
}

#[tokio::test]
async fn a_header_that_says_something_twice_is_malformed() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let header = client.jws(&url, "").await.protected.to_string();
    let twice = header.replacen('{', r#"{"alg":"ES256","#, 1);
    let body = client.sign_text(&twice, b"");
    client.post_json(&url, &body).await.expect_problem(400, "malformed");
}

#[tokio::test]
async fn a_signature_that_is_not_the_accounts_is_unauthorized() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let jws = client.jws(&url, "").await;
    let mut changed = client.sign(&jws);
    changed["payload"] = json!(base64url("{}"));
    client.post_json(&url, &changed).await.expect_problem(403, "unauthorized");
    let mut thief = client.clone();
    thief.key = Key::new(Algorithm::Es256);
    let forged = thief.sign(&jws);
    client.post_json(&url, &forged).await.expect_problem(403, "unauthorized");
    let mut short = client.sign(&jws);
    short["signature"] = json!(base64url([0; 63]));
    client.post_json(&url, &short).await.expect_problem(403, "unauthorized");
    let right = client.sign(&jws);
    client.post_json(&url, &right).await.expect(200);
}

#[tokio::test]
async fn an_account_key_that_cannot_be_is_a_bad_public_key() {
    let server = server().await;
    let mut client = server.client("ca").await;
    let url = client.url("newAccount");
    let good = client.key.jwk();
    let mut cases = Vec::new();
    let mut short = good.clone();
    short["x"] = json!(base64url([7; 31]));
    cases.push(("a dropped zero", short));
    let mut off_curve = good.clone();
    off_curve["x"] = json!(base64url([7; 32]));
    cases.push(("off the curve", off_curve));
    let mut private = good.clone();
    private["d"] = json!(base64url([7; 32]));
    cases.push(("a private key", private));
    let mut encryption = good.clone();
    encryption["use"] = json!("enc");
    cases.push(("for encryption", encryption));
    cases.push(("an unknown type", json!({ "kty": "XX" })));
    cases.push((
        "an unknown curve",
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" }),
    ));
    cases.push((
        "a short RSA key",
        json!({ "kty": "RSA", "n": base64url([0xff; 128]), "e": "AQAB" }),
    ));
    cases.push(("a symmetric key", json!({ "kty": "oct", "k": "AAAA" })));
    for (why, jwk) in cases {
        let mut jws = client.jws(&url, "{}").await;
        jws.protected["jwk"] = jwk;
        let body = client.sign(&jws);
        let answer = client.post_json(&url, &body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "badPublicKey"),
            "{why}: {}",
            answer.text()
        );
    }
    // Both a key and an account, or an account where a key must be.
    client.register().await;
    let kid = client.kid.clone().unwrap();
    let mut both = client.jws(&url, "{}").await;
    both.protected["jwk"] = good;
    let body = client.sign(&both);
    client.post_json(&url, &body).await.expect_problem(400, "malformed");
    let jws = client.jws(&url, "{}").await;
    assert_eq!(jws.protected["kid"], kid);
    let body = client.sign(&jws);
    client.post_json(&url, &body).await.expect_problem(400, "malformed");
}
