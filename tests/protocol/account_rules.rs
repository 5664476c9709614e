//! What real clients need of the directory and of accounts: each test is named after its rule.

use harness::external_account::Credentials;
use harness::{Algorithm, Key, Settings};
use serde_json::{Value, json};

use crate::{server, server_with};

#[tokio::test]
async fn meta_is_always_an_object() {
    let server = server().await;
    let client = server.client("ca").await;
    assert!(client.directory["meta"].is_object(), "{}", client.directory);
}

#[tokio::test]
async fn new_account_for_a_known_key_is_answered_with_200_location_and_the_full_object() {
    let server = server().await;
    let mut client = server.client("ca").await;
    let payload = json!({
        "contact": ["mailto:a@example.test"], "termsOfServiceAgreed": true,
    });
    let created = client.new_account(&payload).await.expect(201);
    let object = created.json();
    for member in ["status", "contact", "orders", "termsOfServiceAgreed"] {
        assert!(object.get(member).is_some(), "{member}: {object}");
    }
    for again in [payload, json!({}), json!({ "onlyReturnExisting": true })] {
        let found = client.new_account(&again).await.expect(200);
        assert_eq!(found.header("location"), created.header("location"));
        assert_eq!(found.json(), object);
    }
}

#[tokio::test]
async fn a_binding_may_be_sent_again_is_not_needed_to_find_an_account_and_may_be_empty() {
    let settings =
        Settings { ca: "external_account_required = true".to_owned(), ..Settings::key_file() };
    let server = server_with(settings).await;
    let output = server.run(&["eab", "create", "--json"]);
    let credentials = Credentials::from_json(&String::from_utf8(output.stdout).unwrap());
    let mut client = server.client("ca").await;
    let url = client.url("newAccount");
    let with = |binding: Value| json!({ "externalAccountBinding": binding });
    let only_existing = json!({ "onlyReturnExisting": true });
    client.new_account(&only_existing).await.expect_problem(400, "accountDoesNotExist");

    // Empty values, as unset variables leave them behind, are no binding.
    let empty_kid = json!({ "alg": "HS256", "kid": "", "url": url });
    let empty = [
        json!(null),
        json!(""),
        json!({}),
        json!({ "protected": "", "payload": "", "signature": "" }),
        credentials.sign(&empty_kid, client.key.jwk().to_string().as_bytes()),
    ];
    for binding in empty.clone() {
        let refused = client.new_account(&with(binding)).await;
        refused.expect_problem(403, "externalAccountRequired");
    }

    let binding = credentials.bind(&url, &client.key.jwk());
    let created = client.new_account(&with(binding.clone())).await.expect(201);
    let account = created.header("location");
    // The key has bound its one account and is revoked, and still its account is found with it, with
    // any other, and with none.
    assert!(server.run(&["eab", "revoke", &credentials.kid]).status.success());
    let unknown = Credentials { kid: "unknown".to_owned(), ..credentials.clone() };
    let unknown = unknown.bind(&url, &client.key.jwk());
    for payload in [
        with(binding.clone()),
        json!({ "externalAccountBinding": binding, "onlyReturnExisting": true }),
        with(unknown),
        only_existing,
        json!({}),
    ]
    .into_iter()
    .chain(empty.map(with))
    {
        let found = client.new_account(&payload).await.expect(200);
        assert_eq!(found.header("location"), account);
        assert_eq!(found.json()["externalAccountBinding"], binding);
    }

    let not_required = crate::server().await;
    let mut client = not_required.client("ca").await;
    let created = client.new_account(&with(json!(""))).await.expect(201);
    assert_eq!(created.json().get("externalAccountBinding"), None);
}

#[tokio::test]
async fn contacts_may_be_absent_empty_or_several_and_only_bad_ones_are_refused() {
    let server = server().await;
    for contact in [
        None,
        Some(json!(null)),
        Some(json!([])),
        Some(json!(["mailto:a@example.test"])),
        Some(json!(["mailto:a@example.test", "mailto:b@example.test", "mailto:c@example.test"])),
    ] {
        let mut client = server.client("ca").await;
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if let Some(contact) = &contact {
            payload["contact"] = contact.clone();
        }
        let created = client.new_account(&payload).await.expect(201).json();
        let kept = contact.filter(Value::is_array).unwrap_or_else(|| json!([]));
        assert_eq!(created["contact"], kept);
    }
    let mut client = server.client("ca").await;
    for (contact, problem) in [
        ("tel:+12025550100", "unsupportedContact"),
        ("https://example.test/me", "unsupportedContact"),
        ("mailto:", "invalidContact"),
        ("mailto:nobody", "invalidContact"),
        ("mailto:a@example.test,b@example.test", "invalidContact"),
        ("mailto:a@example.test?subject=renewal", "invalidContact"),
    ] {
        let contacts = json!(["mailto:good@example.test", contact]);
        let refused = client.new_account(&json!({ "contact": contacts })).await;
        let refused = refused.expect_problem(400, problem).json();
        assert!(refused["detail"].as_str().is_some_and(|detail| !detail.contains("good@")));
    }
}

#[tokio::test]
async fn orders_of_an_account_is_a_url_that_works() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let account = client.kid.clone().unwrap();
    let created = client.new_account(&json!({})).await.expect(200).json();
    let read = client.post_as_get(&account).await.expect(200).json();
    for object in [created, read] {
        let orders = object["orders"].as_str().expect("a string, never null").to_owned();
        assert_eq!(client.post_as_get(&orders).await.expect(200).json()["orders"], json!([]));
    }
    let order = client.order(&["a.test"]).await.url;
    let listed = client.post_as_get(&format!("{account}/orders")).await.expect(200).json();
    assert_eq!(listed["orders"], json!([order]));
}

#[tokio::test]
async fn key_change_is_there_and_works() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("keyChange");
    let new = Key::new(Algorithm::Es256);
    let payload = json!({ "account": client.kid, "oldKey": client.key.jwk() }).to_string();
    let protected = json!({ "alg": "ES256", "jwk": new.jwk(), "url": url });
    let inner = new.sign_jws(protected.to_string(), payload.as_bytes());
    client.post(&url, &inner).await.expect(200);
    client.key = new;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
}

#[tokio::test]
async fn the_directory_names_nothing_without_a_handler() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let directory = client.directory.clone();
    let entries: Vec<_> = directory.as_object().unwrap().iter().collect();
    assert!(entries.len() >= 5, "{directory}");
    for (name, url) in entries.into_iter().filter(|(name, _)| *name != "meta") {
        let url = url.as_str().unwrap();
        if name == "renewalInfo" {
            // What is below it is read by GET (RFC 9773 §4.1), and this certificate is nobody's.
            let unknown = client.get(&format!("{url}/AQ.AQ")).await.text();
            assert!(!unknown.contains("no such resource"), "{unknown}");
            continue;
        }
        // Whatever a handler makes of an empty object, or of a GET: it is there.
        let answer = client.post(url, &json!({})).await;
        assert!(![404, 501].contains(&answer.status), "{name}: {}", answer.text());
        let refused = client.get(url).await;
        assert_ne!(refused.status, 501, "{name}: {}", refused.text());
    }
}
