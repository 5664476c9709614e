//! What is looked at again before a certificate is signed.

use harness::Zone;
use harness::zone::ResponseCode;

use super::*;
use crate::ca::CaaMode;

/// Asks this zone.
fn looking_at(zone: &Zone) -> Validator {
    Validator::new(Options { resolvers: vec![zone.address], ..Options::default() }).unwrap()
}

/// A CA that goes about CAA in this way.
async fn site(zone: &Zone, caa: CaaMode) -> Site {
    Site::with(looking_at(zone), |authority| {
        authority.proof.caa = caa;
        authority.meta.caa_identities = vec!["ca.test".to_owned()];
    })
    .await
}

fn caa_questions(zone: &Zone) -> usize {
    zone.asked().iter().filter(|(_, kind)| *kind == harness::zone::RecordType::CAA).count()
}

async fn problem_of(site: &Site, order: &Order) -> Problem {
    match site.order(&order.id).await.status(site.context.clock.now()) {
        OrderStatus::Invalid { problem } => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn caa_records_that_forbid_it_end_an_order_and_nothing_is_signed() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Enforce).await;
    let order = site.ready(&["a.test", "b.test", "c.test"]).await;
    let csr = Csr::new(&["a.test", "b.test", "c.test"]).der();
    site.finalize(&order, &csr).await.unwrap();
    zone.add_caa("a.test", false, "issue", ";");
    zone.add_caa("b.test", false, "issue", "ca.test");
    zone.add_caa("c.test", false, "issue", "other.test");
    site.issue().await;
    let problem = problem_of(&site, &order).await;
    assert_eq!((problem.kind, problem.status), (ProblemType::Caa, 403));
    let named: Vec<_> =
        problem.subproblems.iter().map(|sub| (sub.kind, sub.identifier.value.as_str())).collect();
    assert_eq!(named, [(ProblemType::Caa, "a.test"), (ProblemType::Caa, "c.test")]);
    assert_eq!((site.signed().await, site.signer.asked()), (0, 0));
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

#[tokio::test]
async fn a_permission_by_caa_is_asked_for_again_after_eight_hours() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Enforce).await;
    let hour = Duration::from_secs(3600);
    // Questions for a.test and, since it has no records, for test.
    for (wait, questions) in
        [(Duration::ZERO, 2), (hour * 8 - Duration::from_secs(1), 2), (hour, 4)]
    {
        site.advance(wait);
        let (order, _) = site.planned().await;
        site.issue().await;
        assert_eq!(site.status(&order.id).await.as_str(), "valid");
        assert_eq!(caa_questions(&zone), questions, "after {wait:?}");
    }
    let kept = "SELECT COUNT(*) FROM caa_checks WHERE permits = 1 AND evidence LIKE 'CAA: no%'";
    assert_eq!(site.count(kept).await, 2);
}

#[tokio::test]
async fn without_an_answer_about_caa_issuance_is_put_off_until_the_plan_is_too_old() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Enforce).await;
    for recovers in [true, false] {
        zone.set_response_code("a.test", ResponseCode::ServFail);
        let (order, _) = site.planned().await;
        // More often than a challenge is tried: four times here.
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            site.issue().await;
            assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
            let pause = Duration::from_secs(pause);
            assert_eq!(site.pause(WorkKind::Issuance).await, Some(pause));
            site.advance(pause);
        }
        if recovers {
            zone.clear("a.test");
            site.issue().await;
            assert_eq!(site.status(&order.id).await.as_str(), "valid");
            site.advance(DAY);
        } else {
            site.advance(DAY);
            site.issue().await;
            assert_eq!(problem_of(&site, &order).await.kind, ProblemType::ServerInternal);
            assert_eq!(site.pause(WorkKind::Issuance).await, None);
        }
    }
    assert_eq!(site.signed().await, 1);
}

#[tokio::test]
async fn claims_that_the_signer_could_not_serve_are_not_held_against_the_resolver() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Enforce).await;
    site.signer.suffers(&away(), 6);
    let (order, _) = site.planned().await;
    for _ in 0..6 {
        site.issue().await;
        site.advance(Duration::from_secs(2));
    }
    // The token is back when the permission is too old, and nobody answers for a moment.
    site.advance(Duration::from_secs(8 * 3600));
    zone.set_response_code("a.test", ResponseCode::ServFail);
    site.issue().await;
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    assert_eq!(site.pause(WorkKind::Issuance).await, Some(Duration::from_secs(30)));
    zone.clear("a.test");
    site.advance(Duration::from_secs(30));
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn a_ca_that_only_reports_issues_all_the_same() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Report).await;
    zone.add_caa("a.test", false, "issue", ";");
    let (order, _) = site.planned().await;
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
    assert_eq!(site.count("SELECT COUNT(*) FROM caa_checks WHERE permits = 0").await, 1);
    zone.set_response_code("a.test", ResponseCode::ServFail);
    let (order, _) = site.planned().await;
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn a_ca_with_caa_off_asks_nobody() {
    let zone = Zone::start().await;
    let site = site(&zone, CaaMode::Off).await;
    zone.add_caa("a.test", false, "issue", ";");
    let (order, _) = site.planned().await;
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
    assert_eq!(zone.asked(), []);
}

#[tokio::test]
async fn a_persistent_record_must_still_be_there_when_the_certificate_is_signed() {
    let zone = Zone::start().await;
    let mut site = Site::with(looking_at(&zone), |authority| {
        authority.proof.challenges = vec![ChallengeType::DnsPersist01];
        authority.meta.caa_identities = vec!["ca.test".to_owned()];
    })
    .await;
    let record = format!("ca.test; accounturi={ACCOUNT_URL}");
    zone.add_txt("_validation-persist.a.test", &record);
    let (order, _) = site.planned().await;
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");

    let until = site.context.clock.now().unix_s() + 60;
    zone.clear("_validation-persist.a.test");
    zone.add_txt("_validation-persist.a.test", &format!("{record}; persistUntil={until}"));
    let (order, _) = site.planned().await;
    site.advance(Duration::from_secs(61));
    site.issue().await;
    let problem = problem_of(&site, &order).await;
    assert_eq!(problem.kind, ProblemType::Unauthorized);
    assert_eq!(problem.subproblems[0].identifier.value, "a.test");
    assert_eq!(site.signed().await, 1);

    // Neither where the type was taken out in between.
    let (order, _) = site.planned().await;
    site.offer(&[ChallengeType::Http01]);
    site.issue().await;
    assert_eq!(problem_of(&site, &order).await.kind, ProblemType::Unauthorized);
    assert_eq!(site.signed().await, 1);
}
