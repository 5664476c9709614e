//! Leases.

use std::collections::BTreeSet;

use harness::Database;

use super::fixture::{
    ACCOUNT, LEASE, NOW, ORDER, after, begin, claim, claim_one, entry, lease_validation, migrated,
    number, open, plan, proved, with_order, with_ready_order,
};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::store::db::Statement;
use crate::store::work::enqueue;
use crate::store::{Lease, Store, WorkKind};

const KIND: WorkKind = WorkKind::Validation;

const HTTP: &str = "order-0-http-01";
const THUMBPRINT: &str = "thumbprint of account";

pub(super) async fn what_is_taken_on_at_once_is_claimed_once_its_lease_has_lapsed(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    let take_on = |thumbprint: &'static str| begin_and_lease(&store, thumbprint);
    assert!(take_on("of a key that the account had before").await.is_none());
    assert_eq!(store.next_due(KIND).await.unwrap(), None);
    let lease = take_on(THUMBPRINT).await.unwrap();
    assert_eq!((lease.subject(), lease.attempt()), (HTTP, 1));
    assert!(take_on(THUMBPRINT).await.is_none(), "it was begun");
    let other = open(database).await;
    assert!(claim(&other, KIND, after(19), 10).await.is_empty());
    let lapsed = claim_one(&other, KIND, after(20)).await;
    assert_eq!(lapsed.attempt(), 2);
    assert!(!store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
    assert!(other.conclude_challenge(&lapsed, &proved(), &entry()).await.unwrap());
}

/// Begins the challenge for an account with this key, and takes its validation on at once.
async fn begin_and_lease(store: &Store, thumbprint: &str) -> Option<Lease> {
    let lease = store.new_lease(KIND, HTTP, ACCOUNT, Entropy).unwrap();
    store.begin_and_lease_challenge(begin(HTTP, NOW), thumbprint, lease, LEASE).await.unwrap()
}

async fn take_on_validation(store: &Store) -> Lease {
    begin_and_lease(store, THUMBPRINT).await.unwrap()
}

async fn leased(store: &Store) -> i64 {
    let figures = store.work_figures(NOW).await.unwrap();
    figures.iter().map(|kind| kind.leased).sum()
}

pub(super) async fn what_is_taken_on_at_once_can_be_put_off_and_handed_back(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lease = take_on_validation(&store).await;
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(NOW.plus(LEASE)));
    assert!(store.work_exists(KIND, HTTP).await.unwrap());
    assert_eq!(leased(&store).await, 1);
    let claim_of_it = lease.claim();
    store.hand_back([claim_of_it.clone()], after(1)).await.unwrap();
    let again = claim_one(&store, KIND, after(1)).await;
    assert_eq!((again.subject(), again.account_id(), again.attempt()), (HTTP, ACCOUNT, 1));
    // It is another's by now.
    store.hand_back([claim_of_it], after(1)).await.unwrap();
    store.postpone(lease, after(1)).await.unwrap();
    assert!(claim(&store, KIND, after(2), 10).await.is_empty());
    store.discard(again).await.unwrap();
    assert!(!store.work_exists(KIND, HTTP).await.unwrap());
    assert_eq!(leased(&store).await, 0);
}

pub(super) async fn what_is_taken_on_at_once_and_put_off_is_claimed_when_it_is_due(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    let lease = take_on_validation(&store).await;
    store.postpone(lease, after(3)).await.unwrap();
    assert!(claim(&store, KIND, after(2), 10).await.is_empty());
    let again = claim_one(&store, KIND, after(3)).await;
    assert_eq!((again.account_id(), again.attempt()), (ACCOUNT, 2));
    assert!(store.conclude_challenge(&again, &proved(), &entry()).await.unwrap());
    assert_eq!(store.next_due(KIND).await.unwrap(), None);
}

