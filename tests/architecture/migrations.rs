//! Both databases have the same schema.

use std::collections::BTreeMap;
use std::fs;

use crate::{read, top};

/// By "table.column", what the column holds.
type Columns = BTreeMap<String, String>;

#[test]
fn both_databases_have_the_same_files_tables_and_columns() {
    let sqlite = files("sqlite");
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, files("postgres"), "a step has the same name on both sides");
    for file in sqlite {
        let [sqlite, postgres] = ["sqlite", "postgres"]
            .map(|database| columns(&read(&format!("migrations/{database}/{file}"))));
        assert!(!sqlite.is_empty(), "{file} has no table that this test can read");
        assert_eq!(sqlite, postgres, "{file}");
    }
}

#[test]
fn the_statements_are_the_same_but_for_the_name_of_bytes() {
    for file in files("sqlite") {
        let [sqlite, postgres] = ["sqlite", "postgres"].map(|database| {
            statements(&read(&format!("migrations/{database}/{file}")).replace("BYTEA", "BLOB"))
        });
        assert_eq!(sqlite, postgres, "{file}");
    }
}

#[test]
fn what_one_database_has_alone_is_triggers() {
    for database in ["sqlite", "postgres"] {
        for file in files(database) {
            let sql = read(&format!("migrations/{database}/{file}"));
            let Some((_, own)) = sql.split_once(OWN) else { continue };
            let creates = own.lines().filter_map(|line| line.strip_prefix("CREATE "));
            let mut others = creates
                .filter(|what| !what.starts_with("TRIGGER ") && !what.starts_with("FUNCTION "));
            assert_eq!(others.next(), None, "migrations/{database}/{file}");
        }
    }
}

#[test]
fn only_types_that_both_databases_store_alike_are_used() {
    for database in ["sqlite", "postgres"] {
        for file in files(database) {
            for (column, kind) in columns(&read(&format!("migrations/{database}/{file}"))) {
                let allowed = ["BIGINT", "TEXT", "bytes"].contains(&kind.as_str());
                assert!(allowed, "migrations/{database}/{file}: {column} is a {kind}");
            }
        }
    }
}

#[test]
fn columns_are_found_between_comments_and_constraints() {
    let sql = "
-- CREATE TABLE no (id TEXT);
CREATE TABLE a (
  id BLOB NOT NULL PRIMARY KEY, -- (of both, always)
  b  TEXT REFERENCES c (d),
  UNIQUE (id, b),
  CHECK (b IN ('x', 'y'))
);
CREATE INDEX a_by_b ON a (b);
ALTER TABLE a ADD COLUMN e BIGINT NOT NULL DEFAULT 0;";
    let found: Vec<String> =
        columns(sql).into_iter().map(|(column, kind)| format!("{column} {kind}")).collect();
    assert_eq!(found, ["a.b TEXT", "a.e BIGINT", "a.id bytes"]);
}

fn files(database: &str) -> Vec<String> {
    let folder = fs::read_dir(top().join("migrations").join(database)).unwrap();
    let mut names: Vec<String> =
        folder.flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Before each database's own: triggers are written in no language that both know.
const OWN: &str = "-- Of this database alone:";

/// Without comments, and with single spaces; without what is the database's own.
fn statements(sql: &str) -> Vec<String> {
    let sql = sql.split_once(OWN).map_or(sql, |(common, _)| common);
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
    let words: Vec<&str> = code.iter().flat_map(|line| line.split_whitespace()).collect();
    words.join(" ").split(';').map(|one| one.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn columns(sql: &str) -> Columns {
    let mut columns = Columns::new();
    let mut add = |table: &str, definition: &str| {
        let mut words = definition.split_whitespace();
        let (name, kind) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_uppercase());
        let constraint = ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT"];
        if !constraint.contains(&name.to_uppercase().as_str()) {
            let kind = if kind == "BLOB" || kind == "BYTEA" { "bytes".to_owned() } else { kind };
            columns.insert(format!("{table}.{name}"), kind);
        }
    };
    for statement in statements(sql) {
        if let Some(table) = statement.strip_prefix("CREATE TABLE ") {
            let (name, body) = table.split_once('(').unwrap();
            for definition in split(body.trim_end_matches(|c| c != ')').strip_suffix(')').unwrap())
            {
                add(name.trim(), definition.trim());
            }
        } else if let Some(table) = statement.strip_prefix("ALTER TABLE ")
            && let Some((name, definition)) = table.split_once(" ADD COLUMN ")
        {
            add(name, definition);
        }
    }
    columns
}

/// At the commas that are not within brackets.
fn split(body: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    body.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .collect()
}
