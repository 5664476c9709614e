//! A type of challenge that is taken out of what a CA offers counts no more.

use super::*;

fn challenge(order: &Order, kind: ChallengeType) -> String {
    let challenges = &order.authorizations[0].challenges;
    challenges.iter().find(|one| one.kind == kind).unwrap().id.clone()
}

#[tokio::test]
async fn a_challenge_of_a_type_that_was_taken_out_is_not_begun() {
    let mut site = Site::new().await;
    let order = site.place(&["a.localhost"]).await;
    site.offer(&[ChallengeType::Dns01]);
    let begin = |kind| {
        let (placed, id) = (order.authorizations[0].clone(), challenge(&order, kind));
        let (context, account) = (&site.context, &site.account);
        async move { begin_challenge(context, placed, &id, account, ACCOUNT_URL).await }
    };
    let problem = refusal(begin(ChallengeType::Http01).await);
    assert_eq!(problem.kind, ProblemType::Malformed);
    assert!(problem.detail.contains("no longer offers http-01"), "{}", problem.detail);
    assert_eq!(site.pause(WorkKind::Validation).await, None);
    begin(ChallengeType::Dns01).await.unwrap();
    assert!(site.pause(WorkKind::Validation).await.is_some());
}

#[tokio::test]
async fn a_challenge_under_way_fails_at_once_where_its_type_was_taken_out() {
    let mut site = Site::new().await;
    let order = site.place(&["a.localhost"]).await;
    let placed = order.authorizations[0].clone();
    let id = challenge(&order, ChallengeType::Http01);
    site.begin(&placed, &id).await.unwrap();
    site.offer(&[ChallengeType::Dns01]);
    let lease = site.claim(WorkKind::Validation).await.unwrap();
    validate(&site.context, lease).await.unwrap();
    let found = site.store().authorization("web", &placed.id).await.unwrap().unwrap();
    let AuthorizationStatus::Invalid { problem: Some(problem) } = found.status(START) else {
        panic!("{:?}", found.status(START))
    };
    assert_eq!(problem.kind, ProblemType::Unauthorized);
    assert!(problem.detail.contains("no longer offers http-01"), "{}", problem.detail);
    assert_eq!(site.pause(WorkKind::Validation).await, None);
}

#[tokio::test]
async fn an_order_does_not_take_what_was_proved_by_a_type_that_was_taken_out() {
    let mut site = Site::new().await;
    let proved = site.ready(&["a.test"]).await.authorizations.remove(0);
    let found = site.store().authorization("web", &proved.id).await.unwrap().unwrap();
    let kind = found.concluding_challenge().unwrap().kind;
    let other = ChallengeType::STANDARD.into_iter().find(|one| *one != kind).unwrap();
    for (offered, taken) in [(vec![kind], true), (vec![other], false), (vec![other, kind], true)] {
        site.offer(&offered);
        let order = site.place(&["a.test"]).await;
        assert_eq!(order.authorizations[0].id == proved.id, taken, "{offered:?}");
    }
}
