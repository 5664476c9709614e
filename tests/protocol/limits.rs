//! Limits against abuse (RFC 8555 §6.6), each reached.

use std::fs;
use std::time::Duration;

use harness::{Answer, Client, Database, Server, Settings};
use serde_json::json;

use crate::{server, server_with};

/// A server that counts this machine's address, too.
fn limited(lines: &str) -> Settings {
    let sections = format!("[limits]\nexempt_networks = []\n{lines}\n");
    Settings { sections, ..Settings::key_file() }
}

/// Panics unless the answer names the limit, and says when to come again.
#[track_caller]
fn expect_limit(answer: Answer, key: &str) -> u64 {
    let answer = answer.expect_problem(429, "rateLimited");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("({key} in [limits]")), "{detail}");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!(seconds >= 1 && detail.ends_with(&format!("try again in {seconds} s")), "{detail}");
    seconds
}

#[tokio::test]
async fn an_address_that_asks_too_fast_is_limited_and_still_gets_its_nonce() {
    let settings = limited("requests_per_second_per_address = 1\nrequests_burst_per_address = 30");
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    let (url, directory) = (client.url("newOrder"), server.directory("ca"));
    let mut answered = 0;
    let refused = loop {
        let answer = client.get(&directory).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered < 30 + 60, "nothing is limited");
    };
    let seconds = expect_limit(refused, "requests_per_second_per_address");
    assert_eq!(seconds, 1, "the next token");
    // A POST is told so with a nonce for the next try, before its JWS is read.
    let mut posts = 0;
    let refused = loop {
        let answer = client.post_raw(&url, "application/jose+json", b"{}".to_vec()).await;
        if answer.status == 429 {
            break answer;
        }
        posts += 1;
        assert!(posts < 30, "no POST is limited");
    };
    assert!(!refused.header("replay-nonce").is_empty());
    // What is read without ACME counts, too.
    let mut limits = 0;
    for _ in 0..5 {
        let answer = client.get("/ca/ca.pem").await;
        limits += u32::from(answer.status == 429);
        assert!(answer.status == 200 || !answer.header("retry-after").is_empty());
    }
    assert!(limits > 0);
    // Whoever waits is served.
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.get(&directory).await.expect(200);
    let metrics = server.admin_get("/metrics").unwrap().1;
    let line = "kipuka_rate_limited_total{limit=\"requests_per_second_per_address\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn an_account_that_asks_too_fast_may_send_the_very_request_again() {
    let settings = limited("requests_per_second_per_account = 1\nrequests_burst_per_account = 5");
    let server = server_with(settings).await;
    let (mut client, mut other) = (server.account("ca").await, server.account("ca").await);
    let url = client.kid.clone().unwrap();
    let mut tries = 0;
    let refused = loop {
        let jws = client.jws(&url, "").await;
        let body = client.sign(&jws);
        let answer = client.post_json(&url, &body).await;
        if answer.status != 200 {
            assert!(!answer.header("replay-nonce").is_empty());
            expect_limit(answer, "requests_per_second_per_account");
            break body;
        }
        tries += 1;
        assert!(tries < 60, "nothing is limited");
    };
    // Another account of the same address goes on.
    let theirs = other.kid.clone().unwrap();
    other.post_as_get(&theirs).await.expect(200);
    // Its nonce was not spent: the same JWS is good once there is room.
    let again = async {
        loop {
            let answer = client.post_json(&url, &refused).await;
            if answer.status != 429 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap().expect(200);
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.post_json(&url, &refused).await.expect_problem(400, "badNonce");
}

#[tokio::test]
async fn somebody_who_signs_with_another_key_uses_up_nothing_of_an_account() {
    let settings = limited("requests_per_second_per_account = 1\nrequests_burst_per_account = 5");
    let server = server_with(settings).await;
    let (mut client, mut thief) = (server.account("ca").await, server.client("ca").await);
    let url = client.kid.clone().unwrap();
    thief.kid = Some(url.clone());
    for _ in 0..20 {
        thief.post_as_get(&url).await.expect_problem(403, "unauthorized");
    }
    // Nor do nonces that are no good lock anybody out.
    for _ in 0..20 {
        let mut jws = client.jws(&url, "").await;
        jws.protected["nonce"] = json!("AAAA");
        let body = client.sign(&jws);
        client.post_json(&url, &body).await.expect_problem(400, "badNonce");
    }
    client.post_as_get(&url).await.expect(200);
}

#[tokio::test]
async fn an_address_makes_so_many_accounts_in_an_hour() {
    let server = server_with(limited("accounts_per_address_per_hour = 2")).await;
    let mut first = server.account("ca").await;
    server.account("ca").await;
    let mut third = server.client("ca").await;
    let answer = third.new_account(&json!({ "termsOfServiceAgreed": true })).await;
    let seconds = expect_limit(answer, "accounts_per_address_per_hour");
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    // Who has one finds it, and whoever has none is told so.
    first.new_account(&json!({ "onlyReturnExisting": true })).await.expect(200);
    let none = third.new_account(&json!({ "onlyReturnExisting": true })).await;
    none.expect_problem(400, "accountDoesNotExist");
}

#[tokio::test]
async fn validations_of_a_name_that_fail_again_and_again_are_limited() {
    let server = server_with(limited("failed_validations_per_hour = 2")).await;
    let mut client = server.account("ca").await;
    for _ in 0..2 {
        let mut order = client.order(&["a.test"]).await;
        let authorization = order.authorization_urls().remove(0);
        let (_, challenge) = order.challenge(&authorization, "http-01").await;
        // Nothing is there for it.
        client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
        assert_eq!(client.settled(&authorization).await["status"], "invalid");
    }
    let answer = client.new_order(&["b.test", "a.test"]).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("of a.test "), "{}", answer.text());
    let seconds = expect_limit(answer, "failed_validations_per_hour");
    assert!((3500..=3600).contains(&seconds), "{seconds}");
    client.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    server.account("ca").await.new_order(&["a.test"]).await.expect(201);
}

