//! RFC 8659 and RFC 8657.

use hickory_resolver::proto::op::ResponseCode;

use super::zone::NoAnswer;
use super::*;

/// Critical, tag and value.
type Property = (bool, &'static str, &'static str);

/// Asks for dns-01, unless a test says otherwise.
async fn ask(zone: Zone, name: &str) -> Outcome {
    ask_for(zone, name, ChallengeType::Dns01, Some(ACCOUNT)).await
}

async fn ask_for(
    zone: Zone,
    name: &str,
    method: ChallengeType,
    account_url: Option<&str>,
) -> Outcome {
    let validator = Validator::new(options(zone.serve().await)).unwrap();
    let identifier = identifier(name);
    let issuers = [ISSUER.to_owned(), "second.test".to_owned()];
    let question = CaaQuestion { identifier: &identifier, issuers: &issuers, account_url, method };
    validator.check_caa(question).await
}

#[tokio::test]
async fn a_name_without_records_up_to_the_root_is_permitted() {
    says(&proved(ask(Zone::new(), "a.b.test").await), &["no records for a.b.test or above it"]);
    let zone = Zone::new().address("a.b.test", "127.0.0.1").address("b.test", "127.0.0.1");
    proved(ask(zone, "a.b.test").await);
}

#[tokio::test]
async fn each_property_decides_as_rfc_8659_says() {
    // Name, records (critical, tag, value), and whether the CA may issue.
    let table: &[(&str, &[Property], bool)] = &[
        ("a.test", &[(false, "issue", "ca.test")], true),
        ("a.test", &[(false, "issue", "second.test")], true),
        ("a.test", &[(false, "issue", "CA.TEST ")], true),
        ("a.test", &[(false, "ISSUE", "ca.test")], true),
        ("a.test", &[(true, "issue", "ca.test")], true),
        ("a.test", &[(false, "issue", "ca.test; policy=ev")], true),
        ("a.test", &[(false, "issue", "other.test")], false),
        ("a.test", &[(false, "issue", "ca.test.other.test")], false),
        ("a.test", &[(false, "issue", ";")], false),
        ("a.test", &[(false, "issue", "")], false),
        ("a.test", &[(false, "issue", "%%%%%")], false),
        ("a.test", &[(false, "issue", "ca.test policy=ev")], false),
        ("a.test", &[(false, "issue", "ca.test; policy=ev;")], false),
        // Permissions add up.
        ("a.test", &[(false, "issue", ";"), (false, "issue", "ca.test")], true),
        ("a.test", &[(false, "issue", "other.test"), (false, "issue", "ca.test")], true),
        // What says nothing of who may issue.
        ("a.test", &[(false, "iodef", "mailto:a@a.test")], true),
        ("a.test", &[(true, "iodef", "mailto:a@a.test")], true),
        ("a.test", &[(false, "issuemail", ";")], true),
        ("a.test", &[(true, "issuemail", ";")], true),
        ("a.test", &[(false, "tbs", "unknown")], true),
        // What is not understood and must be.
        ("a.test", &[(true, "tbs", "unknown")], false),
        ("a.test", &[(true, "tbs", "unknown"), (false, "issue", "ca.test")], false),
        // Wildcards.
        ("a.test", &[(false, "issuewild", ";")], true),
        ("a.test", &[(false, "issuewild", "ca.test"), (false, "issue", ";")], false),
        ("*.a.test", &[(false, "issue", "ca.test")], true),
        ("*.a.test", &[(false, "issue", ";")], false),
        ("*.a.test", &[(false, "issuewild", "ca.test"), (false, "issue", ";")], true),
        ("*.a.test", &[(false, "issuewild", ";"), (false, "issue", "ca.test")], false),
        ("*.a.test", &[(false, "issuewild", "%"), (false, "issue", "ca.test")], false),
    ];
    for (name, records, permitted) in table {
        let mut zone = Zone::new();
        for (critical, tag, value) in *records {
            zone = if *critical {
                zone.critical_caa("a.test", tag, value)
            } else {
                zone.caa("a.test", tag, value)
            };
        }
        match ask(zone, name).await {
            Outcome::Proved(_) => assert!(permitted, "{name} {records:?}"),
            Outcome::Refused(problem) => {
                assert!(!permitted, "{name} {records:?}: {}", problem.detail);
                assert_eq!(problem.kind, ProblemType::Caa);
                says(&problem.detail, &["CAA a.test: 127.0.0.1:", name]);
            }
            Outcome::Unreachable(problem) => panic!("{records:?}: {}", problem.detail),
        }
    }
}

#[tokio::test]
async fn the_first_name_with_records_decides_and_what_is_above_it_does_not() {
    let zone = || Zone::new().caa("b.test", "issue", "ca.test").caa("test", "issue", ";");
    says(&proved(ask(zone(), "x.a.b.test").await), &["CAA b.test: ", "1 record", "permits it"]);
    refused(ask(zone(), "c.test").await, ProblemType::Caa);
    let closer = zone().caa("a.b.test", "issue", ";");
    refused(ask(closer, "x.a.b.test").await, ProblemType::Caa);
    // Any record will do, one that does not restrict, too.
    let closer = Zone::new().caa("a.test", "iodef", "mailto:a@a.test").caa("test", "issue", ";");
    proved(ask(closer, "a.test").await);
}

#[tokio::test]
async fn a_wildcards_records_are_those_of_its_base_name() {
    let zone = Zone::new().caa("*.a.test", "issue", ";").caa("a.test", "issuewild", "ca.test");
    proved(ask(zone, "*.a.test").await);
}

