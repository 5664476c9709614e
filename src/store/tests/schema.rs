//! The schema and its steps.

use std::collections::BTreeSet;
use std::ffi::OsString;

use harness::Database;

use super::fixture::{execute, migrated, open, with_account};
use crate::store::db::{Row, values};
use crate::store::{SchemaStatus, migrate};

pub(super) async fn the_schema_is_known_before_and_after_migration(database: &Database) {
    let store = open(database).await;
    let newest = migrate::newest();
    assert_eq!(store.schema_status().await.unwrap(), SchemaStatus { newest, applied: None });
    store.migrate().await.unwrap();
    let migrated = SchemaStatus { newest, applied: Some(newest) };
    assert_eq!(store.schema_status().await.unwrap(), migrated);
    assert_eq!(open(database).await.schema_status().await.unwrap(), migrated);
    assert_eq!(migrated.to_string(), format!("schema at step {newest}, up to date"));
}

pub(super) async fn migrating_twice_is_fine(database: &Database) {
    let store = with_account(database).await;
    store.migrate().await.unwrap();
    open(database).await.migrate().await.unwrap();
    assert!(store.account("web", "account").await.unwrap().is_some());
}

pub(super) async fn several_stores_migrate_at_once(database: &Database) {
    let start = || async {
        let store = open(database).await;
        store.migrate().await.unwrap();
        store.schema_status().await.unwrap()
    };
    let (one, two, three, four) = tokio::join!(start(), start(), start(), start());
    for status in [one, two, three, four] {
        assert_eq!(status.applied, Some(migrate::newest()));
    }
}

pub(super) async fn a_newer_schema_is_left_alone(database: &Database) {
    let store = migrated(database).await;
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
               execution_time) VALUES (99, 'from the future', TRUE, $1, 0)";
    execute(&store, sql, values![&b"checksum"[..]]).await;
    store.migrate().await.unwrap();
    let status = store.schema_status().await.unwrap();
    assert_eq!(status, SchemaStatus { newest: migrate::newest(), applied: Some(99) });
    assert!(status.to_string().contains("newer"));
}

fn lines(rows: &[Row], columns: usize) -> BTreeSet<String> {
    rows.iter()
        .map(|row| {
            let values: Vec<_> = (0..columns).map(|column| row.text(column).unwrap()).collect();
            values.join(" ")
        })
        .collect()
}

#[tokio::test]
async fn both_databases_have_the_same_tables_columns_and_indices() {
    let (sqlite, postgres) = (Database::sqlite(), Database::postgres());
    let (sqlite, postgres) = (migrated(&sqlite).await, migrated(&postgres).await);

    let of_sqlite = "SELECT t.name, c.name, CASE c.type WHEN 'BLOB' THEN 'bytea' \
                     ELSE lower(c.type) END, CASE WHEN c.\"notnull\" = 1 THEN 'NO' ELSE 'YES' END \
                     FROM sqlite_master t JOIN pragma_table_info(t.name) c \
                     WHERE t.type = 'table' AND t.name NOT LIKE '\\_%' ESCAPE '\\' \
                     AND t.name NOT LIKE 'sqlite%'";
    let of_postgres = "SELECT table_name::text, column_name::text, data_type::text, \
                       is_nullable::text FROM information_schema.columns \
                       WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%'";
    let of_sqlite = lines(&sqlite.db.read(of_sqlite, Vec::new()).await.unwrap(), 4);
    let of_postgres = lines(&postgres.db.read(of_postgres, Vec::new()).await.unwrap(), 4);
    assert_eq!(of_sqlite, of_postgres);
    assert!(of_sqlite.contains("certificates tbs bytea NO"), "{of_sqlite:?}");

    // Those with a name of our own.
    let of_sqlite = "SELECT tbl_name, name FROM sqlite_master \
                     WHERE type = 'index' AND sql IS NOT NULL";
    let of_postgres = "SELECT tablename::text, indexname::text FROM pg_indexes \
                       WHERE schemaname = 'public' AND indexname LIKE '%\\_by\\_%'";
    let of_sqlite = lines(&sqlite.db.read(of_sqlite, Vec::new()).await.unwrap(), 2);
    let of_postgres = lines(&postgres.db.read(of_postgres, Vec::new()).await.unwrap(), 2);
    assert_eq!(of_sqlite, of_postgres);
    assert!(of_sqlite.contains("work work_by_due"), "{of_sqlite:?}");
}

#[test]
fn the_two_folders_have_the_same_files() {
    let names = |folder: &str| -> BTreeSet<_> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("migrations/sqlite"), names("migrations/postgres"));
    let number = |name: &OsString| name.to_str().unwrap()[..4].parse::<i64>().unwrap();
    let numbers: Vec<_> = names("migrations/sqlite").iter().map(number).collect();
    assert_eq!(numbers, migrate::numbers());
}
