//! What real clients need of HTTP, JSON and PEM: each test is named after its rule.

use std::process::Command;

use harness::{Server, command};
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::server;

/// An answer as it is on the wire: curl shows header names as they were sent.
fn curl(server: &Server, url: &str, arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http1.1", "--include", "--cacert"]);
    command::run(curl.arg(server.root()).arg(url).args(arguments))
}

#[tokio::test]
async fn every_header_name_is_in_title_case_on_http_1_1() {
    let server = server().await;
    let mut client = server.client("ca").await;
    let url = client.url("newAccount");
    let jws = client.jws(&url, json!({ "termsOfServiceAgreed": true }).to_string()).await;
    let (made, refused) = (client.sign(&jws).to_string(), "{}".to_owned());
    for (body, names) in [
        (made, &["Replay-Nonce", "Location", "Link", "Content-Type"][..]),
        (refused, &["Replay-Nonce", "Link", "Content-Type"]),
    ] {
        let post = ["--header", "Content-Type: application/jose+json", "--data", &body];
        let answer = curl(&server, &url, &post);
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let sent: Vec<_> =
            head.lines().skip(1).map(|line| line.split_once(": ").unwrap().0).collect();
        for name in names {
            assert!(sent.contains(name), "{name}: {head}");
        }
        for word in sent.iter().flat_map(|name| name.split('-')) {
            assert!(word.starts_with(|first: char| first.is_ascii_uppercase()), "{head}");
        }
    }
}

#[tokio::test]
async fn every_answer_to_a_post_has_a_fresh_nonce_whatever_went_wrong() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let (account, order) = (client.kid.clone().unwrap(), client.url("newOrder"));
    let jose = "application/jose+json";
    let huge = vec![b' '; 200_000];
    let elsewhere = client.jws(&account, "").await;
    let elsewhere = client.sign(&elsewhere).to_string().into_bytes();
    let forged = Value::from("A".repeat(86));
    let mut unsigned = client.jws(&account, "").await;
    unsigned.protected["kid"] = json!(account);
    let mut unsigned = client.sign(&unsigned);
    unsigned["signature"] = forged;
    let unsigned = unsigned.to_string().into_bytes();
    let mut nonces = std::collections::BTreeSet::new();
    let wrong = [
        (&*account, "application/json", b"{}".to_vec(), 415),
        (&account, jose, huge, 413),
        (&account, jose, b"{".to_vec(), 400),
        (&account, jose, unsigned, 403),
        (&order, jose, elsewhere, 403),
        ("/acme/ca/order/nothing", jose, b"{}".to_vec(), 400),
    ];
    let count = wrong.len();
    for (url, content_type, body, status) in wrong {
        let answer = client.post_raw(url, content_type, body).await;
        let answer = answer.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{url}");
        nonces.insert(answer.header("replay-nonce").to_owned());
    }
    assert!(!nonces.contains(""));
    assert_eq!(nonces.len(), count, "each is another");
    for nonce in nonces {
        let mut jws = client.jws(&account, "").await;
        jws.protected["nonce"] = json!(nonce);
        let body = client.sign(&jws);
        client.post_json(&account, &body).await.expect(200);
    }
}

#[tokio::test]
async fn the_directory_can_be_asked_for_by_head() {
    let server = server().await;
    let client = server.client("ca").await;
    let answer = client.with_method("HEAD", &server.directory("ca")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn links_are_written_without_a_space_and_with_quotes() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let index = format!("<{}>;rel=\"index\"", server.directory("ca"));
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let authorization = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&authorization, "http-01").await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect(200);
    let url = order.url.clone();
    let settled = client.settled(&url).await;
    let certificate = settled["certificate"].as_str().unwrap();
    let challenge = challenge["url"].as_str().unwrap();
    let account = client.kid.clone().unwrap();
    for url in [&*account, &url, &authorization, challenge, certificate] {
        let answer = client.post_as_get(url).await.expect(200);
        assert!(answer.links().contains(&&*index), "{url}: {:?}", answer.links());
        if url == challenge {
            let up = format!("<{authorization}>;rel=\"up\"");
            assert!(answer.links().contains(&&*up), "{:?}", answer.links());
        }
    }
}

#[tokio::test]
async fn json_can_be_read_with_sed() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = client.order(&["a.test"]).await;
    let (url, authorization) = (order.url.clone(), order.authorization_urls().remove(0));
    let directory = client.get(&server.directory("ca")).await.text();
    let order = client.post_as_get(&url).await.text();
    let authorization = client.post_as_get(&authorization).await.text();
    // As getssl, dehydrated and others do: the first such member, up to the next quotation mark.
    for (text, member, begins) in [
        (&directory, "newNonce", "https://"),
        (&directory, "newOrder", "https://"),
        (&order, "status", "pending"),
        (&order, "finalize", "https://"),
        (&authorization, "token", ""),
    ] {
        let (_, rest) = text.split_once(&format!("\"{member}\":\"")).expect(text);
        let (value, _) = rest.split_once('"').unwrap();
        assert!(value.starts_with(begins) && !value.is_empty(), "{member}: {text}");
        assert!(!value.contains('\\'), "{member}: {text}");
        assert!(!text.contains('\n'), "one object is one line: {text}");
    }
}

#[tokio::test]
async fn the_profile_decides_on_key_usage_whatever_the_csr_asks_for() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut usages = Vec::new();
    for wants_client_auth in [false, true] {
        let mut order = client.order(&["a.test"]).await.prove("http-01").await;
        let csr = harness::csr::Csr { wants_client_auth, ..order.csr() };
        order.finalize_with(&csr.der()).await.expect(200);
        let leaf: X509 = order.certificates().await.swap_remove(0);
        let text = String::from_utf8(leaf.to_text().unwrap()).unwrap();
        let (_, usage) = text.split_once("X509v3 Extended Key Usage").unwrap();
        usages.push(usage.lines().nth(1).unwrap().trim().to_owned());
    }
    assert_eq!(usages, ["TLS Web Server Authentication"; 2]);
}
