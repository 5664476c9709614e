//! finalize and its CSRs (RFC 8555 §7.4).

use harness::csr::{self, Csr};
use harness::{Client, Order};
use serde_json::json;

use crate::server;

async fn ready<'c>(client: &'c mut Client, names: &[&str]) -> Order<'c> {
    let order = client.order(names).await.prove("http-01").await;
    assert_eq!(order.object["status"], "ready");
    order
}

#[tokio::test]
async fn finalizing_before_the_order_is_ready_is_refused() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect_problem(403, "orderNotReady");
    assert_eq!(order.refresh().await.object["status"], "pending");
}

#[tokio::test]
async fn a_finalized_order_is_answered_with_200_and_its_location() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = ready(&mut client, &["a.test"]).await;
    let csr = order.csr().der();
    let answer = order.finalize_with(&csr).await.expect(200);
    assert_eq!(answer.header("location"), order.url);
    assert_eq!(
        answer.json()["status"],
        "valid",
        "the answer is held until the certificate is there"
    );
}

#[tokio::test]
async fn finalizing_twice_with_one_csr_returns_the_same_order_and_another_csr_is_refused() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = ready(&mut client, &["a.test"]).await;
    let csr = order.csr().der();
    let first = order.finalize_with(&csr).await.expect(200).json();
    let again = order.finalize_with(&csr).await.expect(200).json();
    assert_eq!(first, again);
    let other = order.csr().der();
    order.finalize_with(&other).await.expect_problem(403, "orderNotReady");
}

#[tokio::test]
async fn one_order_finalized_many_times_at_once_has_one_certificate() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let order = ready(&mut client, &["a.test"]).await;
    let csr = harness::key::base64url(order.csr().der());
    let (url, finalize) =
        (order.url.clone(), order.object["finalize"].as_str().unwrap().to_owned());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut client, finalize, csr) = (client.clone(), finalize.clone(), csr.clone());
        tasks.spawn(async move {
            client.nonce().await;
            client.post(&finalize, &json!({ "csr": csr })).await.expect(200).json()
        });
    }
    let answers = tasks.join_all().await;
    let settled = client.settled(&url).await;
    for answer in answers {
        assert!(answer["certificate"].is_null() || answer["certificate"] == settled["certificate"]);
    }
}

#[tokio::test]
async fn a_csr_that_cannot_be_honoured_is_bad_and_leaves_the_order_ready() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let account_key = client.key.private.clone();
    let mut order = ready(&mut client, &["a.test", "b.test"]).await;
    let good = order.csr();
    let mut wrong_signature = good.der();
    let last = wrong_signature.len() - 1;
    wrong_signature[last] ^= 1;
    let mut trailing = good.der();
    trailing.push(0);
    let names = |names: &[&str]| Csr { key: good.key.clone(), ..Csr::new(names) };
    for (why, csr) in [
        ("nothing", Vec::new()),
        ("no CSR", b"garbage".to_vec()),
        ("trailing bytes", trailing),
        ("a wrong self-signature", wrong_signature),
        ("a CA certificate", Csr { is_ca: true, ..good.clone() }.der()),
        ("a name less", names(&["a.test"]).der()),
        ("a name more", names(&["a.test", "b.test", "c.test"]).der()),
        ("another name", names(&["a.test", "c.test"]).der()),
        ("a wildcard instead", names(&["a.test", "*.b.test"]).der()),
        ("no names", names(&[]).der()),
        (
            "a foreign common name",
            Csr { common_name: Some("c.test".to_owned()), ..good.clone() }.der(),
        ),
        ("a mail address", Csr { mail_address: Some("a@a.test"), ..good.clone() }.der()),
        ("a short key", Csr { key: csr::rsa(1024), ..good.clone() }.der()),
        ("the account key", Csr { key: account_key, ..good.clone() }.der()),
    ] {
        let answer = order.finalize_with(&csr).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "badCSR"),
            "{why}: {}",
            answer.text()
        );
        order = order.refresh().await;
        assert_eq!(order.object["status"], "ready", "{why}");
    }
    let url = order.object["finalize"].as_str().unwrap().to_owned();
    order.client.post(&url, &json!({ "csr": "a+b/c==" })).await.expect_problem(400, "badCSR");
    order.client.post(&url, &json!({})).await.expect_problem(400, "malformed");
    order.finalize_with(&good.der()).await.expect(200);
    assert_eq!(order.certificates().await.len(), 2);
}

