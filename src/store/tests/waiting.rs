//! Waiting for work, and for its end.

use std::time::{Duration, Instant};

use harness::Database;

use super::fixture::{LONG, NOW, begin, entry, lease_validation, open, proved, with_order};
use crate::store::WorkKind;

const KIND: WorkKind = WorkKind::Validation;
const HTTP: &str = "order-0-http-01";

pub(super) async fn a_waiter_returns_when_the_work_is_settled(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let nothing = store.waiter(KIND, HTTP);
    nothing.wait(LONG).await.unwrap();

    let waiter = store.waiter(KIND, HTTP);
    let lease = lease_validation(&store, HTTP).await;
    let start = Instant::now();
    let waiting = tokio::spawn(waiter.wait(LONG));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    assert!(store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
    waiting.await.unwrap().unwrap();
    assert!(start.elapsed() < LONG / 2);
}

pub(super) async fn a_waiter_sees_a_settlement_by_another_store(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let other = open(database).await;
    let waiter = store.waiter(KIND, HTTP);
    let lease = lease_validation(&store, HTTP).await;
    let waiting = tokio::spawn(waiter.wait(LONG));
    other.discard(lease).await.unwrap();
    tokio::time::timeout(LONG / 2, waiting).await.unwrap().unwrap().unwrap();
}

pub(super) async fn a_waiter_gives_up_when_its_time_has_passed(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    assert!(store.begin_challenge(begin(HTTP, NOW)).await.unwrap());
    store.waiter(KIND, HTTP).wait(Duration::ZERO).await.unwrap();
    let start = Instant::now();
    store.waiter(KIND, HTTP).wait(Duration::from_millis(100)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert!(start.elapsed() < LONG / 2);
}

pub(super) async fn new_work_wakes_a_worker(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    // Also where the work came before the worker slept.
    assert!(store.begin_challenge(begin(HTTP, NOW)).await.unwrap());
    let start = Instant::now();
    store.work_or_timeout(KIND, LONG).await;
    let sleeper = tokio::spawn({
        let store = store.clone();
        async move { store.work_or_timeout(KIND, LONG).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sleeper.is_finished());
    assert!(store.begin_challenge(begin("order-0-dns-01", NOW)).await.unwrap());
    sleeper.await.unwrap();
    assert!(start.elapsed() < LONG / 2);
    store.work_or_timeout(WorkKind::Issuance, Duration::from_millis(10)).await;
}
