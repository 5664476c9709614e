//! Orders (RFC 8555 §7.1.3, §7.4).

use serde_json::{Value, json};

use crate::server;

#[tokio::test]
async fn a_new_order_is_pending_with_an_authorization_for_each_name() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let answer = client.new_order(&["B.test", "a.TEST.", "*.a.test", "b.test"]).await.expect(201);
    let order = answer.json();
    assert_eq!(order["status"], "pending");
    assert!(order["expires"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert!(order["finalize"].as_str().is_some_and(|url| url.ends_with("/finalize")));
    let mut names: Vec<_> = order["identifiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|identifier| identifier["value"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["*.a.test", "a.test", "b.test"], "folded, without final dot, each once");
    assert_eq!(order["authorizations"].as_array().unwrap().len(), 3);
    let url = answer.header("location");
    assert_eq!(client.post_as_get(url).await.expect(200).json()["status"], "pending");
}

#[tokio::test]
async fn names_that_cannot_be_had_are_refused_one_by_one() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    let only =
        |kind: &str, value: &str| json!({ "identifiers": [{ "type": kind, "value": value }] });
    for (kind, value, problem) in [
        ("dns", "a_b.test", "rejectedIdentifier"),
        ("dns", "bücher.test", "rejectedIdentifier"),
        ("dns", "127.0.0.1", "rejectedIdentifier"),
        ("dns", "", "rejectedIdentifier"),
        ("email", "a@b.test", "unsupportedIdentifier"),
    ] {
        client.post(&url, &only(kind, value)).await.expect_problem(400, problem);
    }
    let mixed = json!({ "identifiers": [
        { "type": "dns", "value": "good.test" },
        { "type": "dns", "value": "a_b.test" },
        { "type": "email", "value": "a@b.test" },
    ] });
    let refused = client.post(&url, &mixed).await.expect_problem(400, "compound").json();
    let sub: Vec<_> = refused["subproblems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sub| sub["identifier"]["value"].as_str().unwrap())
        .collect();
    assert_eq!(sub, ["a_b.test", "a@b.test"]);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_malformed() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    for payload in [
        json!({}),
        json!({ "identifiers": [] }),
        json!({ "identifiers": "a.test" }),
        json!({ "identifiers": [{ "type": "dns" }] }),
        json!({ "identifiers": [{ "value": "a.test" }] }),
        json!([]),
    ] {
        client.post(&url, &payload).await.expect_problem(400, "malformed");
    }
    client.post_as_get(&url).await.expect_problem(400, "malformed");
    let profile = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }], "profile": "no" });
    client.post(&url, &profile).await.expect_problem(400, "invalidProfile");
    let many: Vec<_> = (0..101).map(|index| format!("n{index}.test")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    client.new_order(&many).await.expect_problem(400, "rejectedIdentifier");
}

#[tokio::test]
async fn an_order_belongs_to_its_account() {
    let server = server().await;
    let mut owner = server.account("ca").await;
    let order = owner.order(&["a.test"]).await;
    let mut urls = order.authorization_urls();
    urls.push(order.url.clone());
    let authorization = urls[0].clone();
    let object = owner.post_as_get(&authorization).await.json();
    for challenge in object["challenges"].as_array().unwrap() {
        urls.push(challenge["url"].as_str().unwrap().to_owned());
    }
    let mut other = server.account("ca").await;
    for url in &urls {
        other.post_as_get(url).await.expect_problem(404, "malformed");
    }
    let begin = urls.last().unwrap();
    other.post(begin, &json!({})).await.expect_problem(404, "malformed");
    let deactivate = json!({ "status": "deactivated" });
    other.post(&authorization, &deactivate).await.expect_problem(404, "malformed");
    assert_eq!(owner.post_as_get(&authorization).await.json()["status"], "pending");
}

#[tokio::test]
async fn the_operator_sees_what_was_ordered_and_what_became_of_it() {
    let server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let waiting = client.order(&["b.test"]).await;
    let id = waiting.url.rsplit('/').next().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = server.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let (_, listed, _) = run(&["order", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let statuses: Vec<_> = listed.as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["pending", "valid"], "the newest first");
    let (_, text, _) = run(&["order", "list", "--ca", "ca", "--limit", "1"]);
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains(&id) && text.contains("b.test"), "{text}");
    let (_, none, _) = run(&["order", "list", "--ca", "other"]);
    assert_eq!(none, "");
    let (_, shown, _) = run(&["order", "show", &id, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["id"], &shown["status"]), (&json!(id), &json!("pending")));
    assert_eq!(shown["authorizations"][0]["identifier"], "b.test");
    let valid = listed[1]["id"].as_str().unwrap();
    let (_, text, _) = run(&["order", "show", valid]);
    assert!(text.contains("a.test: valid http-01"), "{text}");
    let (good, _, said) = run(&["order", "show", "nothing"]);
    assert!(!good && said.contains("there is no order"), "{said}");
}
