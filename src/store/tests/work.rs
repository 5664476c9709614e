//! Claims, leases and those who wait.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Fixture, LEASE, NOW, failed, on_both, proved};
use crate::entropy::Entropy;
use crate::store::WorkKind;
use crate::store::work::enqueue;

on_both! {
    no_piece_of_work_is_claimed_twice,
    a_lease_lapses_and_whoever_had_it_can_no_longer_settle,
    work_that_was_put_off_is_due_again_when_it_was_said,
    a_waiter_is_called_when_its_work_is_settled_by_any_instance,
}

async fn enqueue_many(fixture: &Fixture, count: usize) {
    let work = (0..count).map(|index| enqueue(WorkKind::Validation, &format!("w{index}"), NOW));
    fixture.store.db.transact(work.collect()).await.unwrap();
}

async fn no_piece_of_work_is_claimed_twice(fixture: Fixture) {
    enqueue_many(&fixture, 200).await;
    let other = fixture.another().await;
    let mut tasks = JoinSet::new();
    for index in 0..8 {
        let store = if index % 2 == 0 { fixture.store.clone() } else { other.clone() };
        tasks.spawn(async move {
            let mut claimed = Vec::new();
            loop {
                let leases =
                    store.claim(WorkKind::Validation, NOW, LEASE, 7, Entropy).await.unwrap();
                assert!(leases.len() <= 7);
                if leases.is_empty() {
                    return claimed;
                }
                claimed.extend(leases.into_iter().map(|lease| lease.subject().to_owned()));
            }
        });
    }
    let claimed: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), 200);
    assert!(fixture.claim(WorkKind::Issuance, NOW).await.is_none(), "kinds are apart");
}

async fn a_lease_lapses_and_whoever_had_it_can_no_longer_settle(fixture: Fixture) {
    let store = &fixture.store;
    fixture.order("o", &["a.test"]).await;
    let slow = fixture.begin("o-a.test-http-01").await;
    assert_eq!(slow.attempt(), 1);
    assert!(fixture.claim(WorkKind::Validation, NOW).await.is_none());
    let later = NOW.plus(LEASE);
    let quick = fixture.claim(WorkKind::Validation, later).await.unwrap();
    assert_eq!(quick.attempt(), 2);
    assert!(!store.conclude_challenge(&slow, &failed(), None).await.unwrap());
    assert_eq!(fixture.status("o").await, "pending", "nothing of it was written");
    store.postpone(slow, NOW).await.unwrap();
    assert!(fixture.claim(WorkKind::Validation, later).await.is_none(), "nor was it put off");
    assert!(store.conclude_challenge(&quick, &proved(), None).await.unwrap());
    assert_eq!(fixture.status("o").await, "ready");
}

async fn work_that_was_put_off_is_due_again_when_it_was_said(fixture: Fixture) {
    enqueue_many(&fixture, 1).await;
    let lease = fixture.claim(WorkKind::Validation, NOW).await.unwrap();
    let due = NOW.plus(Duration::from_secs(5));
    fixture.store.postpone(lease, due).await.unwrap();
    assert_eq!(fixture.store.next_due(WorkKind::Validation).await.unwrap(), Some(due));
    let early = due.unix_ms() - 1;
    let early = crate::clock::Timestamp::from_unix_ms(early);
    assert!(fixture.claim(WorkKind::Validation, early).await.is_none());
    let lease = fixture.claim(WorkKind::Validation, due).await.unwrap();
    assert_eq!(lease.attempt(), 2);
    fixture.store.discard(lease).await.unwrap();
    assert_eq!(fixture.store.next_due(WorkKind::Validation).await.unwrap(), None);
}

async fn a_waiter_is_called_when_its_work_is_settled_by_any_instance(fixture: Fixture) {
    let long = Duration::from_secs(30);
    for settler in [fixture.store.clone(), fixture.another().await] {
        let waiter = fixture.store.waiter(WorkKind::Validation, "w0");
        enqueue_many(&fixture, 1).await;
        let waiting = tokio::spawn(waiter.wait(long));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        let lease =
            settler.claim(WorkKind::Validation, NOW, LEASE, 1, Entropy).await.unwrap().pop();
        settler.discard(lease.unwrap()).await.unwrap();
        let called = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        called.expect("called long before its time is up").unwrap().unwrap();
    }
    let waiter = fixture.store.waiter(WorkKind::Validation, "w0");
    enqueue_many(&fixture, 1).await;
    waiter.wait(Duration::from_millis(20)).await.unwrap();
}
