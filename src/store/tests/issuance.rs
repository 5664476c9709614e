//! Planned once, completed once.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, LONG, NOW, ORDER, after, claim, claim_one, conclude, entry, failed, make_ready,
    number, open, order, plan, problem, proved, with_order, with_plan, with_ready_order,
};
use crate::acme::order::OrderStatus;
use crate::clock::Timestamp;
use crate::store::{Plan, Store, StoreError, WorkKind};

const KIND: WorkKind = WorkKind::Issuance;
const CERTIFICATES: &str = "SELECT COUNT(*) FROM certificates";
const SIGNED: &str = "SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL";
const WORK: &str = "SELECT COUNT(*) FROM work WHERE kind = 'issuance'";

async fn status(store: &Store, now: Timestamp) -> OrderStatus {
    store.order(CA, ORDER).await.unwrap().unwrap().status(now)
}

/// Another plan for the same order.
async fn other_plan(store: &Store, number: usize) -> Plan {
    Plan {
        csr: format!("csr {number}").into_bytes(),
        certificate_id: format!("certificate {number}"),
        serial: format!("serial {number}"),
        ..plan(store, ORDER).await
    }
}

pub(super) async fn a_certificate_is_planned_once_for_an_order(database: &Database) {
    let store = with_ready_order(database).await;
    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
    assert!(!store.plan_issuance(other_plan(&store, 1).await, &entry()).await.unwrap());
    assert_eq!(store.order_csr(ORDER).await.unwrap().as_deref(), Some(&b"csr of order"[..]));
    assert_eq!(number(&store, CERTIFICATES).await, 1);
    assert_eq!(number(&store, WORK).await, 1);
    let lease = claim_one(&store, KIND, NOW).await;
    assert_eq!((lease.subject(), lease.attempt()), (ORDER, 1));
}

pub(super) async fn who_waits_for_an_order_is_told_that_it_has_the_planned_certificate(
    database: &Database,
) {
    let store = with_ready_order(database).await;
    let waiter = store.waiter(KIND, ORDER);
    let plan = plan(&store, ORDER).await;
    let certificate_id = plan.certificate_id.clone();
    assert!(store.plan_issuance(plan, &entry()).await.unwrap());
    let lease = claim_one(&store, KIND, NOW).await;
    assert!(store.complete_issuance(lease, b"certificate".to_vec(), NOW, &entry()).await.unwrap());
    assert_eq!(waiter.wait_for_ours(LONG).await.unwrap(), Some(NOW));
    assert_eq!(status(&store, NOW).await, OrderStatus::Valid { certificate_id });
}

pub(super) async fn who_waits_for_an_order_that_is_given_up_reads_why(database: &Database) {
    let store = with_plan(database).await;
    let waiter = store.waiter(KIND, ORDER);
    let lease = claim_one(&store, KIND, NOW).await;
    assert!(store.fail_issuance(lease, &problem(), &entry()).await.unwrap());
    assert_eq!(waiter.wait_for_ours(LONG).await.unwrap(), None);
}