pub(super) async fn what_is_taken_on_at_once_by_a_clock_put_far_ahead_is_fetched_back(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    let lease = take_on_validation(&store).await;
    // By a clock that was set back by a day since.
    let earlier = Timestamp::from_unix_ms(NOW.unix_ms() - 24 * 3600 * 1000);
    store.pull_work_back(earlier).await.unwrap();
    let again = claim_one(&store, KIND, earlier).await;
    assert_eq!(again.attempt(), 2);
    assert!(!store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
}

pub(super) async fn what_a_process_before_had_taken_on_is_claimed_at_once_on_sqlite_alone(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    let left_behind = take_on_validation(&store).await;
    open(database).await.lapse_leases(NOW).await.unwrap();
    if matches!(database, Database::Postgres(_)) {
        // Another process may be at it.
        assert!(claim(&store, KIND, NOW, 10).await.is_empty());
        return;
    }
    let again = claim_one(&store, KIND, NOW).await;
    assert_eq!((again.subject(), again.account_id(), again.attempt()), (HTTP, ACCOUNT, 2));
    assert!(!store.conclude_challenge(&left_behind, &proved(), &entry()).await.unwrap());
}

pub(super) async fn what_is_taken_on_at_once_ends_with_its_account(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let lease = take_on_validation(&store).await;
    assert!(store.deactivate_account(ACCOUNT, NOW, &entry()).await.unwrap());
    assert!(!store.work_exists(KIND, HTTP).await.unwrap());
    assert!(!store.conclude_challenge(&lease, &proved(), &entry()).await.unwrap());
}

pub(super) async fn a_plan_that_is_taken_on_at_once_is_there_until_it_is_complete(
    database: &Database,
) {
    let store = with_ready_order(database).await;
    let kind = WorkKind::Issuance;
    let made = plan(&store, ORDER).await;
    let plan_and_lease = async || {
        let lease = store.new_lease(kind, ORDER, ACCOUNT, Entropy).unwrap();
        store.plan_and_lease_issuance(&made, &entry(), lease, LEASE).await.unwrap()
    };
    let lease = plan_and_lease().await.unwrap();
    let again = plan_and_lease().await;
    assert!(again.is_none(), "it was planned");
    let other = open(database).await;
    assert!(claim(&other, kind, after(19), 10).await.is_empty());
    let lapsed = claim_one(&other, kind, after(20)).await;
    assert!(!store.complete_issuance(lease, b"late".to_vec(), after(21), &entry()).await.unwrap());
    assert!(
        other
            .complete_issuance(lapsed, b"certificate".to_vec(), after(21), &entry())
            .await
            .unwrap()
    );
    assert_eq!(other.next_due(kind).await.unwrap(), None);
}

/// Puts pieces of work on the list, each due a second after the one before.
async fn with_work(database: &Database, pieces: u64) -> Store {
    let store = migrated(database).await;
    let statements: Vec<Statement> = (0..pieces)
        .map(|piece| enqueue(KIND, &format!("piece-{piece}"), ACCOUNT, after(piece)))
        .collect();
    store.db.transact(statements).await.unwrap();
    store
}

fn subjects(leases: &[Lease]) -> BTreeSet<&str> {
    leases.iter().map(|lease| lease.subject()).collect()
}

pub(super) async fn only_what_is_due_is_claimed(database: &Database) {
    let store = migrated(database).await;
    assert_eq!(store.next_due(KIND).await.unwrap(), None);
    let store = {
        drop(store);
        with_work(database, 3).await
    };
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(NOW));
    let leases = claim(&store, KIND, after(1), 10).await;
    assert_eq!(subjects(&leases), BTreeSet::from(["piece-0", "piece-1"]));
    assert!(leases.iter().all(|lease| lease.attempt() == 1));
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(after(2)));
    assert!(claim(&store, KIND, after(1), 10).await.is_empty());
}

pub(super) async fn work_that_a_clock_put_far_ahead_is_fetched_back(database: &Database) {
    let store = with_work(database, 1).await;
    // Claimed by a clock that was a day ahead.
    let day = 24 * 3600;
    let [lost] = claim(&store, KIND, after(day), 10).await.try_into().unwrap();
    assert!(claim(&store, KIND, after(1), 10).await.is_empty());
    store.pull_work_back(after(1)).await.unwrap();
    assert_eq!(claim(&store, KIND, after(1), 10).await.len(), 1);
    // What another has by now is not fetched back from it, nor settled by the first.
    store.pull_work_back(after(1)).await.unwrap();
    assert!(claim(&store, KIND, after(1), 10).await.is_empty());
    store.discard(lost).await.unwrap();
    assert_eq!(store.next_due(KIND).await.unwrap().map(|due| due > after(1)), Some(true));
}

pub(super) async fn at_most_the_limit_is_claimed(database: &Database) {
    let store = with_work(database, 50).await;
    for expected in [20, 20, 10, 0] {
        // All are due, and no lease has lapsed.
        let now = after(50);
        let leases = claim(&store, KIND, now, 20).await;
        assert_eq!(leases.len(), expected);
    }
}

pub(super) async fn concurrent_claimers_never_get_the_same_piece(database: &Database) {
    let stores = [with_work(database, 200).await, open(database).await];
    let claimers: Vec<_> = (0..8)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                let mut empty = 0;
                // On Postgres a claim may find all that is due locked by others, and nothing left.
                while empty < 3 {
                    let leases = claim(&store, KIND, after(200), 7).await;
                    assert!(leases.len() <= 7, "{} leases were claimed", leases.len());
                    empty = if leases.is_empty() { empty + 1 } else { 0 };
                    mine.extend(leases.into_iter().map(|lease| lease.subject().to_owned()));
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 200);
    assert_eq!(number(&stores[0], "SELECT MAX(attempts) FROM work").await, 1);
}

