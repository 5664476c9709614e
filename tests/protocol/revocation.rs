//! revokeCert (RFC 8555 §7.6).

use harness::csr::Csr;
use harness::key::base64url;
use harness::{Algorithm, Answer, Client, Key, Server, Settings};
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::{server, server_with};

/// A certificate for these names, with a key of this type.
async fn issue(client: &mut Client, names: &[&str], key: &Key) -> X509 {
    let kind = if names.iter().any(|name| name.starts_with("*.")) { "dns-01" } else { "http-01" };
    let mut order = client.order(names).await.prove(kind).await;
    let csr = Csr { key: key.private.clone(), ..order.csr() };
    order.finalize_with(&csr.der()).await.expect(200);
    order.certificates().await.remove(0)
}

fn payload(certificate: &X509) -> Value {
    json!({ "certificate": base64url(certificate.to_der().unwrap()) })
}

async fn revoke(client: &mut Client, payload: &Value) -> Answer {
    let url = client.url("revokeCert");
    client.post(&url, payload).await
}

/// A client without an account whose key this is.
async fn holder(server: &Server, key: &Key) -> Client {
    server.client_with("ca", key.clone()).await
}

#[tokio::test]
async fn the_account_that_ordered_revokes_once() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let certificate = issue(&mut client, &["a.test"], &Key::new(Algorithm::Es256)).await;
    let answer = revoke(&mut client, &payload(&certificate)).await.expect(200);
    assert!(answer.body.is_empty(), "{}", answer.text());
    assert!(!answer.header("replay-nonce").is_empty());
    revoke(&mut client, &payload(&certificate)).await.expect_problem(400, "alreadyRevoked");
    // Whoever may not revoke it learns nothing of that.
    let mut other = server.account("ca").await;
    revoke(&mut other, &payload(&certificate)).await.expect_problem(403, "unauthorized");
}

/// Rule 18: the certificate's key may be of another type than the account's.
#[tokio::test]
async fn the_key_of_the_certificate_revokes_it_whatever_its_type() {
    let server = server().await;
    let mut client = server.account("ca").await;
    for algorithm in Algorithm::ALL {
        let key = Key::new(algorithm);
        let certificate = issue(&mut client, &["a.test"], &key).await;
        let mut stranger = holder(&server, &Key::new(algorithm)).await;
        let refused = revoke(&mut stranger, &payload(&certificate)).await;
        refused.expect_problem(403, "unauthorized");
        let mut holder = holder(&server, &key).await;
        let reason = json!({ "reason": 1 });
        let mut payload = payload(&certificate);
        payload["reason"] = reason["reason"].clone();
        let answer = revoke(&mut holder, &payload).await.expect(200);
        assert!(answer.body.is_empty(), "{algorithm:?}");
        revoke(&mut holder, &payload).await.expect_problem(400, "alreadyRevoked");
    }
}

#[tokio::test]
async fn the_key_of_an_account_is_named_by_kid_and_not_by_jwk() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let certificate = issue(&mut client, &["a.test"], &Key::new(Algorithm::Es256)).await;
    let kid = client.kid.take();
    let answer = revoke(&mut client, &payload(&certificate)).await;
    let answer = answer.expect_problem(403, "unauthorized");
    assert!(answer.json()["detail"].as_str().unwrap().contains("kid"), "{}", answer.text());
    client.kid = kid;
    revoke(&mut client, &payload(&certificate)).await.expect(200);
}

#[tokio::test]
async fn an_account_that_is_authorized_for_every_name_revokes() {
    let server = server().await;
    let mut owner = server.account("ca").await;
    let certificate = issue(&mut owner, &["a.test", "*.b.test"], &Key::new(Algorithm::Es256)).await;
    let mut other = server.account("ca").await;
    let refused = revoke(&mut other, &payload(&certificate)).await;
    refused.expect_problem(403, "unauthorized");
    other.order(&["a.test", "b.test"]).await.prove("dns-01").await;
    // The name without the star is another identifier.
    let refused = revoke(&mut other, &payload(&certificate)).await;
    let refused = refused.expect_problem(403, "unauthorized");
    assert!(refused.json()["detail"].as_str().unwrap().contains("*.b.test"), "{}", refused.text());
    // Pending is not valid.
    other.order(&["*.b.test"]).await;
    revoke(&mut other, &payload(&certificate)).await.expect_problem(403, "unauthorized");
    other.order(&["*.b.test"]).await.prove("dns-01").await;
    revoke(&mut other, &payload(&certificate)).await.expect(200);
}

#[tokio::test]
async fn an_account_whose_authorization_was_given_up_does_not_revoke() {
    let server = server().await;
    let mut owner = server.account("ca").await;
    let certificate = issue(&mut owner, &["a.test"], &Key::new(Algorithm::Es256)).await;
    let mut other = server.account("ca").await;
    let order = other.order(&["a.test"]).await.prove("http-01").await;
    let authorization = order.authorization_urls().remove(0);
    other.post(&authorization, &json!({ "status": "deactivated" })).await.expect(200);
    revoke(&mut other, &payload(&certificate)).await.expect_problem(403, "unauthorized");
}

