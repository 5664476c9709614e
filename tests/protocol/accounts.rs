//! Accounts (RFC 8555 §7.1.2, §7.3).

use harness::{Algorithm, Key, Settings};
use serde_json::json;

use crate::{server, server_with};

#[tokio::test]
async fn a_new_key_gets_an_account_and_the_same_key_the_same_account() {
    let server = server().await;
    let mut client = server.client("ca").await;
    let contact = json!(["mailto:admin@example.test"]);
    let created =
        client.new_account(&json!({ "contact": contact, "orders": "ignored" })).await.expect(201);
    let object = created.json();
    assert_eq!(object["status"], "valid");
    assert_eq!(object["contact"], contact);
    assert!(object["orders"].as_str().is_some_and(|url| url.ends_with("/orders")));
    let again =
        client.new_account(&json!({ "contact": ["mailto:other@example.test"] })).await.expect(200);
    assert_eq!(again.header("location"), created.header("location"));
    assert_eq!(again.json(), object, "a known key gets its account, whole and unchanged");
}

#[tokio::test]
async fn only_return_existing_makes_no_account() {
    let server = server().await;
    let mut client = server.client("ca").await;
    let payload = json!({ "onlyReturnExisting": true });
    client.new_account(&payload).await.expect_problem(400, "accountDoesNotExist");
    client.new_account(&payload).await.expect_problem(400, "accountDoesNotExist");
    client.register().await;
    let found = client.new_account(&payload).await.expect(200);
    assert_eq!(Some(found.header("location")), client.kid.as_deref());
}

#[tokio::test]
async fn contacts_are_refused_by_what_is_wrong_with_them() {
    let server = server().await;
    let mut client = server.client("ca").await;
    for (contact, problem) in [
        ("tel:+1", "unsupportedContact"),
        ("mailto:a@b,c@d", "invalidContact"),
        ("mailto:a@b?cc=c@d", "invalidContact"),
        ("a@b", "invalidContact"),
    ] {
        client.new_account(&json!({ "contact": [contact] })).await.expect_problem(400, problem);
    }
    client.new_account(&json!({ "contact": "no list" })).await.expect_problem(400, "malformed");
    client.new_account(&json!({ "contact": [] })).await.expect(201);
}

#[tokio::test]
async fn terms_of_service_must_be_agreed_to_where_there_are_any() {
    let terms = "https://example.test/terms";
    let settings =
        Settings { ca: format!("terms_of_service = \"{terms}\""), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.client("ca").await;
    assert_eq!(client.directory["meta"]["termsOfService"], terms);
    let refused = client.new_account(&json!({})).await.expect_problem(403, "userActionRequired");
    assert!(refused.links().contains(&"<https://example.test/terms>;rel=\"terms-of-service\""));
    let agreed = client.new_account(&json!({ "termsOfServiceAgreed": true })).await.expect(201);
    assert_eq!(agreed.json()["termsOfServiceAgreed"], true);
}

#[tokio::test]
async fn an_account_is_read_updated_and_deactivated_by_itself_alone() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    assert_eq!(client.post_as_get(&url).await.expect(200).json()["status"], "valid");
    let contact = json!(["mailto:new@example.test"]);
    client.post(&url, &json!({ "contact": contact })).await.expect(200);
    assert_eq!(client.post_as_get(&url).await.expect(200).json()["contact"], contact);
    client.post(&url, &json!({ "status": "revoked" })).await.expect_problem(400, "malformed");

    let mut other = server.account("ca").await;
    other.post_as_get(&url).await.expect_problem(403, "unauthorized");
    other.post(&url, &json!({ "status": "deactivated" })).await.expect_problem(403, "unauthorized");

    let order = client.order(&["a.test"]).await.url;
    let gone = client.post(&url, &json!({ "status": "deactivated" })).await.expect(200);
    assert_eq!(gone.json()["status"], "deactivated");
    client.post_as_get(&url).await.expect_problem(401, "unauthorized");
    client.post_as_get(&order).await.expect_problem(401, "unauthorized");
    client.new_order(&["a.test"]).await.expect_problem(401, "unauthorized");
    client.new_account(&json!({})).await.expect_problem(401, "unauthorized");
}

#[tokio::test]
async fn the_orders_of_an_account_are_listed_page_by_page_newest_first() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut placed = Vec::new();
    for index in 0..103 {
        placed.push(client.order(&[&format!("n{index}.test")]).await.url);
    }
    placed.reverse();
    let account = client.post_as_get(&client.kid.clone().unwrap()).await.json();
    let mut listed = Vec::new();
    let mut next = account["orders"].as_str().map(str::to_owned);
    let mut pages = 0;
    while let Some(url) = next.take() {
        let page = client.post_as_get(&url).await.expect(200);
        let orders = page.json()["orders"].as_array().unwrap().clone();
        listed.extend(orders.iter().map(|url| url.as_str().unwrap().to_owned()));
        let more = page
            .links()
            .into_iter()
            .find(|link| link.ends_with(";rel=\"next\""))
            .map(str::to_owned);
        next = more.map(|link| link[1..link.find('>').unwrap()].to_owned());
        pages += 1;
    }
    assert_eq!(pages, 2);
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(listed), sorted(placed), "each order stands on exactly one page");
    let orders = account["orders"].as_str().unwrap();
    client.post_as_get(&format!("{orders}?cursor=nonsense")).await.expect_problem(400, "malformed");
    let mut other = server.account("ca").await;
    other.post_as_get(orders).await.expect_problem(403, "unauthorized");
}

#[tokio::test]
async fn two_requests_with_one_new_key_make_one_account() {
    let server = server().await;
    let key = Key::new(Algorithm::Es256);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(server.client_with("ca", key.clone()).await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move { client.new_account(&json!({})).await });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(
        answers.iter().all(|answer| answer.header("location") == answers[0].header("location"))
    );
}