#[tokio::test]
async fn what_else_a_csr_asks_for_is_ignored() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = ready(&mut client, &["a.test", "b.test"]).await;
    let request = Csr {
        wants_client_auth: true,
        common_name: Some("A.test".to_owned()),
        dns_names: vec!["B.test".to_owned(), "a.test".to_owned()],
        ..order.csr()
    };
    order.finalize_with(&request.der()).await.expect(200);
    let certificate = order.certificates().await.remove(0);
    let text = String::from_utf8(certificate.to_text().unwrap()).unwrap();
    assert!(text.contains("TLS Web Server Authentication"), "{text}");
    assert!(!text.contains("TLS Web Client Authentication"), "{text}");
    assert_eq!(certificate.subject_name().entries().count(), 0);
    let names: Vec<_> = certificate.subject_alt_names().unwrap().into_iter().collect();
    assert_eq!(
        names.iter().filter_map(|name| name.dnsname()).collect::<Vec<_>>(),
        ["a.test", "b.test"]
    );
}

#[tokio::test]
async fn rule_33_finalize_answers_200_with_the_orders_url_and_stands_in_the_order_in_every_status()
{
    let server = server().await;
    let mut client = server.account("ca").await;
    let shows_finalize = |object: &serde_json::Value, status: &str| {
        assert_eq!(object["status"], status);
        assert!(
            object["finalize"].as_str().is_some_and(|url| url.ends_with("/finalize")),
            "{status}"
        );
    };
    let invalid = client.order(&["b.test"]).await;
    let authorization = invalid.authorization_urls().remove(0);
    let deactivated = json!({ "status": "deactivated" });
    invalid.client.post(&authorization, &deactivated).await.expect(200);
    shows_finalize(&invalid.refresh().await.object, "invalid");
    let order = client.order(&["a.test"]).await;
    shows_finalize(&order.object, "pending");
    let mut order = order.prove("http-01").await;
    shows_finalize(&order.object, "ready");
    let csr = order.csr().der();
    let answer = order.finalize_with(&csr).await.expect(200);
    assert_eq!(answer.header("location"), order.url);
    shows_finalize(&answer.json(), "valid");
}

#[tokio::test]
async fn rule_34_finalize_sent_again_with_the_same_csr_returns_the_order_as_it_stands() {
    // Nothing is held, so that the order may be seen while it is processing.
    let settings =
        harness::Settings { server: "hold_s = 0".to_owned(), ..harness::Settings::key_file() };
    let server = crate::server_with(settings).await;
    let mut client = server.account("ca").await;
    let mut order = ready(&mut client, &["a.test"]).await;
    let csr = order.csr().der();
    loop {
        let answer = order.finalize_with(&csr).await.expect(200);
        assert_eq!(answer.header("location"), order.url);
        match answer.json()["status"].as_str().unwrap() {
            "processing" => assert!(answer.header("retry-after").parse::<u32>().unwrap() <= 5),
            "valid" => break,
            other => panic!("{other}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    order.finalize_with(&csr).await.expect(200);
}

#[tokio::test]
async fn rule_35_finalize_while_the_order_is_pending_or_invalid_is_order_not_ready_each_time() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut order = client.order(&["a.test"]).await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect_problem(403, "orderNotReady");
    let authorization = order.authorization_urls().remove(0);
    order.client.post(&authorization, &json!({ "status": "deactivated" })).await.expect(200);
    for _ in 0..3 {
        order.finalize_with(&csr).await.expect_problem(403, "orderNotReady");
    }
    assert_eq!(order.refresh().await.object["status"], "invalid");
}
