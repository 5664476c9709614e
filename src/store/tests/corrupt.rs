//! Rows that say what cannot be.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, conclude, entry, execute, failed, proved, with_account,
    with_order, with_plan,
};
use crate::store::StoreError;
use crate::store::db::values;

/// That the result is the complaint about this row.
fn assert_corrupt<T: std::fmt::Debug>(
    result: Result<T, StoreError>,
    table: &'static str,
    id: &str,
) {
    match result {
        Err(StoreError::Corrupt { table: found, id: row }) => {
            assert_eq!((found, row.as_str()), (table, id));
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn an_account_with_broken_contacts_is_corrupt(database: &Database) {
    let store = with_account(database).await;
    for contact in ["[\"mailto:", "{}", "", "[1]"] {
        execute(&store, "UPDATE accounts SET contact = $1", values![contact]).await;
        assert_corrupt(store.account(CA, ACCOUNT).await, "accounts", ACCOUNT);
        let known = account(ACCOUNT, CA);
        assert_corrupt(store.account_by_key(CA, &known.thumbprint).await, "accounts", ACCOUNT);
        assert_corrupt(store.register_account(known, &entry()).await, "accounts", ACCOUNT);
    }
}

pub(super) async fn an_authorization_with_a_name_no_order_can_have_is_corrupt(database: &Database) {
    let store = with_plan(database).await;
    execute(&store, "UPDATE authorizations SET identifier = $1", values!["a..test"]).await;
    assert_corrupt(store.authorization(CA, "order-0").await, "authorizations", "order-0");
    assert_corrupt(store.order(CA, ORDER).await, "authorizations", "order-0");
    assert_corrupt(store.to_validate("order-0-dns-01").await, "authorizations", "order-0");
    assert_corrupt(store.planned_certificate(ORDER).await, "orders", ORDER);
}

pub(super) async fn a_challenge_both_valid_and_failed_is_corrupt(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    conclude(&store, "order-0-http-01", failed()).await;
    conclude(&store, "order-1-http-01", proved()).await;
    let both = "UPDATE challenges SET validated_at = $1 WHERE error IS NOT NULL";
    execute(&store, both, values![NOW]).await;
    for result in [
        store.authorization(CA, "order-0").await,
        store.authorization_of_challenge(CA, "order-0-dns-01").await,
    ] {
        assert_corrupt(result, "challenges", "order-0-http-01");
    }
    assert_corrupt(store.to_validate("order-0-http-01").await, "challenges", "order-0-http-01");
    assert_corrupt(store.order(CA, ORDER).await, "challenges", "order-0-http-01");
    assert!(store.authorization(CA, "order-1").await.unwrap().is_some());
}

pub(super) async fn a_challenge_with_a_broken_problem_is_corrupt(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    conclude(&store, "order-0-http-01", failed()).await;
    for error in ["{", "", "{\"type\":\"nonsense\",\"detail\":\"\",\"status\":400}"] {
        let update = "UPDATE challenges SET error = $1 WHERE error IS NOT NULL";
        execute(&store, update, values![error]).await;
        let result = store.authorization(CA, "order-0").await;
        assert_corrupt(result, "challenges", "order-0-http-01");
    }
}

pub(super) async fn a_challenge_of_an_unknown_type_is_corrupt(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let update = "UPDATE challenges SET type = $1 WHERE id = $2";
    execute(&store, update, values!["http-02", "order-0-http-01"]).await;
    let result = store.authorization(CA, "order-0").await;
    assert_corrupt(result, "challenges", "order-0-http-01");
}

pub(super) async fn an_order_with_a_broken_problem_is_corrupt(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    execute(&store, "UPDATE orders SET error = $1", values!["{\"type\":"]).await;
    assert_corrupt(store.order(CA, ORDER).await, "orders", ORDER);
}