pub(super) async fn a_lapsed_lease_is_claimed_again_as_the_next_attempt(database: &Database) {
    let store = with_work(database, 1).await;
    for attempt in 1..=4 {
        let now = after(20 * u64::from(attempt - 1));
        let lease = claim_one(&store, KIND, now).await;
        assert_eq!((lease.subject(), lease.attempt()), ("piece-0", attempt));
        let almost = now.plus(std::time::Duration::from_millis(19_999));
        assert!(claim(&store, KIND, almost, 10).await.is_empty());
    }
}

pub(super) async fn postponed_work_is_claimed_when_it_is_due_again(database: &Database) {
    let store = with_work(database, 1).await;
    let lease = claim_one(&store, KIND, NOW).await;
    store.postpone(lease, after(3)).await.unwrap();
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(after(3)));
    assert!(claim(&store, KIND, after(2), 10).await.is_empty());
    assert_eq!(claim_one(&store, KIND, after(3)).await.attempt(), 2);
}

pub(super) async fn discarded_work_is_gone(database: &Database) {
    let store = with_work(database, 2).await;
    let lease = claim_one(&store, KIND, NOW).await;
    store.discard(lease).await.unwrap();
    let left = claim(&store, KIND, after(1000), 10).await;
    assert_eq!(subjects(&left), BTreeSet::from(["piece-1"]));
}

pub(super) async fn work_that_is_handed_back_is_due_at_once_and_its_attempt_does_not_count(
    database: &Database,
) {
    let store = with_work(database, 3).await;
    let leases = claim(&store, KIND, after(2), 10).await;
    let claims: Vec<_> = leases.iter().map(Lease::claim).collect();
    // One is settled, and one is put off: neither is due.
    let mut leases = leases.into_iter();
    store.discard(leases.next().unwrap()).await.unwrap();
    store.postpone(leases.next().unwrap(), after(9)).await.unwrap();
    let left = leases.next().unwrap();
    store.hand_back(claims.clone(), after(2)).await.unwrap();
    let again = claim(&store, KIND, after(2), 10).await;
    assert_eq!(subjects(&again), BTreeSet::from([left.subject()]));
    assert_eq!(again[0].attempt(), 1);
    // Handed back a second time it is somebody else's.
    store.hand_back(claims, after(3)).await.unwrap();
    assert!(claim(&store, KIND, after(3), 10).await.is_empty());
}

pub(super) async fn a_lapsed_lease_neither_postpones_nor_discards(database: &Database) {
    let store = with_work(database, 1).await;
    let (one, two) = (claim_one(&store, KIND, NOW).await, claim_one(&store, KIND, after(20)).await);
    store.postpone(one, after(1)).await.unwrap();
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(after(40)));
    let three = claim_one(&store, KIND, after(40)).await;
    store.discard(two).await.unwrap();
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(after(60)));
    store.discard(three).await.unwrap();
    assert_eq!(store.next_due(KIND).await.unwrap(), None);
}

pub(super) async fn leases_of_a_process_before_lapse_at_once_on_sqlite_alone(database: &Database) {
    let store = with_work(database, 2).await;
    let left_behind = claim_one(&store, KIND, NOW).await;
    open(database).await.lapse_leases(NOW).await.unwrap();
    if matches!(database, Database::Postgres(_)) {
        // Another process may be at it.
        assert!(claim(&store, KIND, NOW, 10).await.is_empty());
        return;
    }
    let again = claim_one(&store, KIND, NOW).await;
    assert_eq!((again.subject(), again.attempt()), ("piece-0", 2));
    store.discard(left_behind).await.unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM work").await, 2);
    // What nobody had begun is due when it was.
    assert_eq!(store.next_due(KIND).await.unwrap(), Some(after(1)));
}

pub(super) async fn work_of_one_kind_is_not_claimed_as_the_other(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    // Of the same name as the challenge.
    let twin = enqueue(WorkKind::Issuance, "order-0-http-01", ACCOUNT, after(5));
    store.db.transact(vec![twin]).await.unwrap();
    assert!(claim(&store, KIND, after(10), 10).await.is_empty());
    let validation = lease_validation(&store, "order-0-http-01").await;
    assert_eq!(store.next_due(WorkKind::Issuance).await.unwrap(), Some(after(5)));
    let issuance = claim_one(&store, WorkKind::Issuance, after(5)).await;
    store.discard(validation).await.unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM work WHERE kind = 'issuance'").await, 1);
    store.discard(issuance).await.unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM work").await, 0);
}

#[tokio::test]
async fn on_postgres_a_claim_keeps_to_its_limit_where_the_planner_expects_one_row() {
    let database = Database::postgres();
    let store = with_work(&database, 1).await;
    let analyze = Statement::new("ANALYZE work", Vec::new());
    store.db.transact_long(vec![analyze]).await.unwrap();
    let statements: Vec<Statement> =
        (1..50).map(|piece| enqueue(KIND, &format!("piece-{piece}"), ACCOUNT, NOW)).collect();
    store.db.transact(statements).await.unwrap();
    for expected in [20, 20, 10] {
        assert_eq!(claim(&store, KIND, NOW, 20).await.len(), expected);
    }
}
