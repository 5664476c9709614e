//! CRLs (RFC 5280 §5): served, named by certificates, judged by OpenSSL.

use std::fs;
use std::process::Command;
use std::time::Instant;

use harness::command;
use harness::key::base64url;
use harness::server::plain_request;
use harness::{Client, Port, Server, Settings};
use openssl::x509::X509;
use serde_json::json;

use crate::{server, server_with};

/// What OpenSSL shows of a CRL in PEM.
pub(crate) fn text(crl: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), crl).unwrap();
    command::run(Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(file.path()))
}

async fn revoke(client: &mut Client, certificate: &X509) {
    let url = client.url("revokeCert");
    let payload = json!({ "certificate": base64url(certificate.to_der().unwrap()), "reason": 4 });
    client.post(&url, &payload).await.expect(200);
}

/// Whether OpenSSL accepts a chain with this CRL.
fn verify(server: &Server, chain: &[X509], crl: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("leaf.pem"), chain[0].to_pem().unwrap()).unwrap();
    let above: Vec<_> = chain[1..].iter().flat_map(|one| one.to_pem().unwrap()).collect();
    fs::write(file("above.pem"), above).unwrap();
    fs::write(file("crl.pem"), crl).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-crl_check", "-untrusted", "above.pem"]);
    openssl.arg("-CAfile").arg(server.root()).args(["-CRLfile", "crl.pem", "leaf.pem"]);
    let output = command::output(openssl.current_dir(folder.path()));
    let verified = command::text(&output);
    let mut openssl = Command::new("openssl");
    openssl.args(["crl", "-noout", "-verify", "-in", "crl.pem", "-CAfile", "above.pem"]);
    let signed = command::text(&command::output(openssl.current_dir(folder.path())));
    assert!(signed.contains("verify OK"), "{signed}");
    (output.status.success(), verified)
}

fn number(crl: &str) -> u64 {
    let text = text(crl);
    let (_, rest) = text.split_once("X509v3 CRL Number:").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_crl_is_there_from_the_start_and_tells_of_a_revocation_at_once() {
    let server = server().await;
    let empty = server.crl("ca", 0).await;
    assert_eq!(number(&empty), 1);
    let mut client = server.account("ca").await;
    let good = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let bad = client.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    assert!(verify(&server, &bad, &empty).0);
    revoke(&mut client, &bad[0]).await;
    let crl = server.crl("ca", 1).await;
    assert_eq!(number(&crl), 2);
    assert!(text(&crl).contains("Superseded"));
    assert!(verify(&server, &good, &crl).0);
    let (verified, said) = verify(&server, &bad, &crl);
    assert!(!verified && said.contains("certificate revoked"), "{said}");
}

#[tokio::test]
async fn revocations_in_a_burst_share_a_crl() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut certificates = Vec::new();
    for _ in 0..12 {
        let order = client.order(&["a.test"]).await.prove("http-01").await;
        certificates.push(order.finalize().await.remove(0));
    }
    let begun = Instant::now();
    for certificate in &certificates {
        revoke(&mut client, certificate).await;
    }
    let crl = server.crl("ca", 12).await;
    // The empty one, one at once, and one for each further second of the burst.
    let most = 3 + begun.elapsed().as_secs();
    assert!(number(&crl) <= most, "{} CRLs for one burst", number(&crl));
}

#[tokio::test]
async fn both_listeners_serve_it_for_caches_and_certificates_name_it() {
    let port = Port::reserve();
    let address = port.address();
    let base = format!("http://localhost:{}", port.number);
    let settings = Settings {
        server: format!("http_listen = \"{address}\"\nhttp_url = \"{base}/\""),
        ..Settings::key_file()
    };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let shown = String::from_utf8(chain[0].to_text().unwrap()).unwrap();
    assert!(shown.contains(&format!("URI:{base}/crl/ca.crl\n")), "{shown}");
    assert!(shown.contains(&format!("CA Issuers - URI:{base}/ca/ca.cer\n")), "{shown}");
    server.crl("ca", 0).await;

    let get = |method: &str, headers: &str| {
        plain_request(address, method, "/crl/ca.crl", headers).unwrap()
    };
    let full = get("GET", "");
    assert_eq!(full.status, 200);
    assert_eq!(full.header("content-type"), "application/pkix-crl");
    assert_eq!(full.header("cache-control"), "public, max-age=300");
    let (etag, modified) = (full.header("etag"), full.header("last-modified"));
    assert!(modified.ends_with(" GMT") && etag.starts_with('"'), "{modified} {etag}");
    openssl::x509::X509Crl::from_der(&full.body).unwrap();
    let head = get("HEAD", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), full.body.len().to_string());
    for known in [
        format!("If-None-Match: {etag}\r\n"),
        format!("If-None-Match: \"x\", W/{etag}\r\n"),
        format!("If-Modified-Since: {modified}\r\n"),
    ] {
        let answer = get("GET", &known);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
        assert_eq!(answer.header("etag"), etag);
    }
    for unknown in [
        format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {modified}\r\n"),
        "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
    ] {
        assert_eq!(get("GET", &unknown).status, 200, "{unknown}");
    }
    for nowhere in ["/crl/other.crl", "/crl/ca", "/crl/ca.pem", "/crl/"] {
        assert_eq!(plain_request(address, "GET", nowhere, "").unwrap().status, 404, "{nowhere}");
    }
    assert_eq!(plain_request(address, "POST", "/crl/ca.crl", "").unwrap().status, 405);
    // What the certificate names is the CA's certificate.
    let issuer = plain_request(address, "GET", "/ca/ca.cer", "").unwrap();
    assert_eq!(issuer.body, chain[1].to_der().unwrap());
}

#[tokio::test]
async fn without_a_base_certificates_name_no_crl() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let shown = String::from_utf8(chain[0].to_text().unwrap()).unwrap();
    assert!(!shown.contains("URI:"), "{shown}");
    assert!(server.log().contains("name no CRL"), "{}", server.log());
}
