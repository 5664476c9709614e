//! All or nothing, whoever else writes.

use tokio::task::JoinSet;

use super::{Fixture, NOW, on_both};
use crate::store::db::{Done, Statement, values};
use crate::store::{SchemaStatus, Store, StoreError};

on_both! {
    a_transaction_is_undone_where_a_required_statement_changes_nothing,
    a_transaction_is_undone_where_a_statement_fails,
    many_writers_at_once_each_get_their_own_result,
    a_caller_that_goes_away_leaves_nothing_half_done,
    the_schema_is_brought_up_to_date_by_many_at_once,
}

const INSERT: &str = "INSERT INTO shared_keys (name, value) VALUES ($1, $2)";

fn insert(name: &str) -> Statement {
    Statement::new(INSERT, values![name, &b"value"[..]])
}

async fn names(store: &Store) -> Vec<String> {
    let rows = store.db.read("SELECT name FROM shared_keys ORDER BY name", Vec::new()).await;
    rows.unwrap().iter().map(|row| row.text(0).unwrap()).collect()
}

async fn a_transaction_is_undone_where_a_required_statement_changes_nothing(fixture: Fixture) {
    let nothing = "UPDATE shared_keys SET value = $2 WHERE name = $1";
    let nothing = Statement::required(nothing, values!["missing", &b"x"[..]]);
    let done = fixture.store.db.transact(vec![insert("a"), nothing, insert("b")]).await.unwrap();
    assert_eq!(done, Done::Refused);
    assert_eq!(names(&fixture.store).await, [""; 0]);
    let done = fixture.store.db.transact(vec![insert("a"), insert("b")]).await.unwrap();
    assert_eq!(done, Done::Committed);
    assert_eq!(names(&fixture.store).await, ["a", "b"]);
}

async fn a_transaction_is_undone_where_a_statement_fails(fixture: Fixture) {
    let store = &fixture.store;
    let twice = store.db.transact(vec![insert("a"), insert("a")]).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    let nonsense = Statement::new("UPDATE nowhere SET x = 1", Vec::new());
    let failed = store.db.transact(vec![insert("a"), nonsense]).await;
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    assert_eq!(names(store).await, [""; 0]);
    store.db.transact(vec![insert("a")]).await.unwrap();
}

async fn many_writers_at_once_each_get_their_own_result(fixture: Fixture) {
    let mut tasks = JoinSet::new();
    for index in 0..64 {
        let store = fixture.store.clone();
        tasks.spawn(async move {
            // Every second one meets a row of its own that is there already.
            let name = format!("{index:02}");
            let statements = match index % 2 {
                0 => vec![insert(&name)],
                _ => vec![insert(&name), insert(&name)],
            };
            (index, store.db.transact(statements).await.is_ok())
        });
    }
    for (index, well) in tasks.join_all().await {
        assert_eq!(well, index % 2 == 0);
    }
    assert_eq!(names(&fixture.store).await.len(), 32);
}

async fn a_caller_that_goes_away_leaves_nothing_half_done(fixture: Fixture) {
    for index in 0..50_u64 {
        let (a, b) = (format!("{index}-a"), format!("{index}-b"));
        let store = fixture.store.clone();
        let writing =
            tokio::spawn(async move { store.db.transact(vec![insert(&a), insert(&b)]).await });
        tokio::time::sleep(std::time::Duration::from_micros(index * 40)).await;
        writing.abort();
        let _ = writing.await;
    }
    fixture
        .store
        .spend_nonce(crate::acme::nonce::Nonce { id: vec![1], expires_at: NOW })
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let names = names(&fixture.store).await;
    assert_eq!(names.len() % 2, 0, "{names:?}");
}

async fn the_schema_is_brought_up_to_date_by_many_at_once(fixture: Fixture) {
    let other = fixture.another().await;
    let (one, two) = tokio::join!(fixture.store.migrate(), other.migrate());
    one.unwrap();
    two.unwrap();
    let status = fixture.store.schema_status().await.unwrap();
    assert_eq!(status, SchemaStatus { newest: 4, applied: Some(4) });
}

#[tokio::test]
async fn sqlite_forgets_nothing_when_the_power_fails() {
    let fixture = Fixture::new(harness::Database::sqlite()).await;
    // Asked of the connection that writes.
    let pragma = |sql| fixture.store.db.change(sql, Vec::new());
    assert_eq!(pragma("PRAGMA journal_mode").await.unwrap()[0].text(0).unwrap(), "wal");
    assert_eq!(pragma("PRAGMA synchronous").await.unwrap()[0].int(0).unwrap(), 2, "FULL");
}

#[tokio::test]
async fn a_database_without_a_schema_says_so() {
    for database in [harness::Database::sqlite(), harness::Database::postgres()] {
        let store = Store::open(&database.url(), 2).await.unwrap();
        let status = store.schema_status().await.unwrap();
        assert_eq!(status, SchemaStatus { newest: 4, applied: None });
    }
}