#[tokio::test]
async fn only_reasons_that_a_subscriber_can_give_are_taken() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let key = Key::new(Algorithm::Es256);
    let certificate = issue(&mut client, &["a.test"], &key).await;
    for reason in [-1_i64, 2, 6, 7, 8, 9, 10, 11, i64::MAX] {
        let mut payload = payload(&certificate);
        payload["reason"] = json!(reason);
        let refused = revoke(&mut client, &payload).await;
        let refused = refused.expect_problem(400, "badRevocationReason");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("1 keyCompromise"), "what would be right: {detail}");
    }
    for reason in [json!("1"), json!(1.5), json!([1]), json!(true)] {
        let mut payload = payload(&certificate);
        payload["reason"] = reason;
        revoke(&mut client, &payload).await.expect_problem(400, "malformed");
    }
    for reason in [0, 1, 3, 4, 5] {
        let certificate = issue(&mut client, &["a.test"], &key).await;
        let mut payload = payload(&certificate);
        payload["reason"] = json!(reason);
        revoke(&mut client, &payload).await.expect(200);
    }
    let crl = server.crl("ca", 5).await;
    let text = crate::revocation_list::text(&crl);
    // Of 0 there is no word.
    assert_eq!(text.matches("X509v3 CRL Reason Code").count(), 4, "{text}");
}

#[tokio::test]
async fn what_is_not_the_very_certificate_in_base64url_is_refused() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let certificate = issue(&mut client, &["a.test"], &Key::new(Algorithm::Es256)).await;
    let der = certificate.to_der().unwrap();
    let padded = openssl::base64::encode_block(&der);
    let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
    let with_more = base64url([&der[..], &[0]].concat());
    for bad in [json!({}), json!({ "certificate": 7 }), json!({ "certificate": "" }), json!([])] {
        revoke(&mut client, &bad).await.expect_problem(400, "malformed");
    }
    for bad in [padded, pem, with_more, base64url(b"nonsense"), base64url(&der[..der.len() - 1])] {
        let refused = revoke(&mut client, &json!({ "certificate": bad })).await;
        refused.expect_problem(400, "malformed");
    }
    // Signed by the same key with the same serial, but not what was issued.
    let mut forged = der.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refused = revoke(&mut client, &json!({ "certificate": base64url(forged) })).await;
    refused.expect_problem(404, "malformed");
    // The CA's own, and one of another server.
    for unknown in [&server.roots()[0], &elsewhere().await] {
        let refused = revoke(&mut client, &payload(unknown)).await;
        refused.expect_problem(404, "malformed");
    }
    revoke(&mut client, &payload(&certificate)).await.expect(200);
}

/// A certificate of a server that is no more.
async fn elsewhere() -> X509 {
    let server = server().await;
    let mut client = server.account("ca").await;
    issue(&mut client, &["a.test"], &Key::new(Algorithm::Es256)).await
}

#[tokio::test]
async fn an_account_that_is_authorized_for_its_addresses_revokes_a_certificate() {
    let server = server().await;
    let mut owner = server.account("ca").await;
    let names = ["127.0.0.1", "a.test"];
    let certificate = issue(&mut owner, &names, &Key::new(Algorithm::Es256)).await;
    let mut other = server.account("ca").await;
    other.order(&["a.test"]).await.prove("http-01").await;
    let refused = revoke(&mut other, &payload(&certificate)).await;
    let refused = refused.expect_problem(403, "unauthorized");
    assert!(refused.json()["detail"].as_str().unwrap().contains("127.0.0.1"), "{}", refused.text());
    other.order(&["127.0.0.1"]).await.prove("http-01").await;
    revoke(&mut other, &payload(&certificate)).await.expect(200);
}

/// Who proved a domain could have such a certificate, and so may say that there should be none.
#[tokio::test]
async fn an_account_that_is_authorized_for_the_domain_above_revokes_where_that_counts() {
    let settings =
        Settings { ca: "subdomain_authorizations = true".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut owner = server.account("ca").await;
    let key = Key::new(Algorithm::Es256);
    let certificate = issue(&mut owner, &["x.a.test", "y.x.a.test"], &key).await;
    let wildcard = issue(&mut owner, &["*.x.a.test"], &key).await;
    let mut other = server.account("ca").await;
    let mut authorize = async |subdomains: bool| {
        let mut identifier = json!({ "type": "dns", "value": "a.test" });
        identifier["subdomainAuthAllowed"] = json!(subdomains);
        let url = other.url("newAuthz");
        let made = other.post(&url, &json!({ "identifier": identifier })).await.expect(201);
        let (url, object) = (made.header("location").to_owned(), made.json());
        let challenges = object["challenges"].as_array().unwrap();
        let dns = challenges.iter().find(|challenge| challenge["type"] == "dns-01").unwrap();
        other.fulfil("a.test", dns);
        other.post(dns["url"].as_str().unwrap(), &json!({})).await.expect(200);
        assert_eq!(other.settled(&url).await["status"], "valid");
        revoke(&mut other, &payload(&certificate)).await
    };
    authorize(false).await.expect_problem(403, "unauthorized");
    authorize(true).await.expect(200);
    revoke(&mut other, &payload(&wildcard)).await.expect_problem(403, "unauthorized");
}
