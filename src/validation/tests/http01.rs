//! RFC 8555 §8.3

use std::sync::atomic::{AtomicUsize, Ordering};

use super::web::{Reply, ok, redirect, status};
use super::*;

const PATH: &str = "/.well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

async fn zone() -> SocketAddr {
    Zone::new()
        .address("a.test", "127.0.0.1")
        .address("b.test", "127.0.0.1")
        .address("metadata.test", "169.254.169.254")
        .serve()
        .await
}

async fn prove(web: Web) -> Outcome {
    let web = web.serve("127.0.0.1:0").await;
    attempt(web.options(zone().await), ChallengeType::Http01, "a.test").await
}

/// Redirects the challenge to `location`, where `{port}` is the server's own, and fulfils it
/// everywhere else.
async fn redirected(location: &'static str) -> Outcome {
    prove(Web::new(move |head| {
        if !head.starts_with(&format!("GET {PATH} ")) {
            return ok(KEY_AUTHORIZATION);
        }
        let host = head.split("Host: ").nth(1).unwrap().lines().next().unwrap();
        redirect(&location.replace("{port}", host.rsplit(':').next().unwrap()))
    }))
    .await
}

#[tokio::test]
async fn the_key_authorization_proves_the_name() {
    let web = Web::right().serve("127.0.0.1:0").await;
    let evidence =
        proved(attempt(web.options(zone().await), ChallengeType::Http01, "a.test").await);
    says(&evidence, &[&format!("GET http://a.test:{}{PATH}", web.address.port())]);
    says(&evidence, &[&format!("at {}: 200 OK with ", web.address)]);
    let requests = web.requests();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    says(
        request,
        &[
            &format!("GET {PATH} HTTP/1.1\r\n"),
            &format!("Host: a.test:{}\r\n", web.address.port()),
            "User-Agent: kipuka/",
        ],
    );
}

#[tokio::test]
async fn white_space_at_the_end_of_the_body_is_ignored() {
    proved(prove(Web::new(|_| ok(&format!("{KEY_AUTHORIZATION} \t\r\n\n")))).await);
}

#[tokio::test]
async fn a_chunked_body_and_one_that_ends_with_the_connection_are_read() {
    let (head, tail) = KEY_AUTHORIZATION.split_at(10);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{head}\r\n{:x}\r\n{tail}\r\n\
         0\r\n\r\n",
        head.len(),
        tail.len()
    );
    let until_the_end = format!("HTTP/1.0 200 OK\r\n\r\n{KEY_AUTHORIZATION}");
    for answer in [chunked, until_the_end] {
        proved(prove(Web::new(move |_| Reply::Whole(answer.clone()))).await);
    }
}

#[tokio::test]
async fn another_body_is_refused() {
    for body in [
        "",
        TOKEN,
        "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.another",
        &format!(" {KEY_AUTHORIZATION}"),
        &format!("{KEY_AUTHORIZATION}x"),
        &format!("{KEY_AUTHORIZATION}\n{KEY_AUTHORIZATION}"),
    ] {
        let body = body.to_owned();
        let outcome = prove(Web::new(move |_| ok(&body))).await;
        let detail = refused(outcome, ProblemType::IncorrectResponse);
        says(&detail, &["GET http://a.test:", "at 127.0.0.1:", "200 OK", KEY_AUTHORIZATION]);
    }
}

#[tokio::test]
async fn another_status_than_200_is_refused_even_with_the_right_body() {
    for code in
        ["404 Not Found", "403 Forbidden", "201 Created", "204 No Content", "304 Not Modified"]
    {
        let outcome = prove(Web::new(move |_| status(code, KEY_AUTHORIZATION))).await;
        says(&refused(outcome, ProblemType::IncorrectResponse), &[code]);
    }
    let outcome = prove(Web::new(|_| status("404 Not Found", "\u{1b}<h1>gone\r\n</h1>"))).await;
    says(&refused(outcome, ProblemType::IncorrectResponse), &["\\x1b<h1>gone\\r\\n</h1>"]);
}

#[tokio::test]
async fn a_server_in_trouble_may_be_asked_again() {
    for code in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let outcome = prove(Web::new(move |_| status(code, "later"))).await;
        says(&unreachable(outcome, ProblemType::IncorrectResponse), &[code, "later"]);
    }
}

/// The first `count` requests are redirected, the next is answered.
fn chain(count: usize) -> Web {
    let seen = AtomicUsize::new(0);
    Web::new(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        n if n < count => redirect(&format!("/hop/{n}")),
        _ => ok(KEY_AUTHORIZATION),
    })
}

#[tokio::test]
async fn ten_redirects_are_followed_and_an_eleventh_is_not() {
    says(&proved(prove(chain(10)).await), &["10 redirects", "/hop/9"]);
    let detail = refused(prove(chain(11)).await, ProblemType::IncorrectResponse);
    says(&detail, &["more than 10 redirects"]);
}

