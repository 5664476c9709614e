//! What a CA issues by its policy, and how it refuses the rest (RFC 8555 §6.7.1, §7.4).

use std::fs;

use harness::csr::{self, Csr};
use harness::issuer::Subtree;
use harness::{Issuer, Server, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

/// The identifiers and the words of each subproblem.
fn subproblems(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = problem["subproblems"].as_array().unwrap();
    list.iter().map(|sub| (text(&sub["identifier"]["value"]), text(&sub["detail"]))).collect()
}

async fn with(policy: &str, ca: &str) -> Server {
    let settings =
        Settings { policy: policy.to_owned(), ca: ca.to_owned(), ..Settings::key_file() };
    server_with(settings).await
}

#[tokio::test]
async fn internal_top_level_domains_and_single_labels_pass_by_default_and_not_where_policy_says_so()
{
    let server = server().await;
    let mut client = server.account("ca").await;
    let names = ["a.lan", "b.internal", "c.corp", "printer"];
    let chain = client.order(&names).await.prove("http-01").await.finalize().await;
    for name in names {
        harness::acme::verify_chain(&chain, &server.roots(), name);
    }
    // No search domain is tried: the name is asked as it is, from the root.
    assert!(server.zone.asked().iter().any(|(name, _)| name.trim_end_matches('.') == "printer"));
    let strange = |name: &str| !names.contains(&name.trim_end_matches('.'));
    assert!(
        !server.zone.asked().iter().any(|(name, _)| strange(name)),
        "{:?}",
        server.zone.asked()
    );

    let server = with("deny = [\".lan\", \".corp\"]\nsingle_labels = false", "").await;
    let mut client = server.account("ca").await;
    let refused = client.new_order(&names).await.expect_problem(400, "rejectedIdentifier").json();
    let refused = subproblems(&refused);
    let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.lan", "c.corp", "printer"]);
}

#[tokio::test]
async fn a_refusal_names_its_rule_for_each_identifier() {
    let general = "deny = [\".corp\"]\nallow = [\"*\"]\nallow_networks = [\"10.0.0.0/8\"]";
    let server =
        with(general, "policy.wildcards = false\npolicy.deny_networks = [\"10.1.0.0/16\"]").await;
    let mut client = server.account("ca").await;
    let order = ["a.test", "A.corp", "*.b.test", "10.0.0.1", "10.1.0.1", "192.0.2.1", "x_y.test"];
    let problem = client.new_order(&order).await.expect_problem(400, "rejectedIdentifier").json();
    let refused = subproblems(&problem);
    for (refused, (name, rule)) in refused.iter().zip([
        ("A.corp", "deny = \".corp\" in [policy]"),
        ("*.b.test", "wildcards = false in [ca.policy]"),
        ("10.1.0.1", "deny_networks = \"10.1.0.0/16\" in [ca.policy]"),
        ("192.0.2.1", "nothing matches in allow_networks in [policy]"),
        ("x_y.test", "underscores = false by default"),
    ]) {
        assert_eq!(refused.0, name);
        assert!(refused.1.contains(rule), "{name}: {}", refused.1);
    }
    assert_eq!(refused.len(), 5);
    let mixed = json!({ "identifiers": [
        { "type": "dns", "value": "a.corp" },
        { "type": "email", "value": "a@b.test" },
    ] });
    let url = client.url("newOrder");
    let problem = client.post(&url, &mixed).await.expect_problem(400, "compound").json();
    let types: Vec<_> =
        problem["subproblems"].as_array().unwrap().iter().map(|sub| &sub["type"]).collect();
    assert_eq!(
        types,
        [
            "urn:ietf:params:acme:error:rejectedIdentifier",
            "urn:ietf:params:acme:error:unsupportedIdentifier"
        ]
    );
    client.new_order(&["a.test", "10.0.0.1"]).await.expect(201);
}

#[tokio::test]
async fn an_order_of_more_names_than_allowed_is_rejected_with_the_rule() {
    let server = with("", "policy.max_identifiers = 2").await;
    let mut client = server.account("ca").await;
    client.new_order(&["a.test", "b.test"]).await.expect(201);
    let refused = client.new_order(&["a.test", "b.test", "c.test"]).await;
    let refused = refused.expect_problem(400, "rejectedIdentifier");
    assert!(refused.text().contains("max_identifiers = 2 in [ca.policy]"), "{}", refused.text());
}

#[tokio::test]
async fn a_key_of_a_type_that_is_not_certified_makes_a_bad_csr_and_leaves_the_order_ready() {
    let server = with("key_types = [\"ec-p256\"]", "").await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let wrong = Csr { key: csr::rsa(2048), ..Csr::new(&["a.test"]) };
    let refused = order.finalize_with(&wrong.der()).await.expect_problem(400, "badCSR");
    for part in ["RSA 2048", "key_types = [", "in [policy]"] {
        assert!(refused.json()["detail"].as_str().unwrap().contains(part), "{}", refused.text());
    }
    order = order.refresh().await;
    assert_eq!(order.object["status"], "ready");
    order.finalize().await;
}

#[tokio::test]
async fn a_name_with_an_underscore_is_certified_only_where_policy_says_so() {
    let server = with("underscores = true", "").await;
    let mut client = server.account("ca").await;
    let names = ["_sip._tcp.a.test", "x_y.test"];
    let chain = client.order(&names).await.prove("http-01").await.finalize().await;
    let found: Vec<_> = chain[0].subject_alt_names().unwrap().into_iter().collect();
    assert_eq!(found.iter().filter_map(|name| name.dnsname()).collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn a_policy_that_became_stricter_holds_for_orders_that_are_ready() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test", "b.test"]).await.prove("http-01").await;
    let text = fs::read_to_string(server.config()).unwrap();
    fs::write(server.config(), text.replace("[policy]\n", "[policy]\ndeny = [\"b.test\"]\n"))
        .unwrap();
    server.reload().await;
    let csr = order.csr().der();
    let refused = order.finalize_with(&csr).await.expect_problem(400, "rejectedIdentifier").json();
    let refused = subproblems(&refused);
    assert_eq!((refused.len(), refused[0].0.as_str()), (1, "b.test"));
}

#[tokio::test]
async fn an_order_of_a_hundred_names_passes_lists_of_a_thousand_patterns() {
    let list = |end: &str| {
        let patterns: Vec<_> = (0..1000).map(|index| format!("\".n{index}.{end}\"")).collect();
        patterns.join(", ")
    };
    let general = format!("allow = [{}]\ndeny = [{}]", list("test"), list("corp"));
    let server = with(&general, "").await;
    let mut client = server.account("ca").await;
    let names: Vec<_> = (900..1000).map(|index| format!("a.n{index}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let order = client.new_order(&names).await.expect(201).json();
    assert_eq!(order["authorizations"].as_array().unwrap().len(), 100);
}

/// A server whose `[[ca]]` `narrow` has a certificate with name constraints.
async fn with_constraints() -> (Server, Issuer) {
    let server = server_with(Settings::key_file()).await;
    let root = Issuer::root("root of the narrow", csr::p256());
    let narrow = root.constrained(
        "narrow",
        csr::p256(),
        &[Subtree::Dns("a.test"), Subtree::Network(&[10, 0, 0, 0, 255, 0, 0, 0])],
        &[Subtree::Dns("secret.a.test")],
    );
    let (certificate, key) = narrow.write(server.folder.path(), "narrow", &[&root]);
    let before = fs::read_to_string(server.config()).unwrap();
    let section = format!(
        "[[ca]]\nid = \"narrow\"\nname = \"narrow\"\ncert = {certificate:?}\nkey = {key:?}\n"
    );
    fs::write(server.config(), format!("{before}\n{section}")).unwrap();
    server.reload().await;
    (server, root)
}

#[tokio::test]
async fn what_the_certificate_of_the_ca_leaves_out_is_rejected_before_anything_is_signed() {
    let (server, root) = with_constraints().await;
    let mut client = server.account("narrow").await;
    let chain = client.order(&["a.test", "x.a.test"]).await.prove("http-01").await.finalize().await;
    for name in ["a.test", "x.a.test"] {
        harness::acme::verify_chain(&chain, std::slice::from_ref(&root.certificate), name);
    }
    for name in ["b.test", "xa.test", "secret.a.test", "x.secret.a.test", "*.a.test", "192.0.2.1"] {
        let refused = client.new_order(&[name]).await.expect_problem(400, "rejectedIdentifier");
        let detail = refused.json()["subproblems"][0]["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("nameConstraints"), "{name}: {detail}");
    }
    client.new_order(&["10.1.2.3"]).await.expect(201);
    let explained = server.run(&["policy", "explain", "--ca", "narrow", "x.a.test", "b.test"]);
    let said = String::from_utf8(explained.stdout).unwrap();
    assert_eq!(explained.status.code(), Some(1), "{said}");
    let (yes, no) = said.split_once('\n').unwrap();
    assert!(yes.starts_with("x.a.test: yes: "), "{said}");
    let rule = "nameConstraints = permitted \"a.test\" in the CA's certificate";
    assert!(no.starts_with("b.test: no: ") && no.contains(rule), "{said}");
}