#[tokio::test]
async fn orders_are_counted_over_all_instances_of_one_database() {
    let database = Database::postgres();
    let lines = "orders_per_account_per_hour = 3\npending_authorizations_per_account = 2";
    let settings = || Settings { database_url: Some(database.url()), ..limited(lines) };
    let first = server_with(settings()).await;
    let mut second = Server::prepare(env!("CARGO_BIN_EXE_kipuka"), settings()).await;
    second.take_cas_of(&first);
    second.spawn();
    let mut here = first.account("ca").await;
    let mut there = second.client_with("ca", here.key.clone()).await;
    there.kid = Some(
        there
            .new_account(&json!({ "onlyReturnExisting": true }))
            .await
            .expect(200)
            .header("location")
            .to_owned(),
    );
    here.new_order(&["a.test"]).await.expect(201);
    there.new_order(&["b.test"]).await.expect(201);
    for client in [&mut here, &mut there] {
        let answer = client.new_order(&["c.test"]).await;
        expect_limit(answer, "pending_authorizations_per_account");
    }
    // Each on the instance that did not make it.
    for (client, name) in [(&mut there, "a.test"), (&mut here, "b.test")] {
        let listed = client.kid.clone().unwrap() + "/orders";
        let listed = client.post_as_get(&listed).await.expect(200).json();
        for url in listed["orders"].as_array().unwrap() {
            let order = client.post_as_get(url.as_str().unwrap()).await.expect(200).json();
            if order["identifiers"][0]["value"] == name {
                let url = order["authorizations"][0].as_str().unwrap();
                client.post(url, &json!({ "status": "deactivated" })).await.expect(200);
            }
        }
    }
    there.new_order(&["c.test"]).await.expect(201);
    for client in [&mut here, &mut there] {
        expect_limit(client.new_order(&["d.test"]).await, "orders_per_account_per_hour");
    }
}