#[tokio::test]
async fn every_kind_of_redirect_may_lead_to_another_host() {
    for code in [301, 302, 303, 307, 308] {
        let web = Web::new(move |head| {
            if head.contains("Host: b.test") && head.starts_with("GET /elsewhere?x=1 ") {
                ok(KEY_AUTHORIZATION)
            } else {
                let to = "http://b.test/elsewhere?x=1#part";
                Reply::Whole(format!("HTTP/1.1 {code} Go\r\nLocation: {to}\r\n\r\n"))
            }
        });
        says(&proved(prove(web).await), &["GET http://b.test:", "1 redirect from http://a.test:"]);
    }
}

#[tokio::test]
async fn a_redirect_to_https_is_followed_and_its_certificate_not_verified() {
    let https = Web::right().serve_tls("127.0.0.1:0").await;
    let http = Web::new(|_| redirect("https://b.test/x")).serve("127.0.0.1:0").await;
    let options = Options { https_port: https.address.port(), ..http.options(zone().await) };
    let evidence = proved(attempt(options, ChallengeType::Http01, "a.test").await);
    says(&evidence, &[&format!("GET https://b.test:{}/x", https.address.port())]);
}

#[tokio::test]
async fn a_redirect_that_may_not_be_followed_is_refused() {
    for (location, word) in [
        ("http://b.test:8081/", "only ports"),
        ("https://b.test:22/", "only ports"),
        ("ftp://b.test/", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://b.test:{port}/", "only http and https"),
        ("http://user@b.test:{port}/", "user name"),
        ("http://user:secret@b.test:{port}/", "user name"),
        ("http://:secret@b.test:{port}/", "user name"),
        ("http://", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://b\u{e4}.test/", "not ASCII"),
    ] {
        let detail = refused(redirected(location).await, ProblemType::IncorrectResponse);
        says(&detail, &[word, "answered 302 Found", "GET http://a.test:"]);
    }
    let long: &'static str = format!("/{}", "x".repeat(3000)).leak();
    let detail = refused(redirected(long).await, ProblemType::IncorrectResponse);
    says(&detail, &["too long"]);
    assert!(detail.len() < 500, "{detail}");
}

#[tokio::test]
async fn a_redirect_without_location_is_refused() {
    let outcome = prove(Web::new(|_| status("301 Moved Permanently", ""))).await;
    says(&refused(outcome, ProblemType::IncorrectResponse), &["no Location"]);
}

#[tokio::test]
async fn a_redirect_into_a_denied_network_is_refused() {
    for location in [
        "http://metadata.test:{port}/latest",
        "http://169.254.169.254:{port}/",
        "http://0xa9fea9fe:{port}/",
        "http://[::ffff:169.254.169.254]:{port}/",
        "http://[::]:{port}/",
    ] {
        let detail = refused(redirected(location).await, ProblemType::Connection);
        says(&detail, &["after 1 redirect from http://a.test:", "may not connect there"]);
    }
}

#[tokio::test]
async fn a_redirect_to_an_ipv6_literal_is_followed_in_brackets() {
    let web = Web::right().serve("[::1]:0").await;
    let port = web.address.port();
    let first =
        Web::new(move |_| redirect(&format!("http://[::1]:{port}/x"))).serve("127.0.0.1:0").await;
    let options = Options { https_port: port, ..first.options(zone().await) };
    proved(attempt(options, ChallengeType::Http01, "a.test").await);
    says(&web.requests()[0], &[&format!("Host: [::1]:{port}\r\n")]);
}

#[tokio::test]
async fn of_what_comes_after_a_redirect_a_problem_tells_the_status_alone() {
    let secret = "SECRET-OF-AN-INTERNAL-SERVER";
    for code in ["200 OK", "404 Not Found", "500 Internal Server Error"] {
        let web = Web::new(move |head| {
            if head.starts_with(&format!("GET {PATH} ")) {
                redirect("http://b.test/admin")
            } else {
                status(code, secret)
            }
        });
        let outcome = prove(web).await;
        let (Outcome::Refused(problem) | Outcome::Unreachable(problem)) = outcome else {
            panic!("{outcome:?}")
        };
        says(&problem.detail, &["GET http://b.test:", "/admin", code, "not shown"]);
        assert!(!problem.detail.contains(secret), "{}", problem.detail);
    }
    // Nor where an internal server would send its own clients.
    for next in ["/x?SECRET-OF-AN-INTERNAL-SERVER", "ftp://SECRET-OF-AN-INTERNAL-SERVER/"] {
        let web = Web::new(move |head| {
            let path = head.split(' ').nth(1).unwrap();
            match path {
                PATH => redirect("http://b.test/admin"),
                "/admin" => redirect(next),
                _ => status("404 Not Found", secret),
            }
        });
        let detail = refused(prove(web).await, ProblemType::IncorrectResponse);
        assert!(!detail.to_uppercase().contains(secret), "{detail}");
        says(&detail, &["from http://a.test:"]);
    }
}

#[tokio::test]
async fn a_body_without_redirect_is_shown_for_it_is_the_clients_own() {
    let outcome = prove(Web::new(|_| status("404 Not Found", "nothing here"))).await;
    says(&refused(outcome, ProblemType::IncorrectResponse), &["nothing here"]);
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    for head in ["", "Content-Length: 100000000000\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n{KEY_AUTHORIZATION}");
        let outcome = prove(Web::new(move |_| Reply::Endless(head.clone()))).await;
        says(&refused(outcome, ProblemType::IncorrectResponse), &["more than 4096 octets"]);
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let head = "HTTP/1.1 200 OK\r\nX: ".to_owned();
    let outcome = prove(Web::new(move |_| Reply::Endless(head.clone()))).await;
    refused(outcome, ProblemType::IncorrectResponse);
    let many = "X: y\r\n".repeat(100);
    let answer = format!("HTTP/1.1 200 OK\r\n{many}\r\n{KEY_AUTHORIZATION}");
    let outcome = prove(Web::new(move |_| Reply::Whole(answer.clone()))).await;
    refused(outcome, ProblemType::IncorrectResponse);
}

#[tokio::test]
async fn something_else_than_http_is_refused() {
    let outcome = prove(Web::new(|_| Reply::Whole("SSH-2.0-OpenSSH_9.2\r\n".to_owned()))).await;
    refused(outcome, ProblemType::IncorrectResponse);
}

#[tokio::test]
async fn a_slow_server_is_given_up() {
    for (sent, word) in [
        ("", "no answer came"),
        ("HTTP/1.1 200 OK\r\n", "no answer came"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\nLoq", "the body is incomplete"),
    ] {
        let outcome = prove(Web::new(move |_| Reply::Stall(sent.to_owned()))).await;
        says(&unreachable(outcome, ProblemType::Connection), &[word]);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_may_be_tried_again() {
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Length: 87\r\n\r\nLoq"] {
        let outcome = prove(Web::new(move |_| Reply::Whole(sent.to_owned()))).await;
        unreachable(outcome, ProblemType::Connection);
    }
}

#[tokio::test]
async fn ipv4_is_tried_where_ipv6_does_not_answer() {
    let dns = Zone::new().address("a.test", "::1").address("a.test", "127.0.0.1").serve().await;
    let web = Web::right().serve("127.0.0.1:0").await;
    proved(attempt(web.options(dns), ChallengeType::Http01, "a.test").await);
}

#[tokio::test]
async fn ipv6_comes_first() {
    let dns = Zone::new().address("a.test", "127.0.0.1").address("a.test", "::1").serve().await;
    let web = Web::right().serve("[::1]:0").await;
    let other = Web::right().serve(&format!("127.0.0.1:{}", web.address.port())).await;
    says(&proved(attempt(web.options(dns), ChallengeType::Http01, "a.test").await), &["at [::1]:"]);
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn nobody_at_any_address_may_be_tried_again() {
    let dns = Zone::new().address("a.test", "::1").address("a.test", "127.0.0.1").serve().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { http_port: gone.port(), ..options(dns) };
    let outcome = attempt(options, ChallengeType::Http01, "a.test").await;
    let detail = unreachable(outcome, ProblemType::Connection);
    says(&detail, &["[::1]:", &gone.to_string(), "refused", "GET http://a.test:"]);
}

#[tokio::test]
async fn a_name_without_address_is_refused_and_a_failing_resolver_is_not() {
    let outcome = attempt(options(zone().await), ChallengeType::Http01, "nowhere.test").await;
    says(&refused(outcome, ProblemType::Dns), &["NXDOMAIN", "DNS A and AAAA nowhere.test"]);
    let silent = Zone::new().silent("a.test").serve().await;
    let outcome = attempt(options(silent), ChallengeType::Http01, "a.test").await;
    unreachable(outcome, ProblemType::Dns);
}

#[tokio::test]
async fn names_under_localhost_are_this_machine_without_dns() {
    let nobody = "127.0.0.1:9".parse().unwrap();
    let web = Web::right().serve("127.0.0.1:0").await;
    for name in ["test.localhost", "localhost"] {
        proved(attempt(web.options(nobody), ChallengeType::Http01, name).await);
    }
    let options = Options { localhost_is_this_machine: false, ..web.options(zone().await) };
    refused(attempt(options, ChallengeType::Http01, "test.localhost").await, ProblemType::Dns);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let nobody = "http://127.0.0.1:9";
    let direct = "validation::tests::http01::the_key_authorization_proves_the_name";
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", direct])
        .envs(
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
                .map(|name| (name, nobody)),
        )
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && out.contains("1 passed"), "{out}");
}
