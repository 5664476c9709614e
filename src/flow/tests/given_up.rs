//! What was planned is not signed once its grounds are gone.

use super::*;

#[tokio::test]
async fn a_plan_of_a_deactivated_account_is_never_signed() {
    let site = Site::new().await;
    // While it waits for a token that is away …
    site.signer.suffers(&away(), 1);
    let (waiting, _) = site.planned().await;
    site.issue().await;
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    site.advance(Duration::from_secs(1));
    // … and where a worker has it already.
    let claimed = site.claim(WorkKind::Issuance).await.unwrap();
    let gone = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
    issue(&site.context, claimed).await.unwrap();
    assert!(site.claim(WorkKind::Issuance).await.is_none());
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    let OrderStatus::Invalid { problem } = site.status(&waiting.id).await else {
        panic!("not invalid")
    };
    assert_eq!(problem.kind, ProblemType::Unauthorized);
    // Said twice, it is the same.
    let again = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(again.deactivated_at, gone.deactivated_at);
}

#[tokio::test]
async fn a_plan_whose_authorization_was_deactivated_is_never_signed() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let order = site.ready(&["a.test", "b.test"]).await;
    let csr = Csr::new(&["a.test", "b.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    site.issue().await;
    let one = site.order(&order.id).await.authorizations.remove(1);
    deactivate_authorization(&site.context, one).await.unwrap();
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
        panic!("not invalid")
    };
    assert_eq!((problem.kind, problem.status), (ProblemType::Unauthorized, 403));
    let named: Vec<_> = problem.subproblems.iter().map(|sub| &sub.identifier.value).collect();
    assert_eq!(named, ["b.test"]);
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

#[tokio::test]
async fn a_plan_that_the_policy_no_longer_allows_is_never_signed() {
    let key_types = crate::config::Policy {
        key_types: Some(vec!["rsa-4096"]),
        ..crate::config::Policy::default()
    };
    let deny = crate::config::Policy {
        deny: Some(vec!["a.test".parse().unwrap()]),
        ..crate::config::Policy::default()
    };
    for (stricter, kind) in
        [(deny, ProblemType::RejectedIdentifier), (key_types, ProblemType::BadCsr)]
    {
        let site = Site::new().await;
        let (order, _) = site.planned().await;
        let (mut changed, _) = authority(site.store(), START).await;
        changed.policy = Policy::new(&stricter, &crate::config::Policy::default());
        site.context.authorities.store(Arc::new(Authorities::new(vec![Arc::new(changed)])));
        site.issue().await;
        let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
            panic!("not invalid")
        };
        assert_eq!(problem.kind, kind);
        assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
        assert_eq!(site.pause(WorkKind::Issuance).await, None);
    }
}