#[tokio::test]
async fn an_alias_is_followed_but_what_is_above_its_target_does_not_count() {
    let zone = || Zone::new().cname("a.test", "x.elsewhere.test");
    let target = zone().caa("x.elsewhere.test", "issue", ";");
    refused(ask(target, "a.test").await, ProblemType::Caa);
    let target = zone().caa("x.elsewhere.test", "issue", ";").one_link_at_a_time();
    refused(ask(target, "a.test").await, ProblemType::Caa);
    let above = zone().address("x.elsewhere.test", "127.0.0.1").caa("elsewhere.test", "issue", ";");
    proved(ask(above, "a.test").await);
    let own_parent = zone()
        .address("x.elsewhere.test", "127.0.0.1")
        .caa("elsewhere.test", "issue", "ca.test")
        .caa("test", "issue", ";");
    refused(ask(own_parent, "a.test").await, ProblemType::Caa);
}

#[tokio::test]
async fn no_answer_at_any_step_is_no_permission() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        for failing in ["a.b.test", "b.test", "test"] {
            let zone = Zone::new().rcode(failing, code);
            let detail = unreachable(ask(zone, "a.b.test").await, ProblemType::Dns);
            says(&detail, &[&format!("DNS CAA {failing}: ")]);
        }
    }
    unreachable(ask(Zone::new().silent("b.test"), "a.b.test").await, ProblemType::Dns);
    unreachable(ask(Zone::new().cname("a.test", "a.test"), "a.test").await, ProblemType::Dns);
    // A step that is never reached cannot fail.
    let zone = Zone::new().caa("b.test", "issue", "ca.test").rcode("test", ResponseCode::ServFail);
    proved(ask(zone, "a.b.test").await);
}

#[tokio::test]
async fn an_account_uri_must_be_the_accounts_url_letter_by_letter() {
    let permits = |parameters: &'static str| async move {
        let zone = Zone::new().caa("a.test", "issue", &format!("ca.test; {parameters}"));
        matches!(ask(zone, "a.test").await, Outcome::Proved(_))
    };
    assert!(permits("accounturi=https://ca.test/acme/ca/account/1").await);
    assert!(permits("AccountURI=https://ca.test/acme/ca/account/1").await);
    for wrong in [
        "accounturi=https://ca.test/acme/ca/account/2",
        "accounturi=https://ca.test/acme/ca/account/11",
        "accounturi=https://ca.test/acme/ca/account/1/",
        "accounturi=https://CA.test/acme/ca/account/1",
        "accounturi=https://ca.test:443/acme/ca/account/1",
        "accounturi=",
        "ACCOUNTURI=https://ca.test/acme/ca/account/2",
        "accounturi=https://ca.test/acme/ca/account/1; accounturi=https://ca.test/acme/ca/account/1",
        "accounturi=https://ca.test/acme/ca/account/1; validationmethods=http-01",
    ] {
        assert!(!permits(wrong).await, "{wrong}");
    }
    let zone = Zone::new().caa("a.test", "issue", "ca.test; accounturi=https://ca.test/x");
    let outcome = ask_for(zone, "a.test", ChallengeType::Dns01, None).await;
    says(&refused(outcome, ProblemType::Caa), &["the URL of this one is not known"]);
    // Another record may be for another account.
    let zone = Zone::new()
        .caa("a.test", "issue", "ca.test; accounturi=https://ca.test/acme/ca/account/2")
        .caa("a.test", "issue", "ca.test; accounturi=https://ca.test/acme/ca/account/1");
    proved(ask(zone, "a.test").await);
}

#[tokio::test]
async fn validation_methods_must_list_the_one_that_was_used() {
    for kind in ChallengeType::ALL {
        for (methods, permitted) in [
            (kind.as_str(), true),
            (
                "x-01,http-01,dns-01,tls-alpn-01,dns-account-01,dns-persist-01,device-attest-01",
                true,
            ),
            ("ca-other", false),
            ("", false),
            (",", false),
            ("http-01,,dns-01", false),
        ] {
            let value = format!("ca.test; validationmethods={methods}");
            let zone = Zone::new().caa("a.test", "issue", &value);
            let outcome = ask_for(zone, "a.test", kind, Some(ACCOUNT)).await;
            assert_eq!(matches!(outcome, Outcome::Proved(_)), permitted, "{kind:?} {methods}");
        }
    }
    let twice = "ca.test; validationmethods=dns-01; validationmethods=dns-01";
    refused(ask(Zone::new().caa("a.test", "issue", twice), "a.test").await, ProblemType::Caa);
    let other = Zone::new().caa("a.test", "issue", "ca.test; validationmethods=http-01");
    let detail = refused(ask(other, "a.test").await, ProblemType::Caa);
    says(&detail, &["does not allow dns-01, which was used"]);
}

#[tokio::test]
async fn a_refusal_lists_some_records_cut_and_escaped() {
    let mut zone = Zone::new().caa("a.test", "issue", "\u{1b}[31mred");
    for number in 0..9 {
        zone = zone.caa("a.test", "issue", &format!("other-{number}.test"));
    }
    let detail = refused(ask(zone, "a.test").await, ProblemType::Caa);
    says(&detail, &["10 records", "\\x1b[31mred", "malformed", "does not name ca.test", "7 more"]);
    assert!(!detail.contains("other-8"), "{detail}");
}

/// Nobody may issue because a resolver evades the question.
#[tokio::test]
async fn an_answer_that_answers_nothing_permits_nobody() {
    for how in [NoAnswer::CutShort, NoAnswer::Referral, NoAnswer::Echo] {
        let zone = Zone::new().caa("a.test", "issue", "other.test").evasive(how);
        unreachable(ask(zone, "a.test").await, ProblemType::Dns);
    }
    let noise = Zone::new().silent("a.test");
    unreachable(ask(noise, "a.test").await, ProblemType::Dns);
}
