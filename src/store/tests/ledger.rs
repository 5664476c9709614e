//! The audit trail.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, entry, migrated, number, order, plan, with_account,
    with_ready_order,
};
use crate::store::db::{Statement, values};
use crate::store::{Registered, Store};

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
