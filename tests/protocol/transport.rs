//! Requests and answers as HTTP (RFC 8555 §6, §7.1, §7.2).

use std::collections::BTreeSet;

use harness::{Settings, server};
use serde_json::json;

use crate::{server, server_with};

#[tokio::test]
async fn the_directory_names_what_works_and_nothing_else() {
    let server = server().await;
    let client = server.client("ca").await;
    let directory = client.directory.as_object().unwrap();
    let names: BTreeSet<_> = directory.keys().map(String::as_str).collect();
    let expected = [
        "keyChange",
        "meta",
        "newAccount",
        "newAuthz",
        "newNonce",
        "newOrder",
        "renewalInfo",
        "revokeCert",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    assert!(directory["meta"].is_object());
    for (name, url) in directory.iter().filter(|(name, _)| *name != "meta") {
        // Only what is below it is a resource (RFC 9773 §4.1).
        let below = if name == "renewalInfo" { "/AQ" } else { "" };
        let path = &format!("{}{below}", url.as_str().unwrap());
        assert!(
            path.starts_with(&format!("https://localhost:{}/acme/ca/", server.address.port())),
            "{name}"
        );
        assert_ne!(client.get(path).await.status, 404, "{name} has no handler");
    }
}

#[tokio::test]
async fn a_nonce_comes_by_head_with_200_and_by_get_with_204() {
    let server = server().await;
    let client = server.client("ca").await;
    let url = client.url("newNonce");
    for (method, status) in [("HEAD", 200), ("GET", 204)] {
        let answer = client.with_method(method, &url).await.expect(status);
        assert!(!answer.header("replay-nonce").is_empty());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.links(), [format!("<{}>;rel=\"index\"", server.directory("ca"))]);
    }
}

#[tokio::test]
async fn a_nonce_works_once_and_every_answer_to_a_post_brings_another() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.url("newOrder");
    let payload = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] }).to_string();
    let jws = client.jws(&url, payload).await;
    let body = client.sign(&jws);
    client.post_json(&url, &body).await.expect(201);
    let replayed = client.post_json(&url, &body).await.expect_problem(400, "badNonce");
    assert!(!replayed.header("replay-nonce").is_empty());
    let not_json = client.post_raw(&url, "application/jose+json", b"{".to_vec()).await;
    let fresh = not_json.expect_problem(400, "malformed").header("replay-nonce").to_owned();
    assert_ne!(fresh, replayed.header("replay-nonce"));
    client.post_as_get(&client.kid.clone().unwrap()).await.expect(200);
}

