//! draft-sheurich-acme-dns-persist, and the label of draft-ietf-acme-dns-account-label.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_resolver::proto::op::ResponseCode;
use openssl::sha::sha256;

use super::*;

const OWNER: &str = "_validation-persist.a.test";
const RIGHT: &str = "ca.test; accounturi=https://ca.test/acme/ca/account/1";

async fn prove(zone: Zone, name: &str) -> Outcome {
    attempt(options(zone.serve().await), ChallengeType::DnsPersist01, name).await
}

async fn with(value: &str, name: &str) -> Outcome {
    prove(Zone::new().txt(OWNER, &[value]), name).await
}

#[tokio::test]
async fn a_record_for_this_ca_and_this_account_proves_the_name() {
    says(&proved(with(RIGHT, "a.test").await), &[&format!("DNS TXT {OWNER}: 127.0.0.1:")]);
    let (head, tail) = RIGHT.split_at(9);
    proved(prove(Zone::new().txt(OWNER, &[head, tail]), "a.test").await);
    for value in [
        "second.test;accounturi=https://ca.test/acme/ca/account/1",
        "CA.test ; AccountUri=https://ca.test/acme/ca/account/1 ; later=whatever",
        "ca.test; accounturi=https://ca.test/acme/ca/account/1; persistUntil=1800000000",
        "ca.test; accounturi=https://ca.test/acme/ca/account/1; policy=other",
        "ca.test; accounturi=https://ca.test/acme/ca/account/1; policy=wildcard",
    ] {
        proved(with(value, "a.test").await);
    }
}

#[tokio::test]
async fn a_wildcard_needs_the_policy_and_gets_it_in_any_case() {
    says(&refused(with(RIGHT, "*.a.test").await, ProblemType::Unauthorized), &["policy=wildcard"]);
    for (policy, right) in [
        ("policy=wildcard", true),
        ("POLICY=WildCard", true),
        ("policy=wild", false),
        ("policy=", false),
        ("policy=wildcard,other", false),
    ] {
        let outcome = with(&format!("{RIGHT}; {policy}"), "*.a.test").await;
        assert_eq!(matches!(outcome, Outcome::Proved(_)), right, "{policy}");
    }
}

#[tokio::test]
async fn what_is_misspelt_is_malformed() {
    for (value, word) in [
        ("ca.test", "no accounturi"),
        ("ca.test; policy=wildcard", "no accounturi"),
        ("ca.test; accounturi", "no issue-value"),
        ("ca.test; accounturi=https://ca.test/acme/ca/account/1;", "no issue-value"),
        ("ca.test; accounturi=a; accounturi=a", "accounturi more than once"),
        ("ca.test; accounturi=a; AccountURI=a", "accounturi more than once"),
        ("ca.test; accounturi=a; policy=wildcard; policy=x", "policy more than once"),
        ("ca.test; accounturi=a; persistUntil=1; persistUntil=2", "persistUntil more than once"),
        ("ca.test; accounturi=a; persistUntil=", "persistUntil that is not a number"),
        ("ca.test; accounturi=a; persistUntil=+1", "persistUntil that is not a number"),
        ("ca.test; accounturi=a; persistUntil=-1", "persistUntil that is not a number"),
        ("ca.test; accounturi=a; persistUntil=1e9", "persistUntil that is not a number"),
        ("ca.test; accounturi=a; persistUntil=99999999999999999999", "not a number"),
    ] {
        says(&refused(with(value, "a.test").await, ProblemType::Malformed), &[word]);
    }
}

#[tokio::test]
async fn what_is_for_somebody_else_or_over_is_unauthorized() {
    for (value, word) in [
        ("other.test; accounturi=https://ca.test/acme/ca/account/1", "none of which is for"),
        ("; accounturi=https://ca.test/acme/ca/account/1", "none of which is for"),
        ("%%%%", "none of which is for"),
        ("ca.test; accounturi=https://ca.test/acme/ca/account/2", "another account"),
        ("ca.test; accounturi=https://ca.test/acme/ca/account/1/", "another account"),
        (
            "ca.test; accounturi=https://ca.test/acme/ca/account/1; persistUntil=1799999999",
            "past its persistUntil",
        ),
    ] {
        says(&refused(with(value, "a.test").await, ProblemType::Unauthorized), &[word]);
    }
}

#[tokio::test]
async fn of_several_records_one_that_is_right_is_enough() {
    let zone = Zone::new()
        .txt(OWNER, &["other.test; accounturi=https://other.test/1; policy=wildcard"])
        .txt(OWNER, &["ca.test; accounturi=https://ca.test/acme/ca/account/2"])
        .txt(OWNER, &["ca.test; nonsense"])
        .txt(OWNER, &[RIGHT]);
    proved(prove(zone, "a.test").await);
    // But what two records say is not put together.
    let zone =
        Zone::new().txt(OWNER, &[RIGHT]).txt(OWNER, &["ca.test; accounturi=x; policy=wildcard"]);
    refused(prove(zone, "*.a.test").await, ProblemType::Unauthorized);
}

#[tokio::test]
async fn a_record_above_the_name_does_not_count() {
    let zone = Zone::new().txt("_validation-persist.test", &[&format!("{RIGHT}; policy=wildcard")]);
    says(&refused(prove(zone, "a.test").await, ProblemType::Dns), &["NXDOMAIN"]);
}

#[tokio::test]
async fn a_resolver_that_fails_may_be_asked_again() {
    let zone = Zone::new().rcode(OWNER, ResponseCode::ServFail);
    unreachable(prove(zone, "a.test").await, ProblemType::Dns);
}

#[tokio::test]
async fn dns_account_01_looks_below_the_label_of_the_account() {
    let digest = URL_SAFE_NO_PAD.encode(sha256(KEY_AUTHORIZATION.as_bytes()));
    let account = "https://ca.test/acme/ca/account/1";
    let label = data_encoding::BASE32_NOPAD.encode(&sha256(account.as_bytes())[..10]);
    let owner = format!("_{}._acme-challenge.a.test", label.to_ascii_lowercase());
    for name in ["a.test", "*.a.test"] {
        let zone = Zone::new().txt(&owner, &[&digest]).serve().await;
        let outcome = attempt(options(zone), ChallengeType::DnsAccount01, name).await;
        says(&proved(outcome), &[&format!("DNS TXT {owner}: ")]);
    }
    let elsewhere = Zone::new().txt("_acme-challenge.a.test", &[&digest]).serve().await;
    let outcome = attempt(options(elsewhere), ChallengeType::DnsAccount01, "a.test").await;
    says(&refused(outcome, ProblemType::Dns), &[&owner]);
}
