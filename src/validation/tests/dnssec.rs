//! `require_dnssec`: what a resolver does not vouch for does not count.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_resolver::proto::op::ResponseCode;
use openssl::sha::sha256;

use super::*;

const PERSIST: &str = "ca.test; accounturi=https://ca.test/acme/ca/account/1";

fn zone() -> Zone {
    let digest = URL_SAFE_NO_PAD.encode(sha256(KEY_AUTHORIZATION.as_bytes()));
    Zone::new()
        .txt("_acme-challenge.a.test", &[&digest])
        .txt("_validation-persist.a.test", &[PERSIST])
        .caa("a.test", "issue", "ca.test")
}

async fn strict(zone: Zone) -> Options {
    Options { require_dnssec: true, ..options(zone.serve().await) }
}

async fn caa(options: Options, name: &str) -> Outcome {
    let validator = Validator::new(options).unwrap();
    let question = CaaQuestion {
        identifier: &identifier(name),
        issuers: &[ISSUER.to_owned()],
        account_url: None,
        method: ChallengeType::Dns01,
    };
    validator.check_caa(question).await
}

#[tokio::test]
async fn an_answer_that_dnssec_proves_counts() {
    for method in [ChallengeType::Dns01, ChallengeType::DnsPersist01] {
        let outcome = attempt(strict(zone().authentic()).await, method, "a.test").await;
        says(&proved(outcome), &["proved by DNSSEC"]);
    }
    says(&proved(caa(strict(zone().authentic()).await, "a.test").await), &["proved by DNSSEC"]);
    // That there is nothing can be proved, too.
    proved(caa(strict(Zone::new().authentic()).await, "b.test").await);
}

#[tokio::test]
async fn an_answer_that_dnssec_does_not_prove_is_refused_and_says_so() {
    for method in [ChallengeType::Dns01, ChallengeType::DnsPersist01] {
        let outcome = attempt(strict(zone()).await, method, "a.test").await;
        says(&refused(outcome, ProblemType::Dns), &["AD bit", "require_dnssec"]);
    }
    says(&refused(caa(strict(zone()).await, "a.test").await, ProblemType::Dns), &["AD bit"]);
    // An empty answer that nobody vouches for may hide records.
    refused(caa(strict(Zone::new()).await, "b.test").await, ProblemType::Dns);
    let nothing = strict(Zone::new()).await;
    let outcome = attempt(nothing, ChallengeType::Dns01, "b.test").await;
    says(&refused(outcome, ProblemType::Dns), &["AD bit"]);
}

#[tokio::test]
async fn a_bogus_answer_is_servfail_and_proves_nothing() {
    for require_dnssec in [false, true] {
        let zone = zone()
            .rcode("_acme-challenge.a.test", ResponseCode::ServFail)
            .rcode("a.test", ResponseCode::ServFail)
            .authentic();
        let options = Options { require_dnssec, ..options(zone.serve().await) };
        let outcome = attempt(options.clone(), ChallengeType::Dns01, "a.test").await;
        says(&unreachable(outcome, ProblemType::Dns), &["SERVFAIL"]);
        says(&unreachable(caa(options, "a.test").await, ProblemType::Dns), &["SERVFAIL"]);
    }
}

#[tokio::test]
async fn the_address_of_a_web_server_need_not_be_proved() {
    let dns = Zone::new().address("a.test", "127.0.0.1").serve().await;
    let web = Web::right().serve("127.0.0.1:0").await;
    let options = Options { require_dnssec: true, ..web.options(dns) };
    proved(attempt(options, ChallengeType::Http01, "a.test").await);
}

#[tokio::test]
async fn a_validating_resolver_tells_signed_unsigned_and_bogus_zones_apart() {
    let digest = URL_SAFE_NO_PAD.encode(sha256(KEY_AUTHORIZATION.as_bytes()));
    let records = format!(
        "_acme-challenge.a TXT \"{digest}\"\n_acme-challenge.b CNAME proof\nproof TXT \"{digest}\"\n\
         a CAA 0 issue \"ca.test\"\nb CNAME a\nc CAA 0 issue \";\"\n*.w TXT \"{digest}\"\n"
    );
    let resolver = harness::ValidatingResolver::start(&records);
    let ask = |require_dnssec, name: &'static str| {
        let options = Options { require_dnssec, ..options(resolver.address) };
        async move {
            let proof = attempt(options.clone(), ChallengeType::Dns01, name).await;
            (proof, caa(options, name).await)
        }
    };
    // Signed: an answer, one behind an alias, one that a wildcard made, and that there is none.
    for name in ["a.test", "b.test"] {
        let (proof, permission) = ask(true, name).await;
        says(&proved(proof), &["proved by DNSSEC"]);
        says(&proved(permission), &["proved by DNSSEC", "permits it"]);
    }
    refused(ask(true, "c.test").await.1, ProblemType::Caa);
    let (proof, permission) = ask(true, "w.test").await;
    says(&proved(proof), &["proved by DNSSEC"]);
    proved(permission);
    says(&refused(ask(true, "nothing.test").await.0, ProblemType::Dns), &["NXDOMAIN"]);
    // Not signed: good enough unless DNSSEC is required.
    let (proof, permission) = ask(false, "a.plain.test").await;
    assert!(!proved(proof).contains("DNSSEC"));
    proved(permission);
    let (proof, permission) = ask(true, "a.plain.test").await;
    says(&refused(proof, ProblemType::Dns), &["AD bit"]);
    says(&refused(permission, ProblemType::Dns), &["AD bit"]);
    // Bogus: never.
    for require_dnssec in [false, true] {
        let (proof, permission) = ask(require_dnssec, "a.bogus.test").await;
        says(&unreachable(proof, ProblemType::Dns), &["SERVFAIL"]);
        says(&unreachable(permission, ProblemType::Dns), &["SERVFAIL"]);
    }
}
