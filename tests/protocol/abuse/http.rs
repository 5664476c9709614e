//! HTTP that is no ACME (RFC 8555 §6.1 to §6.3), and bytes that are hardly HTTP.

use std::fmt::Write as _;
use std::time::Duration;

use harness::Client;
use serde_json::json;

use super::{Row, Victim, malformed, row};
use crate::server;

const PATIENCE: Duration = Duration::from_secs(30);

/// A request that is wrong before anybody looks into its body, whose JWS is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrong {
    method: &'static str,
    /// Below `/acme/`; `{account}` stands for the account's id.
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

const JOSE: &[(&str, &str)] = &[("content-type", "application/jose+json")];

pub(super) fn rows() -> Vec<Row<Wrong>> {
    let method = |method, path| {
        let wrong = Wrong { method, path, headers: JOSE };
        row("§6.3", "a wrong method", wrong, (405, "malformed", method))
    };
    let content_type = |why, headers| {
        let wrong = Wrong { method: "POST", path: "ca/account/{account}", headers };
        row("§6.2", why, wrong, (415, "malformed", "application/jose+json"))
    };
    let path = |method, path, says| {
        row("§7.1", "a wrong path", Wrong { method, path, headers: JOSE }, (404, "malformed", says))
    };
    vec![
        method("GET", "ca/account/{account}"),
        method("GET", "ca/account/{account}/orders"),
        method("GET", "ca/new-account"),
        method("GET", "ca/new-order"),
        method("GET", "ca/order/AAAA"),
        method("GET", "ca/order/AAAA/finalize"),
        method("GET", "ca/authz/AAAA"),
        method("GET", "ca/chall/AAAA"),
        method("GET", "ca/cert/AAAA"),
        method("PUT", "ca/account/{account}"),
        method("PUT", "ca/directory"),
        method("PATCH", "ca/account/{account}"),
        method("DELETE", "ca/account/{account}"),
        method("DELETE", "ca/new-nonce"),
        method("DELETE", "ca/order/AAAA"),
        method("TRACE", "ca/directory"),
        method("BREW", "ca/new-order"),
        method("PROPFIND", "ca/authz/AAAA"),
        content_type("no type", &[]),
        content_type("an empty type", &[("content-type", "")]),
        content_type("JSON", &[("content-type", "application/json")]),
        content_type("the compact form", &[("content-type", "application/jose")]),
        content_type("text", &[("content-type", "text/plain")]),
        content_type("a form", &[("content-type", "application/x-www-form-urlencoded")]),
        content_type("parts", &[("content-type", "multipart/form-data; boundary=a")]),
        content_type("a longer type", &[("content-type", "application/jose+jsonp")]),
        content_type("any type", &[("content-type", "*/*")]),
        content_type("two types", &[("content-type", "application/jose+json, text/plain")]),
        content_type("only in Accept", &[("accept", "application/jose+json")]),
        path("GET", "ca/directory/", "no such resource"),
        path("GET", "ca/nothing", "no such resource"),
        path("GET", "ca/../ca/directory", "no such resource"),
        path("GET", "ca/%2e%2e/ca/directory", "no such resource"),
        path("GET", "ca/%6eew-nonce", "no such resource"),
        path("GET", "ca//new-nonce", "no such resource"),
        path("GET", "ca/directory%00", "no such resource"),
        path("GET", "CA/directory", "no CA"),
        path("GET", "nobody/directory", "no CA"),
        path("POST", "nobody/new-order", "no CA"),
        path("GET", "%00/directory", "no CA"),
        path("GET", "ca%2fdirectory/directory", "no CA"),
        path("POST", "ca/order", "no such resource"),
        path("POST", "ca/order/a/b/c", "no such resource"),
    ]
}

#[tokio::test]
async fn a_request_that_is_no_acme_is_refused_before_its_body_is_read() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let victim = Victim::new(server).await;
    let account = client.kid.clone().unwrap();
    let (base, id) = account.split_once("ca/account/").unwrap();
    for (refusal, wrong) in rows() {
        let url = format!("{base}{}", wrong.path.replace("{account}", id));
        let jws = client.jws(&url, "").await;
        let body = client.sign(&jws).to_string().into_bytes();
        let answer = client.send_with(wrong.method, &url, wrong.headers, body).await;
        // What is below no CA has no nonces.
        if wrong.method == "POST" && refusal.says != "no CA" {
            refusal.check(&answer);
        } else {
            refusal.check_problem(&answer);
        }
        if refusal.status == 405 {
            let allowed = answer.header("allow");
            assert!(allowed.contains("POST") && !allowed.contains(wrong.method), "{allowed}");
        }
    }
    victim.is_unharmed(&mut client).await;
}

#[tokio::test]
async fn a_host_that_is_none_is_malformed() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let victim = Victim::new(server).await;
    for host in ["", "a b", "user@localhost", "/", "localhost:port", "[::1", "\u{e4}.test"] {
        let request = format!(
            "POST /acme/ca/new-order HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = client.send_bytes(request.as_bytes(), PATIENCE).await.unwrap();
        row("§6.4", "a host", (), malformed("no usable Host")).0.check(&answer);
    }
    victim.is_unharmed(&mut client).await;
}

fn get(head: &str) -> Vec<u8> {
    format!("GET /acme/ca/directory HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n")
        .into_bytes()
}

fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /acme/ca/new-order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/jose+json\r\n{head}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Why, what is sent, and the answer's status; `None` where the connection may simply end.
fn bytes() -> Vec<(&'static str, Vec<u8>, Option<u16>)> {
    let mut flood = String::new();
    for number in 0..200 {
        write!(flood, "X-{number}: a\r\n").unwrap();
    }
    let long = format!("X: {}\r\n", "a".repeat(60_000));
    let long_path =
        format!("GET /acme/ca/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(60_000));
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("nothing", Vec::new(), None),
        ("zeros", vec![0; 1000], None),
        ("a line's end", b"\r\n\r\n\r\n\r\n".to_vec(), None),
        ("no HTTP", b"EHLO localhost\r\n\r\n".to_vec(), Some(400)),
        ("a version of none", b"GET / HTTP/9.9\r\n\r\n".to_vec(), Some(400)),
        ("TLS within TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20), None),
        ("HTTP/2 without its negotiation", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxx".to_vec(), None),
        ("a space too many", b"GET  /acme/ca/directory HTTP/1.1\r\n\r\n".to_vec(), Some(400)),
        ("a path of no ASCII", b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), Some(400)),
        ("a long path", long_path.into_bytes(), None),
        ("a header without colon", get("X\r\n"), Some(400)),
        ("a space before the colon", get("X : a\r\n"), Some(400)),
        ("a header folded", get("X: a\r\n b\r\n"), Some(400)),
        ("U+0000 in a header", get("X: a\0b\r\n"), Some(400)),
        ("a header without name", get(": a\r\n"), Some(400)),
        ("200 headers", get(&flood), Some(431)),
        ("a long header", get(&long), Some(431)),
        ("a negative length", post("Content-Length: -1\r\n", b""), Some(400)),
        ("a length in words", post("Content-Length: ten\r\n", b""), Some(400)),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 2\r\n", b"{}"), Some(400)),
        ("a length beyond all", post("Content-Length: 99999999999999999999999\r\n", b""), Some(400)),
        ("a long body to come", post("Content-Length: 10000000000\r\n", b"{"), Some(413)),
        ("an unknown coding", post("Transfer-Encoding: gzip\r\n", b""), Some(400)),
        ("chunks without size", post(chunked, b"x\r\n{}\r\n0\r\n\r\n"), Some(400)),
        ("a chunk beyond all", post(chunked, b"ffffffffffffffffff\r\n{}"), Some(400)),
        ("chunks of no JWS", post(chunked, b"2\r\n{}\r\n0\r\n\r\n"), Some(400)),
        ("two bodies", post(&format!("Content-Length: 2\r\n{chunked}"), b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"), None),
        ("a tunnel", b"CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\n\r\n".to_vec(), None),
        ("all of it", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), Some(404)),
        (
            "another host's resource",
            b"GET https://x.test/acme/nobody/directory HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n".to_vec(),
            Some(404),
        ),
    ]
}

#[tokio::test]
async fn bytes_that_are_hardly_http_are_refused_and_do_no_harm() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let victim = Victim::new(server).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (why, request, status) in bytes() {
        let client: Client = client.clone();
        tasks.spawn(async move {
            let patience = if status.is_some() { PATIENCE } else { Duration::from_secs(1) };
            let answer = client.send_bytes(&request, patience).await;
            (why, status, answer.map(|answer| (answer.status, answer.text())))
        });
    }
    for (why, status, answer) in tasks.join_all().await {
        match (status, answer) {
            (Some(status), Some(answer)) => assert_eq!(answer.0, status, "{why}: {}", answer.1),
            (None, Some(answer)) => assert!((400..500).contains(&answer.0), "{why}: {answer:?}"),
            (None, None) => {}
            (Some(status), None) => panic!("{why}: no answer, not even {status}"),
        }
    }
    victim.is_unharmed(&mut client).await;
}

#[tokio::test]
async fn a_page_in_a_browser_may_ask_and_read_what_a_client_reads() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    let preflight = [
        ("origin", "https://page.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = client.send_with("OPTIONS", &url, &preflight, Vec::new()).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), "content-type");
    assert!(answer.header("access-control-allow-credentials").is_empty());
    let placed = client.new_order(&["a.test"]).await.expect(201);
    assert_eq!(placed.header("access-control-allow-origin"), "*");
    let exposed = placed.header("access-control-expose-headers").to_lowercase();
    for name in ["replay-nonce", "location", "link", "retry-after"] {
        assert!(exposed.split(',').any(|one| one == name), "{exposed}");
    }
}

#[tokio::test]
async fn directory_and_new_nonce_are_read_by_get_head_and_post_as_get() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let directory = server.directory("ca");
    let seen = client.get(&directory).await.expect(200);
    let head = client.with_method("HEAD", &directory).await.expect(200);
    assert_eq!(head.header("content-length"), seen.body.len().to_string());
    assert!(head.body.is_empty());
    let posted = client.post_as_get(&directory).await.expect(200);
    assert_eq!(posted.json(), seen.json());
    assert!(!posted.header("replay-nonce").is_empty());
    let nonce = client.url("newNonce");
    let posted = client.post_as_get(&nonce).await.expect(204);
    assert!(!posted.header("replay-nonce").is_empty());
    client.post(&nonce, &json!({})).await.expect_problem(400, "malformed");
}