#[tokio::test]
async fn one_nonce_sent_twice_at_once_is_taken_once() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let url = client.kid.clone().unwrap();
    let jws = client.jws(&url, "").await;
    let body = client.sign(&jws);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut client, url, body) = (client.clone(), url.clone(), body.clone());
        tasks.spawn(async move { client.post_json(&url, &body).await.status });
    }
    let taken = tasks.join_all().await.into_iter().filter(|status| *status == 200).count();
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn a_wrong_method_content_type_size_or_path_is_answered_as_the_rfc_says() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let account = client.kid.clone().unwrap();
    client.get(&account).await.expect_problem(405, "malformed");
    client.get(&client.url("newOrder")).await.expect_problem(405, "malformed");
    client.with_method("DELETE", &account).await.expect_problem(405, "malformed");
    for content_type in ["application/json", "text/plain", ""] {
        let answer = client.post_raw(&account, content_type, b"{}".to_vec()).await;
        assert!(!answer.header("replay-nonce").is_empty());
        answer.expect_problem(415, "malformed");
    }
    let huge = vec![b' '; 200_000];
    client.post_raw(&account, "application/jose+json", huge).await.expect_problem(413, "malformed");
    client.get("/acme/ca/nothing").await.expect_problem(404, "malformed");
    client.get("/acme/nobody/directory").await.expect_problem(404, "malformed");
    assert_eq!(client.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn header_names_are_in_title_case_on_http_1() {
    let server = server().await;
    let answer = harness::command::run(std::process::Command::new("curl").args([
        "--silent",
        "--show-error",
        "--http1.1",
        "--head",
        "--cacert",
        &server.root().to_string_lossy(),
        &server.directory("ca").replace("directory", "new-nonce"),
    ]));
    assert!(answer.contains("\r\nReplay-Nonce: "), "{answer}");
    assert!(answer.contains("\r\nCache-Control: no-store"), "{answer}");
}

#[tokio::test]
async fn urls_have_the_configured_base_whatever_the_host_header_says() {
    let settings = Settings {
        server: "external_url = \"https://ca.example.test\"".to_owned(),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let client = server.client("ca").await;
    assert_eq!(client.url("newOrder"), "https://ca.example.test/acme/ca/new-order");
}

#[tokio::test]
async fn the_ca_certificate_is_there_for_everybody() {
    let server = server().await;
    let client = server.client("ca").await;
    let pem = client.get("/ca/ca.pem").await.expect(200);
    let chain = openssl::x509::X509::stack_from_pem(&pem.body).unwrap();
    assert_eq!(chain.len(), 2);
    let der = client.get("/ca/ca.cer").await.expect(200);
    assert_eq!(der.header("content-type"), "application/pkix-cert");
    assert_eq!(openssl::x509::X509::from_der(&der.body).unwrap(), chain[0]);
    assert_eq!(client.get("/ca/other.pem").await.status, 404);
    assert_eq!(client.get("/ca/ca.key").await.status, 404);
}

#[tokio::test]
async fn the_admin_listener_tells_health_and_metrics() {
    let server = server().await;
    let (status, _) = server.admin_get("/healthz").unwrap();
    assert_eq!(status, 200);
    let (status, ready) = server.admin_get("/readyz").unwrap();
    assert_eq!(status, 200);
    assert!(ready.contains(r#""database":"ok""#), "{ready}");
    assert!(ready.contains(r#""ca":{"ca":"ok"}"#), "{ready}");
    server.client("ca").await;
    let (_, metrics) = server.admin_get("/metrics").unwrap();
    assert!(metrics.contains("kipuka_http_requests_total{"), "{metrics}");
    assert!(server::plain_get(server.address, "/readyz").is_none_or(|(status, _)| status != 200));
}

#[tokio::test]
async fn a_head_that_dribbles_or_is_too_large_is_cut_off() {
    use std::io::{Read as _, Write as _};
    use std::time::{Duration, Instant};
    let server = server().await;
    let connect = || {
        let stream = std::net::TcpStream::connect(server.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut slow = connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let begin = Instant::now();

    let many: String = (0..100).map(|index| format!("X-{index}: x\r\n")).collect();
    let large = format!("X: {}\r\n", "x".repeat(40_000));
    for headers in [many, large] {
        let mut stream = connect();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    let mut rest = String::new();
    slow.read_to_string(&mut rest).unwrap();
    assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    assert_eq!(server.admin_get("/healthz").unwrap().0, 200, "and others are served");
}

/// RFC 8555 §6.1, by way of RFC 7525: no version before TLS 1.2.
#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
    let server = server().await;
    let handshake = |version| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        // OpenSSL itself is unwilling to say anything so old at its usual level.
        connector.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        connector.set_min_proto_version(Some(version)).unwrap();
        connector.set_max_proto_version(Some(version)).unwrap();
        let stream = std::net::TcpStream::connect(server.address).unwrap();
        connector.build().connect("localhost", stream).is_ok()
    };
    for (version, spoken) in [
        (SslVersion::TLS1, false),
        (SslVersion::TLS1_1, false),
        (SslVersion::TLS1_2, true),
        (SslVersion::TLS1_3, true),
    ] {
        assert_eq!(handshake(version), spoken, "{version:?}");
    }
}

/// RFC 8555 §6.1: ACME is spoken over HTTPS alone.
#[tokio::test]
async fn the_plain_listener_has_no_acme() {
    let port = harness::Port::reserve();
    let address = port.address();
    let settings =
        Settings { server: format!("http_listen = \"{address}\""), ..Settings::key_file() };
    let _server = server_with(settings).await;
    let get = |path: &str| server::plain_get(address, path).unwrap().0;
    assert_eq!(get("/ca/ca.pem"), 200);
    for path in ["directory", "new-nonce", "new-account", "new-order", "renewal-info/AA.AA"] {
        assert_eq!(get(&format!("/acme/ca/{path}")), 404, "{path}");
    }
}
