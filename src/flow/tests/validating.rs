//! Validations under a lease.

use super::*;

#[tokio::test]
async fn a_validation_without_answer_is_put_off_with_doubling_pauses_and_then_given_up() {
    for kind in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
        let site = Site::new().await;
        let order = site.place(&["a.localhost"]).await;
        let placed = &order.authorizations[0];
        let challenge = placed.challenges.iter().find(|one| one.kind == kind).unwrap();
        let begun = site.begin(placed, &challenge.id).await.unwrap();
        assert_eq!(begun.status(START), AuthorizationStatus::Pending);

        for (failed, pause) in [1, 2, 4].into_iter().enumerate() {
            let lease = site.claim(WorkKind::Validation).await.unwrap();
            validate(&site.context, lease).await.unwrap();
            let pause = Duration::from_secs(pause);
            // What went wrong until now, query by query, and when the next is due (RFC 8555 §8.2).
            let shown = site.store().to_validate(&challenge.id).await.unwrap().unwrap();
            let retry = shown.challenge.retry.clone().unwrap();
            assert_eq!(retry.at, site.context.clock.now().plus(pause));
            assert_eq!(retry.problem.subproblems.len(), failed + 1);
            assert_eq!(retry.problem.kind, ProblemType::Connection);
            assert_eq!(site.pause(WorkKind::Validation).await, Some(pause), "{kind:?}");
            assert_eq!(site.status(&order.id).await, OrderStatus::Pending);
            site.advance(pause - Duration::from_millis(1));
            assert!(site.claim(WorkKind::Validation).await.is_none());
            site.advance(Duration::from_millis(1));
        }
        let lease = site.claim(WorkKind::Validation).await.unwrap();
        assert_eq!(lease.attempt(), 4);
        validate(&site.context, lease).await.unwrap();
        assert_eq!(site.pause(WorkKind::Validation).await, None);

        let now = site.context.clock.now();
        let found = site.store().authorization("web", &placed.id).await.unwrap().unwrap();
        let AuthorizationStatus::Invalid { problem: Some(problem) } = found.status(now) else {
            panic!("{:?}", found.status(now))
        };
        assert_eq!(problem.kind, ProblemType::Connection);
        assert!(problem.detail.ends_with("(after 4 attempts)"), "{}", problem.detail);
        let shown = found.visible_challenges();
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].status(), ChallengeStatus::Invalid { problem });
        assert_eq!(site.status(&order.id).await.as_str(), "invalid");

        // Said again, the client gets the result; no work comes of it.
        site.begin(&found, &challenge.id).await.unwrap();
        let other = found.challenges.iter().find(|one| one.kind != kind).unwrap();
        let problem = refusal(site.begin(&found, &other.id).await);
        assert_eq!(problem.kind, ProblemType::Malformed);
        assert_eq!(site.pause(WorkKind::Validation).await, None);
    }
}

#[tokio::test]
async fn a_validation_that_has_become_pointless_is_dropped() {
    let site = Site::new().await;
    let order = site.place(&["a.localhost", "b.localhost", "c.localhost"]).await;
    for placed in &order.authorizations {
        site.begin(placed, &placed.challenges[0].id).await.unwrap();
    }
    let now = site.context.clock.now();
    let leases = site
        .store()
        .claim(WorkKind::Validation, now, LEASE, 10, Left::default(), Entropy)
        .await
        .unwrap();
    let mut leases = leases.into_iter();
    let first = order
        .authorizations
        .iter()
        .find(|one| leases.as_slice()[0].subject() == one.challenges[0].id);
    deactivate_authorization(&site.context, first.unwrap().clone()).await.unwrap();
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 2);
    // Expired.
    site.advance(DAY * 8);
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 1);
    deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(
        site.count("SELECT COUNT(*) FROM authorizations WHERE concluded_by IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn an_authorization_of_a_deactivated_account_goes_no_further() {
    let site = Site::new().await;
    let order = site.place(&["a.localhost"]).await;
    let placed = &order.authorizations[0];
    site.begin(placed, &placed.challenges[0].id).await.unwrap();
    let lease = site.claim(WorkKind::Validation).await.unwrap();
    deactivate_account(&site.context, site.account.clone()).await.unwrap();
    let found = site.store().authorization("web", &placed.id).await.unwrap().unwrap();
    assert_eq!(found.status(START), AuthorizationStatus::Deactivated);
    validate(&site.context, lease).await.unwrap();
    let late = site.begin(&found, &placed.challenges[1].id).await;
    assert_eq!(refusal(late).kind, ProblemType::Malformed);
    assert_eq!(site.status(&order.id).await.as_str(), "invalid");
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
}
