//! Orders, authorizations, challenges and certificates.

use std::time::Duration;

use super::{Fixture, NOW, failed, on_both, proved};
use crate::clock::Timestamp;
use crate::store::db::{Statement, values};
use crate::store::{OwnPlan, StoreError, WorkKind};

on_both! {
    an_order_of_a_hundred_names_is_read_as_it_was_written,
    an_order_is_ready_for_every_instance_in_the_same_instant,
    of_two_challenges_that_end_at_once_one_decides,
    a_challenge_begins_once,
    a_plan_is_made_once_and_completed_once,
    nothing_is_planned_without_every_authorization_and_a_living_account,
    an_order_that_was_given_up_gets_no_certificate,
    the_list_of_orders_goes_page_by_page_and_leaves_out_what_is_lost,
    a_certificate_nobody_ordered_is_handed_to_nobody,
    a_row_that_cannot_be_is_corrupt,
}

async fn an_order_of_a_hundred_names_is_read_as_it_was_written(fixture: Fixture) {
    let names: Vec<_> = (0..100).map(|index| format!("n{index}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let order = fixture.order("o", &names).await;
    let read: Vec<_> = order.identifiers().map(ToString::to_string).collect();
    assert_eq!(read, names);
    assert_eq!(fixture.store.order("other", "o").await.unwrap(), None);
    let authorization = fixture.store.authorization("ca", "o-n7.test").await.unwrap().unwrap();
    assert_eq!(authorization.challenges.len(), 2);
    assert_eq!(fixture.store.authorization("other", "o-n7.test").await.unwrap(), None);
    let by_challenge =
        fixture.store.authorization_of_challenge("ca", "o-n7.test-dns-01").await.unwrap();
    assert_eq!(by_challenge, Some(authorization));
}

async fn an_order_is_ready_for_every_instance_in_the_same_instant(fixture: Fixture) {
    let other = fixture.another().await;
    fixture.order("o", &["a.test", "b.test"]).await;
    for (name, status) in [("a.test", "pending"), ("b.test", "ready")] {
        let lease = fixture.begin(&format!("o-{name}-http-01")).await;
        assert!(fixture.store.conclude_challenge(&lease, &proved(), None).await.unwrap());
        let seen = other.order("ca", "o").await.unwrap().unwrap();
        assert_eq!(seen.status(NOW).as_str(), status);
    }
}

async fn of_two_challenges_that_end_at_once_one_decides(fixture: Fixture) {
    for round in 0..10 {
        let id = format!("o{round}");
        fixture.order(&id, &["a.test"]).await;
        let http = fixture.begin(&format!("{id}-a.test-http-01")).await;
        let dns = fixture.begin(&format!("{id}-a.test-dns-01")).await;
        let (good, bad) = (proved(), failed());
        let (one, two) = tokio::join!(
            fixture.store.conclude_challenge(&http, &good, Some("evidence".to_owned())),
            fixture.store.conclude_challenge(&dns, &bad, None),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one != two, "exactly one decides");
        assert_eq!(fixture.status(&id).await, if one { "ready" } else { "invalid" });
        let lost = if one { dns } else { http };
        fixture.store.discard(lost).await.unwrap();
    }
    assert_eq!(fixture.store.next_due(WorkKind::Validation).await.unwrap(), None);
}

async fn a_challenge_begins_once(fixture: Fixture) {
    let store = &fixture.store;
    fixture.order("o", &["a.test", "b.test"]).await;
    let challenge = "o-a.test-http-01";
    let (one, two) =
        tokio::join!(store.begin_challenge(challenge, NOW), store.begin_challenge(challenge, NOW));
    assert!(one.unwrap() != two.unwrap());
    store.deactivate_authorization("o-b.test", NOW).await.unwrap();
    assert!(!store.begin_challenge("o-b.test-http-01", NOW).await.unwrap());
    let lease = fixture.claim(WorkKind::Validation, NOW).await.unwrap();
    assert!(fixture.claim(WorkKind::Validation, NOW).await.is_none(), "one piece of work");
    assert!(store.conclude_challenge(&lease, &failed(), None).await.unwrap());
    assert!(!store.begin_challenge("o-a.test-dns-01", NOW).await.unwrap(), "it is decided");
}

async fn a_plan_is_made_once_and_completed_once(fixture: Fixture) {
    let store = &fixture.store;
    let order = fixture.ready_order("o").await;
    let (one, two) = tokio::join!(fixture.plan(&order, "c1"), fixture.plan(&order, "c2"));
    assert!(one != two, "exactly one plans");
    assert_eq!(fixture.status("o").await, "processing");
    let id = if one { "c1" } else { "c2" };
    assert_eq!(store.certificate("ca", id).await.unwrap(), None, "planned is not issued");
    let plan = store.planned_certificate("o").await.unwrap().unwrap();
    assert_eq!(
        (plan.tbs, plan.csr, plan.serial),
        (b"tbs".into(), b"csr".into(), format!("serial-{id}"))
    );
    let slow = fixture.claim(WorkKind::Issuance, NOW).await.unwrap();
    let later = NOW.plus(Duration::from_secs(21));
    let quick = fixture.claim(WorkKind::Issuance, later).await.unwrap();
    assert_eq!(quick.attempt(), 2);
    assert!(!store.complete_issuance(slow, b"slow".to_vec(), NOW).await.unwrap());
    assert!(store.complete_issuance(quick, b"quick".to_vec(), NOW).await.unwrap());
    assert_eq!(fixture.status("o").await, "valid");
    let issued = store.certificate("ca", id).await.unwrap().unwrap();
    assert_eq!((issued.certificate, issued.chain), (b"quick".into(), "chain".to_owned()));
    assert_eq!(store.certificate("other", id).await.unwrap(), None);
    assert_eq!(store.order_csr("o").await.unwrap().as_deref(), Some(&b"csr"[..]));
}

async fn nothing_is_planned_without_every_authorization_and_a_living_account(fixture: Fixture) {
    let store = &fixture.store;
    let pending = fixture.order("pending", &["a.test"]).await;
    assert!(!fixture.plan(&pending, "c1").await);
    let given_up = fixture.ready_order("given-up").await;
    store.deactivate_authorization("given-up-a.test", NOW).await.unwrap();
    assert!(!fixture.plan(&given_up, "c2").await);
    let orphan = fixture.ready_order("orphan").await;
    store.deactivate_account("orphan-account", NOW).await.unwrap();
    assert!(!fixture.plan(&orphan, "c3").await);
    assert_eq!(store.next_due(WorkKind::Issuance).await.unwrap(), None);
    for id in ["pending", "given-up", "orphan"] {
        assert!(store.planned_certificate(id).await.unwrap().is_none());
    }
}

async fn an_order_that_was_given_up_gets_no_certificate(fixture: Fixture) {
    let store = &fixture.store;
    let order = fixture.ready_order("o").await;
    assert!(fixture.plan(&order, "c").await);
    let slow = fixture.claim(WorkKind::Issuance, NOW).await.unwrap();
    let quick = fixture.claim(WorkKind::Issuance, NOW.plus(Duration::from_secs(21))).await.unwrap();
    let super::ChallengeResult::Failed { problem } = failed() else { unreachable!() };
    assert!(store.fail_issuance(quick, &problem).await.unwrap());
    assert_eq!(fixture.status("o").await, "invalid");
    assert!(!store.complete_issuance(slow, b"late".to_vec(), NOW).await.unwrap());
    assert_eq!(store.certificate("ca", "c").await.unwrap(), None);
    assert_eq!(fixture.status("o").await, "invalid");
}

async fn the_list_of_orders_goes_page_by_page_and_leaves_out_what_is_lost(fixture: Fixture) {
    let store = &fixture.store;
    let first = fixture.order("o0", &["a.test"]).await;
    // All at the same moment, of one account.
    for index in 1..7 {
        let order = super::NewOrder {
            id: format!("o{index}"),
            ca: "ca".to_owned(),
            account_id: first.account_id.clone(),
            created_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(if index == 6 { 0 } else { 1000 })),
            authorizations: vec![super::NewAuthorization {
                id: format!("authorization-{index}"),
                identifier: super::Identifier::dns("a.test").unwrap(),
                challenges: vec![super::NewChallenge {
                    id: format!("challenge-{index}"),
                    kind: super::ChallengeType::Http01,
                    token: String::new(),
                }],
            }],
        };
        store.create_order(&order).await.unwrap();
    }
    store.deactivate_authorization("authorization-3", NOW).await.unwrap();
    let mut listed = Vec::new();
    let mut next = None;
    loop {
        let page = store.orders_of(&first.account_id, NOW, next, 2).await.unwrap();
        assert!(page.ids.len() <= 2);
        listed.extend(page.ids);
        match page.next {
            Some(cursor) => next = Some(cursor),
            None => break,
        }
    }
    assert_eq!(listed, ["o5", "o4", "o2", "o1", "o0"], "not the expired, not the given-up");
}

async fn a_certificate_nobody_ordered_is_handed_to_nobody(fixture: Fixture) {
    let store = &fixture.store;
    let issuer_id = store.keep_issuer("chain").await.unwrap();
    let plan = |serial| OwnPlan {
        id: serial,
        ca: "ca",
        issuer_id: &issuer_id,
        serial,
        tbs: b"tbs",
        now: NOW,
    };
    store.plan_own_certificate(plan("s1")).await.unwrap();
    store.plan_own_certificate(plan("s2")).await.unwrap();
    assert!(matches!(store.plan_own_certificate(plan("s1")).await, Err(StoreError::Conflict(_))));
    store.complete_own_certificate("s1", b"certificate", NOW).await.unwrap();
    assert_eq!(store.certificate("ca", "s1").await.unwrap(), None);
}

async fn a_row_that_cannot_be_is_corrupt(fixture: Fixture) {
    let store = &fixture.store;
    fixture.order("o", &["a.test"]).await;
    let both = "UPDATE challenges SET validated_at = $1, error = $2 WHERE id = $3";
    let values = values![Timestamp::from_unix_s(1), "{}", "o-a.test-http-01"];
    store.db.transact(vec![Statement::new(both, values)]).await.unwrap();
    let read = store.authorization("ca", "o-a.test").await;
    assert!(
        matches!(&read, Err(StoreError::Corrupt { table: "challenges", id }) if id == "o-a.test-http-01"),
        "{read:?}"
    );
    let error = "UPDATE orders SET error = $1 WHERE id = $2";
    store.db.transact(vec![Statement::new(error, values!["no JSON", "o"])]).await.unwrap();
    let read = store.order("ca", "o").await;
    assert!(matches!(read, Err(StoreError::Corrupt { table: "orders", .. })), "{read:?}");
}
