//! Transactions.

use std::time::Duration;

use harness::Database;

use super::fixture::{NOW, begin, entry, migrated, number, open, order, with_account};
use crate::store::db::{Done, Row, Statement, Value, values};
use crate::store::{Store, StoreError};

const KEYS: &str = "SELECT COUNT(*) FROM shared_keys";

fn insert(name: &str) -> Statement {
    let sql = "INSERT INTO shared_keys (name, value) VALUES ($1, $2)";
    Statement::new(sql, values![name, name.as_bytes()])
}

/// A required statement that finds nothing to change.
fn without_effect() -> Statement {
    Statement::required("DELETE FROM shared_keys WHERE name = $1", values!["nothing"])
}

fn failing() -> Statement {
    Statement::new("INSERT INTO shared_keys (name, value) VALUES ($1, NULL)", values!["failing"])
}

async fn exists(store: &Store, name: &str) -> bool {
    let sql = "SELECT COUNT(*) FROM shared_keys WHERE name = $1";
    store.db.read(sql, values![name]).await.unwrap()[0].int(0).unwrap() == 1
}

pub(super) async fn a_database_that_is_there_answers(database: &Database) {
    let store = migrated(database).await;
    store.ping().await.unwrap();
}

pub(super) async fn a_required_statement_without_effect_undoes_the_others(database: &Database) {
    let store = migrated(database).await;
    let statements = vec![insert("before"), without_effect(), insert("after")];
    assert_eq!(store.db.transact(statements).await.unwrap(), Done::Refused);
    let last = vec![insert("before"), insert("between"), without_effect()];
    assert_eq!(store.db.transact(last).await.unwrap(), Done::Refused);
    assert_eq!(store.db.transact(vec![without_effect()]).await.unwrap(), Done::Refused);
    assert_eq!(number(&store, KEYS).await, 0);
    let statements = vec![insert("before"), insert("after")];
    assert_eq!(store.db.transact(statements).await.unwrap(), Done::Committed);
    assert_eq!(number(&store, KEYS).await, 2);
}

pub(super) async fn a_failing_statement_undoes_the_others(database: &Database) {
    let store = migrated(database).await;
    for statements in [
        vec![insert("before"), failing()],
        vec![failing(), insert("after")],
        vec![insert("before"), Statement::new("INSERT INTO nowhere VALUES (1)", Vec::new())],
        vec![failing()],
    ] {
        let error = store.db.transact(statements).await.unwrap_err();
        assert!(matches!(error, StoreError::Database(_)), "{error:?}");
    }
    let twice = store.db.transact(vec![insert("before"), insert("before")]).await.unwrap_err();
    assert!(matches!(twice, StoreError::Conflict(_)), "{twice:?}");
    assert_eq!(number(&store, KEYS).await, 0);
    assert_eq!(store.db.transact(vec![insert("before")]).await.unwrap(), Done::Committed);
}

/// What is written, and how that ends.
async fn write(store: &Store, number: i64) {
    let name = format!("key-{number}");
    let extra = format!("extra-{number}");
    match number % 5 {
        0 => {
            let sql = "INSERT INTO shared_keys (name, value) VALUES ($1, $2) RETURNING name, $3";
            let values: Vec<Value> = values![name.as_str(), name.as_bytes(), number];
            let rows: Vec<Row> = store.db.change(sql, values).await.unwrap();
            assert_eq!((rows[0].text(0).unwrap(), rows[0].int(1).unwrap()), (name.clone(), number));
            assert!(exists(store, &name).await);
        }
        1 => {
            let statements = vec![insert(&name), insert(&extra)];
            assert_eq!(store.db.transact(statements).await.unwrap(), Done::Committed);
            assert!(exists(store, &name).await && exists(store, &extra).await);
        }
        2 => {
            let statements = vec![insert(&name), without_effect()];
            assert_eq!(store.db.transact(statements).await.unwrap(), Done::Refused);
            assert!(!exists(store, &name).await);
        }
        3 => {
            let error = store.db.transact(vec![insert(&name), failing()]).await.unwrap_err();
            assert!(matches!(error, StoreError::Database(_)), "{error:?}");
            assert!(!exists(store, &name).await);
        }
        _ => {
            let error = store.db.transact(vec![failing()]).await.unwrap_err();
            assert!(matches!(error, StoreError::Database(_)), "{error:?}");
        }
    }
}

