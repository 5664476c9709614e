//! CAA (RFC 8659, RFC 8657), the methods of drafts, and DNSSEC, over the wire.

use harness::acme::verify_chain;
use harness::zone::ResponseCode;
use harness::{Client, Server, Settings};
use serde_json::{Value, json};

use crate::server_with;

const IDENTITIES: &str = "caa_identities = [\"ca.test\", \"other-name.test\"]\n";
const EVERYTHING: &str = "challenges = [\"http-01\", \"dns-01\", \"tls-alpn-01\", \
                          \"dns-account-01\", \"dns-persist-01\"]\n";

async fn with_ca(ca: &str) -> Server {
    server_with(Settings { ca: format!("{IDENTITIES}{ca}"), ..Settings::key_file() }).await
}

/// Proves a name, or tries to; the authorization and the order, as they end.
async fn tried(client: &mut Client, name: &str, kind: &str) -> (Value, Value) {
    let mut order = client.order(&[name]).await;
    let order_url = order.url.clone();
    let url = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&url, kind).await;
    client.fulfil(&name, &challenge);
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let settled = client.settled(&url).await;
    (settled, client.post_as_get(&order_url).await.expect(200).json())
}

#[tokio::test]
async fn caa_records_that_do_not_permit_it_are_a_caa_problem_with_subproblems() {
    let server = with_ca("caa = \"enforce\"").await;
    let mut client = server.account("ca").await;
    server.zone.add_caa("a.test", false, "issue", "somebody-else.test");
    let (authorization, order) = tried(&mut client, "www.a.test", "http-01").await;
    let error = &authorization["challenges"][0]["error"];
    assert_eq!(error["type"], "urn:ietf:params:acme:error:caa");
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("CAA a.test") && detail.contains("somebody-else.test"), "{detail}");
    assert_eq!(order["status"], "invalid");
    assert_eq!(order["error"]["type"], "urn:ietf:params:acme:error:caa");
    let subproblem = &order["error"]["subproblems"][0];
    assert_eq!(subproblem["type"], "urn:ietf:params:acme:error:caa");
    assert_eq!(subproblem["identifier"]["value"], "www.a.test");
}

#[tokio::test]
async fn caa_records_that_name_this_ca_this_account_and_this_method_permit_it() {
    let server = with_ca("caa = \"enforce\"").await;
    let mut client = server.account("ca").await;
    // RFC 8555 §7.1.1: the very names that records are compared with.
    let identities = &client.directory["meta"]["caaIdentities"];
    assert_eq!(*identities, json!(["ca.test", "other-name.test"]));
    let account = client.kid.clone().unwrap();
    let value = format!("ca.test; accounturi={account}; validationmethods=http-01");
    server.zone.add_caa("a.test", true, "issue", &value);
    let order = client.order(&["a.test"]).await.prove("http-01").await;
    let proved = order.authorization_urls().remove(0);
    let chain = order.finalize().await;
    verify_chain(&chain, &server.roots(), "a.test");
    // Else it would serve the next order.
    client.post(&proved, &json!({ "status": "deactivated" })).await.expect(200);
    let (refused, _) = tried(&mut client, "a.test", "dns-01").await;
    assert_eq!(refused["challenges"][0]["error"]["type"], "urn:ietf:params:acme:error:caa");
    let mut stranger = server.account("ca").await;
    let (refused, _) = tried(&mut stranger, "a.test", "http-01").await;
    assert_eq!(refused["challenges"][0]["error"]["type"], "urn:ietf:params:acme:error:caa");
}

