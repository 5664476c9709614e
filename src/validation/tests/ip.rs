//! RFC 8738

use openssl::sha::sha256;

use super::responder::Responder;
use super::web::redirect;
use super::*;

const V6_REVERSE: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa";

/// No resolver answers there: an address needs none.
const NOBODY: &str = "127.0.0.1:9";

fn right(address: &'static str) -> Responder {
    Responder::right(address, sha256(KEY_AUTHORIZATION.as_bytes()))
}

async fn ask(port: u16, address: &str) -> Outcome {
    let options = Options { tls_alpn_port: port, ..options(NOBODY.parse().unwrap()) };
    attempt(options, ChallengeType::TlsAlpn01, address).await
}

#[tokio::test]
async fn http_01_asks_the_address_itself_and_calls_it_by_its_literal() {
    for (listen, address, host) in
        [("127.0.0.1:0", "127.0.0.1", "127.0.0.1"), ("[::1]:0", "::1", "[::1]")]
    {
        let web = Web::right().serve(listen).await;
        let options = web.options(NOBODY.parse().unwrap());
        proved(attempt(options, ChallengeType::Http01, address).await);
        let requests = web.requests();
        says(&requests[0], &[&format!("Host: {host}:{}\r\n", web.address.port())]);
        assert_eq!(requests.len(), 1);
    }
}

#[tokio::test]
async fn http_01_of_an_address_follows_redirects_as_that_of_a_name_does() {
    let second = Web::right().serve("[::1]:0").await;
    let port = second.address.port();
    let first = Web::new(move |_| redirect(&format!("http://[::1]:{port}/x")));
    let first = first.serve("127.0.0.1:0").await;
    let options = Options { https_port: port, ..first.options(NOBODY.parse().unwrap()) };
    proved(attempt(options, ChallengeType::Http01, "127.0.0.1").await);
}

#[tokio::test]
async fn tls_alpn_01_calls_an_address_by_its_reverse_name() {
    for (listen, address, name) in
        [("127.0.0.1:0", "127.0.0.1", "1.0.0.127.in-addr.arpa"), ("[::1]:0", "::1", V6_REVERSE)]
    {
        let responder = Responder { only_for: Some(name), ..right(address) };
        let at = responder.serve_at(listen).await;
        let evidence = proved(ask(at.port(), address).await);
        says(&evidence, &[name, &format!("for {address} alone")]);
        let other = Responder { only_for: Some("a.test"), ..right(address) };
        let at = other.serve_at(listen).await;
        refused(ask(at.port(), address).await, ProblemType::Tls);
    }
}

#[tokio::test]
async fn the_challenge_certificate_of_an_address_has_that_address_and_nothing_else() {
    for names in [
        vec!["127.0.0.2"],
        vec!["::1"],
        vec!["127.0.0.1", "127.0.0.2"],
        vec!["127.0.0.1", "a.test"],
        vec!["1.0.0.127.in-addr.arpa"],
        vec!["::ffff:127.0.0.1"],
    ] {
        let responder = Responder { names: names.clone(), ..right("127.0.0.1") };
        let at = responder.serve().await;
        let detail = refused(ask(at.port(), "127.0.0.1").await, ProblemType::IncorrectResponse);
        says(&detail, &["the iPAddress 127.0.0.1"]);
    }
    // Nor is an address a name.
    let at = right("127.0.0.1").serve().await;
    let dns = Zone::new().address("a.test", "127.0.0.1").serve().await;
    let options = Options { tls_alpn_port: at.port(), ..options(dns) };
    let outcome = attempt(options, ChallengeType::TlsAlpn01, "a.test").await;
    says(&refused(outcome, ProblemType::IncorrectResponse), &["not for the dNSName \"a.test\""]);
}

#[tokio::test]
async fn an_address_in_a_denied_network_is_not_connected_to() {
    let web = Web::right().serve("127.0.0.1:0").await;
    for (denied, address) in [
        ("127.0.0.0/8", "127.0.0.1"),
        ("::1/128", "::1"),
        ("10.0.0.0/8", "169.254.169.254"),
        ("10.0.0.0/8", "fd00:ec2::254"),
        ("10.0.0.0/8", "64:ff9b::a9fe:a9fe"),
    ] {
        for method in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
            let options = Options {
                denied_networks: vec![denied.parse().unwrap()],
                tls_alpn_port: web.address.port(),
                ..web.options(NOBODY.parse().unwrap())
            };
            let outcome = attempt(options, method, address).await;
            says(&refused(outcome, ProblemType::Connection), &["may not connect there"]);
        }
    }
    assert!(web.requests().is_empty());
}

#[tokio::test]
async fn no_method_of_dns_proves_an_address() {
    let dns = [ChallengeType::Dns01, ChallengeType::DnsAccount01, ChallengeType::DnsPersist01];
    for method in dns {
        let outcome = attempt(options(NOBODY.parse().unwrap()), method, "127.0.0.1").await;
        says(&refused(outcome, ProblemType::Unauthorized), &["cannot be proved by"]);
    }
}
