//! RFC 8737

use openssl::nid::Nid;
use openssl::sha::sha256;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::responder::{Responder, ec, rsa};
use super::web::{Web, ok};
use super::*;

fn right() -> Responder {
    Responder::right("a.test", sha256(KEY_AUTHORIZATION.as_bytes()))
}

async fn ask(port: u16, name: &str) -> Outcome {
    let dns = Zone::new().address("a.test", "127.0.0.1").serve().await;
    let options = Options { tls_alpn_port: port, ..options(dns) };
    attempt(options, ChallengeType::TlsAlpn01, name).await
}

async fn prove(responder: Responder) -> Outcome {
    ask(responder.serve().await.port(), "a.test").await
}

#[tokio::test]
async fn the_digest_in_the_certificate_proves_the_name() {
    let address = right().serve().await;
    let evidence = proved(ask(address.port(), "a.test").await);
    says(&evidence, &["acme-tls/1", &address.to_string(), "for a.test alone"]);
}

#[tokio::test]
async fn every_usual_key_and_both_tls_versions_will_do() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let versions = || vec![version];
        for key in [ec(Nid::X9_62_PRIME256V1), ec(Nid::SECP384R1), ec(Nid::SECP521R1), rsa()] {
            proved(prove(Responder { key, versions: versions(), ..right() }).await);
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_over_the_connection_which_ends_after_the_handshake() {
    let (address, heard) = right().serve_and_listen().await;
    proved(ask(address.port(), "a.test").await);
    assert_eq!(heard.await.unwrap(), b"");
}

#[tokio::test]
async fn the_name_is_compared_without_case() {
    proved(prove(Responder { names: vec!["A.Test"], ..right() }).await);
}

#[tokio::test]
async fn a_server_without_acme_tls_1_is_refused() {
    let outcome = prove(Responder { protocols: vec![], ..right() }).await;
    says(&refused(outcome, ProblemType::Tls), &["acme-tls/1", "127.0.0.1:"]);
    let outcome = prove(Responder { protocols: vec!["h2", "http/1.1"], ..right() }).await;
    refused(outcome, ProblemType::Tls);
}

#[tokio::test]
async fn a_certificate_that_departs_from_the_rfc_is_refused() {
    let digest = sha256(KEY_AUTHORIZATION.as_bytes());
    let wrong = [&[4, 32][..], &sha256(b"something else")].concat();
    let proof = || right().proofs.remove(0);
    for (responder, word) in [
        (Responder { proofs: vec![wrong], ..right() }, "is expected"),
        (Responder { proofs: vec![digest.to_vec()], ..right() }, "is expected"),
        (Responder { proofs: vec![[&proof()[..], &[0]].concat()], ..right() }, "is expected"),
        (Responder { proofs: vec![], ..right() }, "no acmeIdentifier"),
        (Responder { proofs: vec![proof(), proof()], ..right() }, "more than one acmeIdentifier"),
        (Responder { critical: false, ..right() }, "not critical"),
        (Responder { names: vec!["a.test", "b.test"], ..right() }, "2 entries"),
        (Responder { names: vec!["a.test", "a.test"], ..right() }, "2 entries"),
        (
            Responder { names: vec!["b.test"], ..right() },
            "\"b.test\", not for the dNSName \"a.test\"",
        ),
        (Responder { names: vec!["*.test"], ..right() }, "not for the dNSName \"a.test\""),
        (Responder { names: vec![], ..right() }, "no subjectAltName"),
    ] {
        let detail = refused(prove(responder).await, ProblemType::IncorrectResponse);
        says(&detail, &[word, "TLS with a.test, acme-tls/1, at 127.0.0.1:"]);
    }
}

#[tokio::test]
async fn a_server_that_does_not_hold_the_certificates_key_is_refused() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let versions = || vec![version];
        refused(
            prove(Responder { stolen: true, versions: versions(), ..right() }).await,
            ProblemType::Tls,
        );
    }
}

#[tokio::test]
async fn plain_http_on_the_port_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_u8().await;
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    refused(ask(port, "a.test").await, ProblemType::Tls);
}

#[tokio::test]
async fn a_server_that_hangs_up_or_stays_silent_may_be_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        drop(listener.accept().await);
        let held = listener.accept().await;
        std::future::pending::<()>().await;
        drop(held);
    });
    unreachable(ask(port, "a.test").await, ProblemType::Tls);
    says(&unreachable(ask(port, "a.test").await, ProblemType::Tls), &["time allowed"]);
    task.abort();
}

#[tokio::test]
async fn nobody_at_the_port_may_be_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let detail = unreachable(ask(port, "a.test").await, ProblemType::Connection);
    says(&detail, &["refused", &format!("127.0.0.1:{port}")]);
}

#[tokio::test]
async fn a_wildcard_is_not_proved_by_tls_or_http() {
    let web = Web::new(|_| ok(KEY_AUTHORIZATION)).serve("127.0.0.1:0").await;
    let dns = Zone::new().address("a.test", "127.0.0.1").serve().await;
    for method in [ChallengeType::TlsAlpn01, ChallengeType::Http01] {
        let outcome = attempt(web.options(dns), method, "*.a.test").await;
        says(&refused(outcome, ProblemType::Unauthorized), &["*.a.test", "dns-01"]);
    }
    assert!(web.requests().is_empty());
}