#[tokio::test]
async fn without_an_answer_about_caa_nothing_is_valid() {
    let settings = Settings {
        ca: format!("{IDENTITIES}caa = \"enforce\""),
        validation: "attempts = 1".to_owned(),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    server.zone.set_response_code("test", ResponseCode::ServFail);
    let (authorization, order) = tried(&mut client, "a.test", "http-01").await;
    assert_eq!(
        (&authorization["status"], &order["status"]),
        (&json!("invalid"), &json!("invalid"))
    );
    let error = &authorization["challenges"][0]["error"];
    assert_eq!(error["type"], "urn:ietf:params:acme:error:dns");
    assert!(error["detail"].as_str().unwrap().contains("CAA test: "), "{error}");
}

#[tokio::test]
async fn a_ca_that_reports_caa_issues_and_says_so_in_its_log() {
    let server = with_ca("caa = \"report\"").await;
    let mut client = server.account("ca").await;
    server.zone.add_caa("a.test", false, "issue", ";");
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    assert!(server.log().contains("CAA does not permit"), "{}", server.log());
}

#[tokio::test]
async fn the_methods_of_drafts_are_offered_where_they_are_asked_for_and_prove_wildcards_too() {
    let server = with_ca(EVERYTHING).await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (_, account) = order.challenge(&url, "dns-account-01").await;
    assert_eq!(account["token"].as_str().unwrap().len(), 43);
    let (_, persist) = order.challenge(&url, "dns-persist-01").await;
    assert_eq!(persist["issuer-domain-names"], json!(["ca.test", "other-name.test"]));
    assert!(persist.get("token").is_none(), "{persist}");
    let object = client.post_as_get(&url).await.expect(200).json();
    assert_eq!(object["challenges"].as_array().unwrap().len(), 5);
    for (number, kind) in ["dns-account-01", "dns-persist-01"].into_iter().enumerate() {
        let names = [format!("n{number}.test"), format!("*.n{number}.test")];
        let order = client.order(&[&names[0], &names[1]]).await;
        let chain = order.prove(kind).await.finalize().await;
        verify_chain(&chain, &server.roots(), &format!("x.n{number}.test"));
    }
}

#[tokio::test]
async fn a_persistent_record_of_another_account_proves_nothing() {
    let server = with_ca(EVERYTHING).await;
    let mut owner = server.account("ca").await;
    owner.order(&["a.test"]).await.prove("dns-persist-01").await;
    let mut thief = server.account("ca").await;
    let mut order = thief.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&url, "dns-persist-01").await;
    thief.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let settled = thief.settled(&url).await;
    let error = &settled["challenges"][0]["error"];
    assert_eq!(error["type"], "urn:ietf:params:acme:error:unauthorized", "{settled}");
}

#[tokio::test]
async fn a_name_that_no_offered_challenge_can_prove_is_rejected() {
    let server = with_ca("challenges = [\"http-01\"]").await;
    let mut client = server.account("ca").await;
    let refused = client.new_order(&["*.a.test"]).await.expect_problem(400, "rejectedIdentifier");
    assert_eq!(refused.json()["subproblems"][0]["identifier"]["value"], "*.a.test");
    let order = client.new_order(&["a.test"]).await.expect(201).json();
    let url = order["authorizations"][0].as_str().unwrap().to_owned();
    let object = client.post_as_get(&url).await.expect(200).json();
    assert_eq!(object["challenges"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn with_dnssec_required_an_answer_without_the_ad_bit_proves_nothing() {
    let settings =
        Settings { validation: "require_dnssec = true".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    let (refused, _) = tried(&mut client, "a.test", "dns-01").await;
    let error = &refused["challenges"][0]["error"];
    assert_eq!(error["type"], "urn:ietf:params:acme:error:dns");
    assert!(error["detail"].as_str().unwrap().contains("AD bit"), "{error}");
    server.zone.vouch();
    let (proved, _) = tried(&mut client, "b.test", "dns-01").await;
    assert_eq!(proved["status"], "valid", "{proved}");
}

#[tokio::test]
async fn an_address_is_proved_by_http_01_and_tls_alpn_01_and_certified() {
    // A CA that enforces CAA: there is no tree to climb from an address.
    let server = with_ca("caa = \"enforce\"").await;
    let mut client = server.account("ca").await;
    for kind in ["http-01", "tls-alpn-01"] {
        let chain = client.order(&["127.0.0.1"]).await.prove(kind).await.finalize().await;
        let names = chain[0].subject_alt_names().unwrap();
        let addresses: Vec<_> = names.iter().filter_map(|name| name.ipaddress()).collect();
        assert_eq!(addresses, [[127, 0, 0, 1]]);
        assert_eq!(names.len(), 1);
    }
    assert!(server.zone.asked().is_empty(), "DNS has no part in it");
}

#[tokio::test]
async fn caa_records_of_a_name_count_though_the_domain_above_it_was_proved() {
    let server = with_ca("caa = \"enforce\"\nsubdomain_authorizations = true").await;
    let mut client = server.account("ca").await;
    let payload = json!({ "identifier": { "type": "dns", "value": "b.test",
                                          "subdomainAuthAllowed": true } });
    let answer = client.post(&client.url("newAuthz"), &payload).await.expect(201);
    let url = answer.header("location").to_owned();
    let challenge = answer.json()["challenges"][0].clone();
    client.fulfil("b.test", &challenge);
    client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
    assert_eq!(client.settled(&url).await["status"], "valid");
    server.zone.add_caa("x.b.test", false, "issue", ";");
    let mut order = client.order(&["x.b.test", "y.b.test"]).await;
    assert_eq!(order.object["status"], "ready");
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect(200);
    let at = order.url.clone();
    let settled = client.settled(&at).await;
    assert_eq!(settled["status"], "invalid");
    assert_eq!(settled["error"]["type"], "urn:ietf:params:acme:error:caa");
    let subproblems = settled["error"]["subproblems"].as_array().unwrap();
    assert_eq!(subproblems.len(), 1);
    assert_eq!(subproblems[0]["identifier"]["value"], "x.b.test");
    client.order(&["y.b.test"]).await.finalize().await;
}