pub(super) async fn of_concurrent_plans_one_wins(database: &Database) {
    let stores = [with_ready_order(database).await, open(database).await];
    let mut plans = Vec::new();
    for number in 0..16 {
        let store = stores[number % 2].clone();
        let plan = other_plan(&store, number).await;
        let csr = plan.csr.clone();
        plans.push(tokio::spawn(async move {
            store.plan_issuance(plan, &entry()).await.unwrap().then_some(csr)
        }));
    }
    let mut won = Vec::new();
    for plan in plans {
        won.extend(plan.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store_csr(&stores[0]).await, won[0]);
    assert_eq!(number(&stores[0], CERTIFICATES).await, 1);
    assert_eq!(number(&stores[0], WORK).await, 1);
}

async fn store_csr(store: &Store) -> Vec<u8> {
    store.order_csr(ORDER).await.unwrap().unwrap()
}

async fn assert_not_planned(store: &Store, order: &str) {
    assert!(!store.plan_issuance(plan(store, order).await, &entry()).await.unwrap(), "{order}");
    assert_eq!(number(store, CERTIFICATES).await, 0);
    assert_eq!(number(store, WORK).await, 0);
    assert_eq!(store.order_csr(order).await.unwrap(), None);
    assert!(store.planned_certificate(order).await.unwrap().is_none());
}

pub(super) async fn nothing_is_planned_for_an_order_that_is_not_ready(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    assert_not_planned(&store, ORDER).await;
    conclude(&store, "order-0-dns-01", proved()).await;
    assert_not_planned(&store, ORDER).await;
    conclude(&store, "order-1-dns-01", failed()).await;
    assert_not_planned(&store, ORDER).await;
    assert_not_planned(&store, "nothing").await;
}

pub(super) async fn nothing_is_planned_after_a_deactivation(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    store.create_order(&order("second", &["c.test"]), &entry()).await.unwrap();
    make_ready(&store, ORDER).await;
    make_ready(&store, "second").await;
    store.deactivate_authorization("order-1", NOW, &entry()).await.unwrap();
    assert_not_planned(&store, ORDER).await;
    store.deactivate_account(ACCOUNT, NOW, &entry()).await.unwrap();
    assert_not_planned(&store, "second").await;
}

pub(super) async fn the_plan_is_given_back_as_it_was_made(database: &Database) {
    let store = with_order(database, &["b.test", "*.a.test"]).await;
    assert!(store.planned_certificate(ORDER).await.unwrap().is_none());
    make_ready(&store, ORDER).await;
    let made = Plan { tbs: (0..=255).collect(), now: after(7), ..plan(&store, ORDER).await };
    assert!(store.plan_issuance(made, &entry()).await.unwrap());
    let found = open(database).await.planned_certificate(ORDER).await.unwrap().unwrap();
    assert_eq!(found.ca, CA);
    assert_eq!(found.account_id, ACCOUNT);
    assert_eq!(found.serial, "serial of order");
    assert_eq!(found.tbs, (0..=255).collect::<Vec<u8>>());
    assert_eq!(found.csr, b"csr of order");
    assert_eq!(found.planned_at, after(7));
    let identifiers: Vec<_> = found.identifiers.iter().map(ToString::to_string).collect();
    assert_eq!(identifiers, ["b.test", "*.a.test"]);
}

pub(super) async fn a_plan_with_a_serial_that_was_used_leaves_nothing(database: &Database) {
    let store = with_plan(database).await;
    store.create_order(&order("second", &["c.test"]), &entry()).await.unwrap();
    make_ready(&store, "second").await;
    let twin = Plan { serial: "serial of order".to_owned(), ..plan(&store, "second").await };
    let error = store.plan_issuance(twin, &entry()).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    assert_eq!(store.order_csr("second").await.unwrap(), None);
    assert_eq!(number(&store, WORK).await, 1);
    assert!(store.plan_issuance(plan(&store, "second").await, &entry()).await.unwrap());
}

pub(super) async fn an_issuance_is_completed_once(database: &Database) {
    let store = with_plan(database).await;
    let lease = claim_one(&store, KIND, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), after(1), &entry()).await.unwrap());
    assert_eq!(status(&store, NOW).await.as_str(), "valid");
    assert!(claim(&store, KIND, after(1000), 10).await.is_empty());
    assert_eq!(number(&store, SIGNED).await, 1);
    let issued_at = number(&store, "SELECT issued_at FROM certificates").await;
    assert_eq!(Timestamp::from_unix_ms(issued_at), after(1));
}