pub(super) async fn of_64_concurrent_writers_each_gets_its_own_result(database: &Database) {
    let store = migrated(database).await;
    let writers: Vec<_> = (0..64)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { write(&store, number).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // 13 of the first kind, with one key; 13 of the second, with two.
    assert_eq!(number(&store, KEYS).await, 13 + 26);
}

pub(super) async fn a_caller_that_goes_away_leaves_nothing_half_done(database: &Database) {
    let store = with_account(database).await;
    for index in 0..60 {
        let order = order(&format!("order{index}"), &["a.test", "b.test", "c.test"]);
        let caller = tokio::spawn({
            let store = store.clone();
            async move { store.create_order(&order, &entry()).await }
        });
        if index % 10 == 9 {
            caller.await.unwrap().unwrap();
        } else {
            tokio::time::sleep(Duration::from_micros(100 * index)).await;
            caller.abort();
        }
    }
    store.close().await;
    let store = open(database).await;
    let orders = number(&store, "SELECT COUNT(*) FROM orders").await;
    assert!(orders >= 6, "those who stayed have theirs");
    assert_eq!(number(&store, "SELECT COUNT(*) FROM authorizations").await, 3 * orders);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM challenges").await, 9 * orders);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM order_authorizations").await, 3 * orders);
    // And nobody is left who holds the database.
    store.create_order(&order("last", &["a.test"]), &entry()).await.unwrap();
}

pub(super) async fn closing_waits_for_what_was_begun(database: &Database) {
    let store = migrated(database).await;
    let writers: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.db.transact(vec![insert(&number.to_string())]).await })
        })
        .collect();
    // All have begun.
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.close().await;
    let written = number(&open(database).await, KEYS).await;
    let mut committed = 0;
    for writer in writers {
        committed += i64::from(matches!(writer.await.unwrap(), Ok(Done::Committed)));
    }
    assert_eq!(written, committed);
    assert!(written > 0);
}

#[tokio::test]
async fn sqlite_writes_a_log_and_waits_for_the_disk() {
    let database = Database::sqlite();
    let store = migrated(&database).await;
    let journal = store.db.change("PRAGMA journal_mode", Vec::new()).await.unwrap();
    assert_eq!(journal[0].text(0).unwrap(), "wal");
    for (pragma, expected) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
        let rows = store.db.change(pragma, Vec::new()).await.unwrap();
        assert_eq!(rows[0].int(0).unwrap(), expected, "{pragma}");
    }
}

#[tokio::test]
async fn sqlite_readers_cannot_write() {
    let database = Database::sqlite();
    let store = migrated(&database).await;
    assert!(store.db.read("DELETE FROM accounts", Vec::new()).await.is_err());
}

#[tokio::test]
async fn sqlite_is_found_again_by_the_next_process() {
    let database = Database::sqlite();
    let store = with_account(&database).await;
    store.create_order(&order("order", &["a.test"]), &entry()).await.unwrap();
    store.close().await;
    drop(store);
    let store = open(&database).await;
    assert!(store.order("web", "order").await.unwrap().is_some());
    assert_eq!(store.next_due(crate::store::WorkKind::Validation).await.unwrap(), None);
    assert!(store.begin_challenge(begin("order-0-http-01", NOW)).await.unwrap());
}

#[tokio::test]
async fn an_url_that_cannot_be_read_is_said_to_be_so() {
    for url in ["postgres://[", "sqlite://a?mode=nonsense"] {
        let error = Store::open(url, 1).await.err().unwrap();
        assert!(matches!(error, StoreError::Url(_)), "{error:?}");
    }
}

#[test]
fn sqlite_has_written_what_was_begun_when_it_is_closed() {
    let database = Database::sqlite();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    first.block_on(async {
        let store = migrated(&database).await;
        for number in 0..20 {
            // A caller that asks, and goes away before there is an answer.
            tokio::select! {
                biased;
                _ = store.db.transact(vec![insert(&number.to_string())]) => panic!("too early"),
                () = std::future::ready(()) => {}
            }
        }
        store.close().await;
    });
    drop(first);
    let written = runtime().block_on(async { number(&open(&database).await, KEYS).await });
    assert_eq!(written, 20);
}