#[tokio::test]
async fn a_reload_brings_new_limits() {
    let server = server_with(limited("pending_orders_per_account = 1")).await;
    let mut client = server.account("ca").await;
    client.new_order(&["a.test"]).await.expect(201);
    expect_limit(client.new_order(&["b.test"]).await, "pending_orders_per_account");
    let text = fs::read_to_string(server.config()).unwrap();
    let text = text.replace("pending_orders_per_account = 1", "pending_orders_per_account = 2");
    fs::write(server.config(), &text).unwrap();
    server.reload().await;
    client.new_order(&["b.test"]).await.expect(201);
    let slow = "requests_per_second_per_account = 1\nrequests_burst_per_account = 1\n";
    fs::write(server.config(), text + slow).unwrap();
    server.reload().await;
    let url = client.kid.clone().unwrap();
    client.post_as_get(&url).await.expect(200);
    expect_limit(client.post_as_get(&url).await, "requests_per_second_per_account");
}

/// The directory, asked for with this header.
async fn directory_by(client: &mut Client, name: &str, value: &str) -> Answer {
    client.send_with("GET", "/acme/ca/directory", &[(name, value)], Vec::new()).await
}

#[tokio::test]
async fn what_a_client_says_of_its_address_is_believed_of_a_trusted_proxy_alone() {
    let lines = "requests_per_second_per_address = 1\nrequests_burst_per_address = 10\n\
                 proxy_header = \"x-forwarded-for\"";
    let server = server_with(limited(lines)).await;
    let mut client = server.client("ca").await;
    let mut limits = 0;
    for number in 0..30 {
        let claimed = format!("192.0.2.{number}");
        let answer = directory_by(&mut client, "x-forwarded-for", &claimed).await;
        limits += u32::from(answer.status == 429);
    }
    assert!(limits > 0, "a header made somebody new of the client each time");
    let trusting = format!("{lines}\ntrusted_proxies = [\"127.0.0.1\"]");
    let server = server_with(limited(&trusting)).await;
    let mut client = server.client("ca").await;
    for number in 0..30 {
        let claimed = format!("198.51.100.1, 192.0.2.{number}");
        directory_by(&mut client, "x-forwarded-for", &claimed).await.expect(200);
    }
    let mut limits = 0;
    for number in 0..30 {
        let claimed = format!("198.51.100.{number}, 192.0.2.100");
        let answer = directory_by(&mut client, "x-forwarded-for", &claimed).await;
        limits += u32::from(answer.status == 429);
    }
    assert!(limits > 0, "who claims others before itself is one client");
}

#[tokio::test]
async fn a_host_that_is_not_the_servers_own_is_misdirected() {
    let server = server().await;
    let client = server.client("ca").await;
    let port = server.address.port();
    let ask = async |host: &str| {
        let request =
            format!("GET /acme/ca/directory HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.send_bytes(request.as_bytes(), Duration::from_secs(30)).await.unwrap()
    };
    // What its certificate names, and where it listens.
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        let base = format!("https://{host}:{port}/acme/ca");
        let directory = ask(&format!("{host}:{port}")).await.expect(200).json();
        assert_eq!(directory["newOrder"], format!("{base}/new-order"));
    }
    for host in ["x.test", "localhost.x.test", "192.0.2.1", "[2001:db8::1]:443", "a.localhost"] {
        let answer = ask(host).await.expect_problem(421, "malformed");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(&format!("external_url in [server] to \"https://{host}\"")),
            "{detail}"
        );
    }
    // Where the operator says what it is called, no Host says otherwise.
    let settings = Settings {
        server: "external_url = \"https://ca.test\"".to_owned(),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let client = server.client("ca").await;
    assert_eq!(client.directory["newOrder"], "https://ca.test/acme/ca/new-order");
}
