//! SIGHUP: all or nothing, while serving.

use std::fs;
use std::time::Duration;

use harness::{Ca, Issuer};
use harness::{Server, Settings, csr};
use serde_json::json;

use crate::BINARY;

fn wait_for(server: &Server, message: &str) {
    for _ in 0..200 {
        if server.log().contains(message) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{message} never came: {}", server.log());
}

#[tokio::test]
async fn a_second_ca_is_added_by_a_reload_and_a_mistake_changes_nothing() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "one", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("one").await;
    let before = fs::read_to_string(server.config()).unwrap();

    fs::write(server.config(), format!("{before}\n[[ca]]\nid = \"two\"\n")).unwrap();
    server.signal("HUP");
    wait_for(&server, "not reloaded");
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;

    let root = Issuer::root("second root", csr::p256());
    let (certificate, key) = root.write(server.folder.path(), "two", &[]);
    let section =
        format!("[[ca]]\nid = \"two\"\nname = \"two\"\ncert = {certificate:?}\nkey = {key:?}\n");
    fs::write(server.config(), format!("{before}\n{section}")).unwrap();
    server.signal("HUP");
    wait_for(&server, "\"reloaded\"");
    let mut second = server.account("two").await;
    let chain = second.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    harness::acme::verify_chain(&chain, &[root.certificate], "b.test");
    client.order(&["c.test"]).await.prove("http-01").await.finalize().await;
}

#[tokio::test]
async fn a_challenge_that_a_reload_takes_away_is_neither_offered_nor_begun_nor_counted() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let mut client = server.account("ca").await;
    let mut pending = client.order(&["a.test"]).await;
    let url = pending.authorization_urls().remove(0);
    let (name, http) = pending.challenge(&url, "http-01").await;
    client.order(&["b.test"]).await.prove("http-01").await;
    let again = client.new_order(&["b.test"]).await.expect(201).json();
    assert_eq!(again["status"], "ready", "proved by http-01, which counts");

    let before = fs::read_to_string(server.config()).unwrap();
    let fewer = before.replace("[[ca]]", "[[ca]]\nchallenges = [\"dns-01\"]");
    fs::write(server.config(), fewer).unwrap();
    server.reload().await;

    let begun = client.post(http["url"].as_str().unwrap(), &json!({})).await;
    let refused = begun.expect_problem(400, "malformed");
    assert!(refused.text().contains("no longer offers http-01"), "{}", refused.text());
    let again = client.new_order(&["b.test"]).await.expect(201).json();
    assert_eq!(again["status"], "pending", "what the CA takes for a proof has changed");
    let authorization = again["authorizations"][0].as_str().unwrap().to_owned();
    let offered = client.post_as_get(&authorization).await.expect(200).json();
    let kinds: Vec<_> =
        offered["challenges"].as_array().unwrap().iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, ["dns-01"]);
    // The order from before the reload is proved by what is left.
    let seen = client.post_as_get(&url).await.expect(200).json();
    let seen = seen["challenges"].as_array().unwrap();
    let dns = seen.iter().find(|one| one["type"] == "dns-01").unwrap().clone();
    client.fulfil(&name, &dns);
    client.post(dns["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(client.settled(&url).await["status"], "valid");
}
