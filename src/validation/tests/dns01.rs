//! RFC 8555 §8.4

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_resolver::proto::op::ResponseCode;
use openssl::sha::sha256;
use tokio::net::UdpSocket;

use super::zone::{Lie, NoAnswer, txt};
use super::*;

fn digest() -> String {
    URL_SAFE_NO_PAD.encode(sha256(KEY_AUTHORIZATION.as_bytes()))
}

async fn prove(zone: Zone, name: &str) -> Outcome {
    attempt(options(zone.serve().await), ChallengeType::Dns01, name).await
}

#[tokio::test]
async fn the_digest_proves_the_name() {
    let server = Zone::new().txt("_acme-challenge.a.test", &[&digest()]).serve().await;
    let evidence = proved(attempt(options(server), ChallengeType::Dns01, "a.test").await);
    says(&evidence, &["TXT _acme-challenge.a.test", &server.to_string(), &digest()]);
    assert!(!evidence.contains("DNSSEC"), "{evidence}");
}

#[tokio::test]
async fn the_evidence_says_where_dnssec_proves_the_answer() {
    let zone = Zone::new().txt("_acme-challenge.a.test", &[&digest()]).authentic();
    says(&proved(prove(zone, "a.test").await), &["proved by DNSSEC"]);
}

#[tokio::test]
async fn a_wildcard_is_proved_at_its_base_name() {
    let zone = Zone::new().txt("_acme-challenge.a.test", &[&digest()]);
    proved(prove(zone, "*.a.test").await);
}

#[tokio::test]
async fn one_right_value_among_several_is_enough() {
    let zone = Zone::new()
        .txt("_acme-challenge.a.test", &["somebody else's"])
        .txt("_acme-challenge.a.test", &[&digest()])
        .txt("_acme-challenge.a.test", &[""]);
    proved(prove(zone, "a.test").await);
}

#[tokio::test]
async fn the_strings_of_one_record_are_joined() {
    let digest = digest();
    let (head, tail) = digest.split_at(7);
    proved(prove(Zone::new().txt("_acme-challenge.a.test", &[head, tail]), "a.test").await);
}

#[tokio::test]
async fn the_strings_of_two_records_are_not_joined() {
    let digest = digest();
    let (head, tail) = digest.split_at(7);
    let zone =
        Zone::new().txt("_acme-challenge.a.test", &[head]).txt("_acme-challenge.a.test", &[tail]);
    refused(prove(zone, "a.test").await, ProblemType::IncorrectResponse);
}

#[tokio::test]
async fn cnames_are_followed() {
    for zone in [Zone::new(), Zone::new().one_link_at_a_time(), Zone::new().shouting()] {
        let zone = zone
            .cname("_acme-challenge.a.test", "a.validation.test")
            .cname("a.validation.test", "b.validation.test")
            .txt("b.validation.test", &[&digest()]);
        proved(prove(zone, "a.test").await);
    }
}

#[tokio::test]
async fn a_cname_loop_ends() {
    let zone = Zone::new().cname("_acme-challenge.a.test", "_acme-challenge.a.test");
    let detail = unreachable(prove(zone, "a.test").await, ProblemType::Dns);
    says(&detail, &["CNAME"]);
}

#[tokio::test]
async fn a_record_beside_the_chain_is_no_answer() {
    let zone = Zone::new().cname("_acme-challenge.a.test", "b.test").txt("b.test", &["wrong"]);
    let zone = zone.txt("_acme-challenge.c.test", &[&digest()]);
    refused(prove(zone, "a.test").await, ProblemType::IncorrectResponse);
}

#[tokio::test]
async fn wrong_values_are_shown_cut_and_escaped() {
    let long = "x".repeat(200);
    let zone = Zone::new()
        .txt("_acme-challenge.a.test", &["\u{1b}[31mred"])
        .txt("_acme-challenge.a.test", &[&long]);
    let detail = refused(prove(zone, "a.test").await, ProblemType::IncorrectResponse);
    says(&detail, &["\\x1b[31mred", "xxx…", &digest(), "TXT _acme-challenge.a.test"]);
    assert!(!detail.contains(&long));
}

#[tokio::test]
async fn a_key_authorization_itself_is_not_its_digest() {
    let zone = Zone::new().txt("_acme-challenge.a.test", &[KEY_AUTHORIZATION]);
    refused(prove(zone, "a.test").await, ProblemType::IncorrectResponse);
}