pub(super) async fn an_issuance_that_failed_is_not_completed(database: &Database) {
    let store = with_plan(database).await;
    let lost = claim_one(&store, KIND, NOW).await;
    let held = claim_one(&store, KIND, after(20)).await;
    assert!(store.fail_issuance(held, &problem(), &entry()).await.unwrap());
    assert!(!store.complete_issuance(lost, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    assert_eq!(status(&store, NOW).await, OrderStatus::Invalid { problem: problem() });
    assert_eq!(number(&store, SIGNED).await, 0);
    assert_eq!(number(&store, WORK).await, 0);

    // Not even where the work were back on the list.
    let again = super::super::work::enqueue(KIND, ORDER, ACCOUNT, NOW);
    store.db.transact(vec![again]).await.unwrap();
    let lease = claim_one(&store, KIND, NOW).await;
    assert!(!store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    assert_eq!(number(&store, SIGNED).await, 0);
    let lease = claim_one(&store, KIND, after(20)).await;
    assert!(!store.fail_issuance(lease, &problem(), &entry()).await.unwrap());
    assert!(!store.plan_issuance(other_plan(&store, 1).await, &entry()).await.unwrap());
}

pub(super) async fn an_issuance_that_is_complete_does_not_fail(database: &Database) {
    let store = with_plan(database).await;
    let lost = claim_one(&store, KIND, NOW).await;
    let held = claim_one(&store, KIND, after(20)).await;
    assert!(store.complete_issuance(held, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    assert!(!store.fail_issuance(lost, &problem(), &entry()).await.unwrap());
    let again = super::super::work::enqueue(KIND, ORDER, ACCOUNT, NOW);
    store.db.transact(vec![again]).await.unwrap();
    let lease = claim_one(&store, KIND, NOW).await;
    assert!(!store.fail_issuance(lease, &problem(), &entry()).await.unwrap());
    let lease = claim_one(&store, KIND, after(20)).await;
    assert!(!store.complete_issuance(lease, b"other".to_vec(), NOW, &entry()).await.unwrap());
    assert_eq!(status(&store, NOW).await.as_str(), "valid");
    let shown = store.certificate(CA, "certificate of order").await.unwrap().unwrap();
    assert_eq!(shown.certificate, b"signed");
}

pub(super) async fn nothing_is_completed_after_an_authorization_was_deactivated(
    database: &Database,
) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    make_ready(&store, ORDER).await;
    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
    let planned = store.planned_certificate(ORDER).await.unwrap().unwrap();
    assert_eq!(planned.deactivated, []);
    let lease = claim_one(&store, KIND, NOW).await;
    store.deactivate_authorization("order-1", NOW, &entry()).await.unwrap();
    assert!(!store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    assert_eq!(number(&store, SIGNED).await, 0);
    assert_eq!(status(&store, NOW).await, OrderStatus::Processing);
    // Whoever claims it next knows why, and ends it.
    let planned = store.planned_certificate(ORDER).await.unwrap().unwrap();
    assert_eq!(planned.deactivated, [planned.identifiers[1].clone()]);
    let lease = claim_one(&store, KIND, after(20)).await;
    assert!(store.fail_issuance(lease, &problem(), &entry()).await.unwrap());
    assert_eq!(status(&store, NOW).await, OrderStatus::Invalid { problem: problem() });
    assert_eq!(number(&store, WORK).await, 0);
}

pub(super) async fn a_lost_lease_neither_completes_nor_fails(database: &Database) {
    let store = with_plan(database).await;
    let first = claim_one(&store, KIND, NOW).await;
    let second = claim_one(&store, KIND, after(20)).await;
    let third = claim_one(&store, KIND, after(40)).await;
    assert!(!store.complete_issuance(first, b"first".to_vec(), NOW, &entry()).await.unwrap());
    assert!(!store.fail_issuance(second, &problem(), &entry()).await.unwrap());
    assert_eq!(status(&store, NOW).await, OrderStatus::Processing);
    assert_eq!(number(&store, SIGNED).await, 0);
    assert_eq!(number(&store, WORK).await, 1);
    assert!(store.complete_issuance(third, b"third".to_vec(), NOW, &entry()).await.unwrap());
    let shown = store.certificate(CA, "certificate of order").await.unwrap().unwrap();
    assert_eq!(shown.certificate, b"third");
}

pub(super) async fn of_concurrent_workers_one_completes(database: &Database) {
    let stores = [with_plan(database).await, open(database).await];
    let mut leases = Vec::new();
    for number in 0..8 {
        leases.push(claim_one(&stores[0], KIND, after(20 * number)).await);
    }
    let workers: Vec<_> = leases
        .into_iter()
        .zip(0_usize..)
        .map(|(lease, number)| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let certificate = number.to_string().into_bytes();
                store.complete_issuance(lease, certificate, NOW, &entry()).await.unwrap()
            })
        })
        .collect();
    let mut completed = Vec::new();
    for worker in workers {
        completed.push(worker.await.unwrap());
    }
    // The last to claim holds the lease.
    assert_eq!(completed, [false, false, false, false, false, false, false, true]);
    let shown = stores[0].certificate(CA, "certificate of order").await.unwrap().unwrap();
    assert_eq!(shown.certificate, b"7");
}
