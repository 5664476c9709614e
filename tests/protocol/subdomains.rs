//! Authorizations for a domain that stand for the names below it (RFC 9444).

use harness::acme::verify_chain;
use harness::{Client, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

fn settings() -> Settings {
    Settings { ca: "subdomain_authorizations = true".to_owned(), ..Settings::key_file() }
}

fn pre_authorization(value: &str) -> Value {
    json!({ "identifier": { "type": "dns", "value": value, "subdomainAuthAllowed": true } })
}

/// Proves the authorization at this URL by dns-01, the only way that it offers.
async fn prove(client: &mut Client, url: &str) {
    let object = client.post_as_get(url).await.expect(200).json();
    assert_eq!(object["subdomainAuthAllowed"], true);
    let challenges = object["challenges"].as_array().unwrap();
    let kinds: Vec<_> = challenges.iter().map(|challenge| challenge["type"].clone()).collect();
    assert_eq!(kinds, ["dns-01"], "a host does not speak for its domain");
    client.fulfil(object["identifier"]["value"].as_str().unwrap(), &challenges[0]);
    client.post(challenges[0]["url"].as_str().unwrap(), &json!({})).await.expect(200);
    let settled = client.settled(url).await;
    assert_eq!(
        (&settled["status"], &settled["subdomainAuthAllowed"]),
        (&json!("valid"), &json!(true))
    );
}

#[tokio::test]
async fn a_domain_that_was_pre_authorized_grants_the_names_below_it() {
    let server = server_with(settings()).await;
    let mut client = server.account("ca").await;
    assert_eq!(client.directory["meta"]["subdomainAuthAllowed"], true);
    let answer =
        client.post(&client.url("newAuthz"), &pre_authorization("b.test")).await.expect(201);
    assert_eq!(answer.json()["subdomainAuthAllowed"], true);
    let url = answer.header("location").to_owned();
    prove(&mut client, &url).await;
    let order = client.order(&["x.b.test", "y.z.b.test", "b.test"]).await;
    assert_eq!(order.object["status"], "ready");
    assert_eq!(order.authorization_urls(), [url], "one for all of them");
    assert_eq!(order.object["identifiers"].as_array().unwrap().len(), 3);
    let chain = order.finalize().await;
    for name in ["x.b.test", "y.z.b.test", "b.test"] {
        verify_chain(&chain, &server.roots(), name);
    }
    for names in [["other.test"], ["xb.test"], ["test"], ["*.b.test"], ["*.x.b.test"]] {
        let order = client.new_order(&names).await.expect(201).json();
        assert_eq!(order["status"], "pending", "{names:?}");
    }
}

#[tokio::test]
async fn an_order_may_name_the_domain_that_the_client_would_prove() {
    let server = server_with(settings()).await;
    let mut client = server.account("ca").await;
    let payload = json!({ "identifiers": [
        { "type": "dns", "value": "x.b.test", "ancestorDomain": "b.test" },
        { "type": "dns", "value": "y.b.test", "ancestorDomain": "B.test." },
    ] });
    let answer = client.post(&client.url("newOrder"), &payload).await.expect(201);
    let (url, object) = (answer.header("location").to_owned(), answer.json());
    let names = vec!["x.b.test".to_owned(), "y.b.test".to_owned()];
    let mut order = harness::Order { client: &mut client, url, object, names };
    let urls = order.authorization_urls();
    assert_eq!(urls.len(), 1);
    let authorization = order.client.post_as_get(&urls[0]).await.expect(200).json();
    assert_eq!(authorization["identifier"]["value"], "b.test");
    prove(order.client, &urls[0]).await;
    order = order.refresh().await;
    assert_eq!(order.object["status"], "ready");
    let chain = order.finalize().await;
    verify_chain(&chain, &server.roots(), "y.b.test");
}

#[tokio::test]
async fn an_ancestor_domain_that_is_none_is_malformed() {
    let server = server_with(settings()).await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    for (kind, value, ancestor) in [
        ("dns", "x.b.test", "c.test"),
        ("dns", "x.b.test", "y.x.b.test"),
        ("dns", "xb.test", "b.test"),
        ("dns", "x.b.test", "*.b.test"),
        ("dns", "x.b.test", ""),
        ("ip", "127.0.0.1", "b.test"),
    ] {
        let identifier = json!({ "type": kind, "value": value, "ancestorDomain": ancestor });
        let payload = json!({ "identifiers": [identifier] });
        let refused = client.post(&url, &payload).await.expect_problem(400, "malformed").json();
        assert_eq!(refused["subproblems"][0]["identifier"]["value"], value);
    }
}

/// An order for this name by way of that domain.
fn by_ancestor(name: &str, ancestor: &str) -> Value {
    json!({ "identifiers": [{ "type": "dns", "value": name, "ancestorDomain": ancestor }] })
}

#[tokio::test]
async fn an_ancestor_domain_is_refused_where_it_could_not_be_had_itself() {
    let policy = "allow = [\".b.test\"]\ndeny = [\"y.b.test\"]".to_owned();
    let server = server_with(Settings { policy, ..settings() }).await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    for ancestor in ["test", "b.test", "y.b.test"] {
        let refused = client.post(&client.url("newAuthz"), &pre_authorization(ancestor)).await;
        refused.expect_problem(403, "rejectedIdentifier");
        let name = if ancestor == "y.b.test" { "x.y.b.test" } else { "x.z.b.test" };
        let refused = client.post(&url, &by_ancestor(name, ancestor)).await;
        let refused = refused.expect_problem(400, "rejectedIdentifier").json();
        let refused = &refused["subproblems"][0];
        assert_eq!(refused["identifier"]["value"], name);
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{ancestor}: ")), "{detail}");
    }
    client.post(&url, &by_ancestor("x.z.b.test", "z.b.test")).await.expect(201);
}

#[tokio::test]
async fn a_domain_stands_for_itself_alone_unless_the_ca_says_otherwise() {
    let server = server().await;
    let mut client = server.account("ca").await;
    assert!(client.directory["meta"].get("subdomainAuthAllowed").is_none());
    let answer =
        client.post(&client.url("newAuthz"), &pre_authorization("b.test")).await.expect(201);
    assert!(answer.json().get("subdomainAuthAllowed").is_none());
    let identifier = json!({ "type": "dns", "value": "x.b.test", "ancestorDomain": "b.test" });
    let payload = json!({ "identifiers": [identifier] });
    let order = client.post(&client.url("newOrder"), &payload).await.expect(201).json();
    let url = order["authorizations"][0].as_str().unwrap();
    let authorization = client.post_as_get(url).await.expect(200).json();
    assert_eq!(authorization["identifier"]["value"], "x.b.test");
}
