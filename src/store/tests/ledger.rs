//! The audit trail.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, entry, execute, migrated, number, open, order, plan,
    with_account, with_ready_order,
};
use crate::ledger::{ChainCheck, Head};
use crate::store::db::{Statement, values};
use crate::store::{Registered, Sealed, Store};

const PENDING: &str = "SELECT COUNT(*) FROM audit_pending";

pub(super) async fn a_decision_and_its_entry_are_there_together_or_not_at_all(database: &Database) {
    let store = with_ready_order(database).await;
    let before = number(&store, PENDING).await;
    let again = store.register_account(account(ACCOUNT, CA), &entry()).await.unwrap();
    assert!(matches!(again, Registered::Exists(_)));
    assert_eq!(number(&store, PENDING).await, before, "nothing was decided");
    assert!(store.create_order(&order(ORDER, &["a.test"]), &entry()).await.is_err());
    assert_eq!(number(&store, PENDING).await, before, "nothing was kept");

    let planned = plan(&store, ORDER).await;
    assert!(store.plan_issuance(planned, &entry()).await.unwrap());
    assert_eq!(number(&store, PENDING).await, before + 1);
    let planned = plan(&store, ORDER).await;
    assert!(!store.plan_issuance(planned, &entry()).await.unwrap());
    assert_eq!(number(&store, PENDING).await, before + 1);

    store.update_account(ACCOUNT, Some(&[]), None, &entry()).await.unwrap();
    assert_eq!(number(&store, PENDING).await, before + 2);
    assert!(store.deactivate_account(ACCOUNT, after(1), &entry()).await.unwrap());
    store.update_account(ACCOUNT, Some(&[]), None, &entry()).await.unwrap();
    store.deactivate_authorization("none", NOW, &entry()).await.unwrap();
    assert_eq!(number(&store, PENDING).await, before + 3);
}

/// What the database says to it.
async fn refused(store: &Store, sql: &'static str) -> String {
    store.db.transact(vec![Statement::new(sql, values![])]).await.unwrap_err().to_string()
}

pub(super) async fn what_is_pending_is_neither_changed_nor_deleted(database: &Database) {
    let store = with_account(database).await;
    assert_eq!(number(&store, PENDING).await, 1);
    for sql in ["UPDATE audit_pending SET entry = '{}'", "DELETE FROM audit_pending"] {
        let error = refused(&store, sql).await;
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(number(&store, PENDING).await, 1);
    // Nor does it stand in the way of those that come after.
    let store = migrated(database).await;
    store.register_account(account("other", CA), &entry()).await.unwrap();
    assert_eq!(number(&store, PENDING).await, 2);
}

/// Every row of the chain, which must be whole.
async fn whole(store: &Store) -> Vec<crate::ledger::Row> {
    let rows = store.sealed_entries(0, 100_000).await.unwrap();
    let mut check = ChainCheck::after(Head::genesis());
    for row in &rows {
        assert_eq!(check.row(row), None);
    }
    assert_eq!(*check.head(), store.trail().await.unwrap().head);
    rows
}

pub(super) async fn of_several_sealers_each_entry_gets_one_place(database: &Database) {
    migrated(database).await;
    let mut instances = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = open(database).await;
        instances.spawn(async move {
            for round in 0..20 {
                for _ in 0..5 {
                    store.note_alone(&entry()).await.unwrap();
                }
                // Each takes over from the one before, as if that had been killed.
                let later = after(1000 * (round + 1));
                match store.seal(later).await {
                    Ok(_) | Err(crate::store::StoreError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(ended) = instances.join_next().await {
        ended.unwrap();
    }
    let store = open(database).await;
    while let Sealed::Entries(_) = store.seal(after(1_000_000)).await.unwrap() {}
    let rows = whole(&store).await;
    assert_eq!(rows.len(), 300);
    assert_eq!(number(&store, PENDING).await, 0);
}

pub(super) async fn one_instance_seals_until_it_leaves_or_its_time_is_up(database: &Database) {
    let one = with_account(database).await;
    let other = open(database).await;
    assert_eq!(one.seal(NOW).await.unwrap(), Sealed::Entries(1));
    assert_eq!(one.seal(NOW).await.unwrap(), Sealed::Nothing);
    one.note_alone(&entry()).await.unwrap();
    assert_eq!(other.seal(after(9)).await.unwrap(), Sealed::Elsewhere);
    assert_eq!(other.seal(after(11)).await.unwrap(), Sealed::Entries(1));
    assert!(other.seals(&other.trail().await.unwrap()));
    one.note_alone(&entry()).await.unwrap();
    assert_eq!(one.seal(after(12)).await.unwrap(), Sealed::Elsewhere);
    one.leave_sealing().await.unwrap();
    assert_eq!(one.seal(after(12)).await.unwrap(), Sealed::Elsewhere, "it was not one that sealed");
    other.leave_sealing().await.unwrap();
    assert_eq!(one.seal(after(12)).await.unwrap(), Sealed::Entries(1));
    assert_eq!(whole(&one).await.len(), 3);
}

pub(super) async fn nothing_is_sealed_where_an_entry_was_taken_away(database: &Database) {
    let store = with_account(database).await;
    store.note_alone(&entry()).await.unwrap();
    assert_eq!(store.seal(NOW).await.unwrap(), Sealed::Entries(2));
    // The end of the chain is moved on behind the store's back: what comes does not fit.
    execute(&store, "UPDATE audit_head SET position = 1", values![]).await;
    store.note_alone(&entry()).await.unwrap();
    assert_eq!(store.seal(NOW).await.unwrap(), Sealed::Broken(2));
    let unknowing = open(database).await;
    assert!(unknowing.seal(after(100)).await.is_err(), "a position that is taken");
    assert_eq!(number(&store, PENDING).await, 1, "the entry waits");
    execute(&store, "UPDATE audit_head SET position = 2", values![]).await;
    assert_eq!(store.seal(NOW).await.unwrap(), Sealed::Entries(1));
    assert_eq!(whole(&store).await.len(), 3);
}