#[tokio::test]
async fn no_name_and_no_record_are_told_apart() {
    let detail = refused(prove(Zone::new(), "a.test").await, ProblemType::Dns);
    says(&detail, &["NXDOMAIN", "TXT _acme-challenge.a.test", "127.0.0.1:"]);
    let zone = Zone::new().address("_acme-challenge.a.test", "127.0.0.1");
    let detail = refused(prove(zone, "a.test").await, ProblemType::Dns);
    says(&detail, &["without such a record", "DNS TXT "]);
}

#[tokio::test]
async fn a_failing_resolver_is_named_and_may_be_asked_again() {
    for (code, word) in [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
        (ResponseCode::NotImp, "NOTIMP"),
    ] {
        let server = Zone::new().rcode("_acme-challenge.a.test", code).serve().await;
        let outcome = attempt(options(server), ChallengeType::Dns01, "a.test").await;
        says(&unreachable(outcome, ProblemType::Dns), &[word, &server.to_string()]);
    }
}

#[tokio::test]
async fn a_silent_resolver_is_given_up() {
    let zone = Zone::new().silent("_acme-challenge.a.test");
    let detail = unreachable(prove(zone, "a.test").await, ProblemType::Dns);
    says(&detail, &["did not answer within 0.5 s"]);
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_fails() {
    let failing = Zone::new().rcode("_acme-challenge.a.test", ResponseCode::ServFail).serve().await;
    let silent = Zone::new().silent("_acme-challenge.a.test").serve().await;
    let right = Zone::new().txt("_acme-challenge.a.test", &[&digest()]).serve().await;
    let three = Options { resolvers: vec![failing, silent, right], ..options(right) };
    says(&proved(attempt(three, ChallengeType::Dns01, "a.test").await), &[&right.to_string()]);

    let two = Options { resolvers: vec![failing, silent], ..options(right) };
    let detail = unreachable(attempt(two, ChallengeType::Dns01, "a.test").await, ProblemType::Dns);
    says(&detail, &["SERVFAIL", "did not answer", &failing.to_string(), &silent.to_string()]);
}

#[tokio::test]
async fn many_silent_resolvers_do_not_stretch_the_attempt() {
    let silent = Zone::new().silent("_acme-challenge.a.test").serve().await;
    let began = std::time::Instant::now();
    let many = Options { resolvers: vec![silent; 20], ..options(silent) };
    unreachable(attempt(many, ChallengeType::Dns01, "a.test").await, ProblemType::Dns);
    // Asked one after the other they would take ten.
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn an_answer_too_big_for_udp_comes_over_tcp() {
    let other = "x".repeat(200);
    let mut zone = Zone::new();
    for _ in 0..60 {
        zone = zone.txt("_acme-challenge.a.test", &[&other]);
    }
    let zone = zone.txt("_acme-challenge.a.test", &[&digest()]);
    says(&proved(prove(zone, "a.test").await), &["61 values"]);
}

#[tokio::test]
async fn a_forged_answer_is_passed_over() {
    for lie in [Lie::Id, Lie::Question] {
        let zone =
            Zone::new().txt("_acme-challenge.a.test", &["the truth"]).lying(lie, txt(&[&digest()]));
        let detail = refused(prove(zone, "a.test").await, ProblemType::IncorrectResponse);
        says(&detail, &["the truth"]);
    }
}

#[tokio::test]
async fn an_answer_that_answers_nothing_proves_nothing() {
    for how in [NoAnswer::CutShort, NoAnswer::Referral, NoAnswer::Echo] {
        let zone = Zone::new().txt("_acme-challenge.a.test", &[&digest()]).evasive(how);
        unreachable(prove(zone, "a.test").await, ProblemType::Dns);
    }
    let zone = Zone::new().txt("_acme-challenge.a.test", &[&digest()]).evasive(NoAnswer::OtherName);
    refused(prove(zone, "a.test").await, ProblemType::Dns);
}

#[tokio::test]
async fn noise_instead_of_dns_is_given_up() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer).await {
            let mut noise = buffer[..2].to_vec();
            noise.extend([0xff; 40]);
            socket.send_to(&noise, peer).await.unwrap();
        }
    });
    unreachable(attempt(options(server), ChallengeType::Dns01, "a.test").await, ProblemType::Dns);
}
