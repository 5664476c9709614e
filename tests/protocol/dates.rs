//! `notBefore` and `notAfter` of an order (RFC 8555 §7.1.3, §7.4).

use jiff::Timestamp;
use openssl::asn1::Asn1Time;
use serde_json::{Value, json};

use crate::server;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// This time in RFC 3339.
fn date(unix_s: i64) -> String {
    Timestamp::from_second(unix_s).unwrap().to_string()
}

fn order(dates: &[(&str, Value)]) -> Value {
    let mut payload = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] });
    for (name, value) in dates {
        payload[*name] = value.clone();
    }
    payload
}

#[tokio::test]
async fn dates_that_an_order_asks_for_are_shown_and_stand_in_the_certificate() {
    let server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let (begin, end) = (now() + HOUR, now() + 2 * DAY);
    let offset = date(end + HOUR).replace('Z', "+01:00");
    let payload = order(&[("notBefore", json!(date(begin))), ("notAfter", json!(offset))]);
    let answer = client.post(&client.url("newOrder"), &payload).await.expect(201);
    let object = answer.json();
    assert_eq!(
        (&object["notBefore"], &object["notAfter"]),
        (&json!(date(begin)), &json!(date(end)))
    );
    let url = answer.header("location").to_owned();
    let mut order =
        harness::Order { client: &mut client, url, object, names: vec!["a.test".into()] }
            .refresh()
            .await;
    assert_eq!(order.object["notAfter"], date(end));
    order.finalize_with(&order.csr().der()).await.expect(200);
    let leaf = order.certificates().await.remove(0);
    assert_eq!(leaf.not_before(), &*Asn1Time::from_unix(begin).unwrap());
    assert_eq!(leaf.not_after(), &*Asn1Time::from_unix(end).unwrap());
}

#[tokio::test]
async fn dates_beyond_what_the_ca_gives_are_refused_with_a_sentence() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    let at = |seconds: i64| json!(date(now() + seconds));
    for (dates, said) in [
        (vec![("notBefore", at(-2 * HOUR))], "in the past"),
        (vec![("notAfter", at(-HOUR))], "in the past"),
        (vec![("notAfter", at(91 * DAY))], "2160 hours"),
        (vec![("notBefore", at(HOUR)), ("notAfter", at(91 * DAY))], "2160 hours"),
        (vec![("notBefore", at(91 * DAY))], "after the end"),
        (vec![("notBefore", at(2 * DAY)), ("notAfter", at(DAY))], "before notAfter"),
        (vec![("notAfter", json!("tomorrow"))], "RFC 3339"),
        (vec![("notAfter", json!("2030-01-01"))], "RFC 3339"),
        (vec![("notBefore", json!("2030-01-01 00:00:00Z"))], "RFC 3339"),
        (vec![("notBefore", json!(1_900_000_000))], "payload"),
    ] {
        let problem = client.post(&url, &order(&dates)).await.expect_problem(400, "malformed");
        let detail = problem.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{dates:?}: {detail}");
    }
    // Each at its bound.
    for dates in [
        vec![("notBefore", at(-30))],
        vec![("notAfter", at(90 * DAY - 30))],
        vec![("notBefore", Value::Null), ("notAfter", Value::Null)],
    ] {
        client.post(&url, &order(&dates)).await.expect(201);
    }
}

#[tokio::test]
async fn dates_that_the_ca_no_longer_gives_are_refused_at_finalize() {
    let server = server().await;
    let mut client = server.account("ca").await;
    client.order(&["a.test"]).await.prove("http-01").await;
    let payload = order(&[("notAfter", json!(date(now() + 30 * DAY)))]);
    let answer = client.post(&client.url("newOrder"), &payload).await.expect(201);
    let (url, object) = (answer.header("location").to_owned(), answer.json());
    let config = std::fs::read_to_string(server.config()).unwrap();
    let shorter = config.replace("[[ca]]\n", "[[ca]]\nvalidity_days = 1\n");
    assert_ne!(config, shorter);
    std::fs::write(server.config(), shorter).unwrap();
    server.reload().await;
    let mut placed =
        harness::Order { client: &mut client, url, object, names: vec!["a.test".into()] };
    let csr = placed.csr().der();
    let refused = placed.finalize_with(&csr).await.expect_problem(400, "malformed");
    assert!(refused.text().contains("last 24 hours at most"), "{}", refused.text());
}

#[tokio::test]
async fn an_order_expires_no_later_than_the_certificate_it_asks_for() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let payload = order(&[("notAfter", json!(date(now() + 600)))]);
    let object = client.post(&client.url("newOrder"), &payload).await.expect(201).json();
    assert_eq!(object["expires"], object["notAfter"]);
}
