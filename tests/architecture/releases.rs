//! A rolling upgrade: what was released of the schema stays as it is, and what came after only adds.

use std::fs;

use crate::{read, top};

/// The steps of the release in tests/recovery/upgrade/previous.tar.xz, with the SHA-256 of each file.
const RELEASED: &str = include_str!("released-migrations.txt");

#[test]
fn migrations_that_were_released_are_never_edited() {
    let mut seen = 0;
    for line in RELEASED.lines() {
        let (digest, file) = line.split_once("  ").unwrap();
        let found = openssl::sha::sha256(read(&format!("migrations/{file}")).as_bytes());
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "migrations/{file} was released: write a new step instead");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn migrations_since_the_release_only_add() {
    let mut faults = Vec::new();
    for database in ["sqlite", "postgres"] {
        let folder = top().join("migrations").join(database);
        let files = fs::read_dir(folder).unwrap().flatten();
        for name in files.map(|entry| entry.file_name().into_string().unwrap()) {
            let file = format!("{database}/{name}");
            if !RELEASED.lines().any(|line| line.ends_with(&file)) {
                let sql = read(&format!("migrations/{file}"));
                faults.extend(faults_of(&sql).into_iter().map(|fault| format!("{file}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "the release before could not go on:\n{}", faults.join("\n"));
}

#[test]
fn what_does_not_only_add_is_found() {
    let fine = "-- DROP TABLE a;\nCREATE TABLE a (id TEXT NOT NULL, n BIGINT);\n\
                CREATE INDEX a_by_n ON a (n);\nCREATE UNIQUE INDEX a_by_id ON a (id);\n\
                ALTER TABLE b ADD COLUMN c BIGINT;\n\
                ALTER TABLE b ADD COLUMN d TEXT NOT NULL DEFAULT '';\n\
                ALTER TABLE b ADD COLUMN e TEXT REFERENCES a (id);\nCREATE INDEX b_by_d ON b (d);\n\
                CREATE TRIGGER a_stays BEFORE DELETE ON a BEGIN SELECT RAISE(ABORT, 'a; b'); END;";
    assert_eq!(faults_of(fine), [""; 0]);
    for wrong in [
        "DROP TABLE a",
        "ALTER TABLE b DROP COLUMN c",
        "ALTER TABLE b RENAME TO c",
        "ALTER TABLE b RENAME COLUMN c TO d",
        "ALTER TABLE b ADD COLUMN c BIGINT NOT NULL",
        "alter table b add column c bigint not null",
        "ALTER TABLE b ADD COLUMN c BIGINT UNIQUE",
        "ALTER TABLE b ALTER COLUMN c SET NOT NULL",
        "ALTER TABLE b ADD CONSTRAINT c CHECK (d > 0)",
        "CREATE UNIQUE INDEX b_by_c ON b (c)",
        "CREATE TRIGGER b_stays BEFORE DELETE ON b BEGIN SELECT 1; END",
        "DELETE FROM b",
        "DELETE FROM b;\nCREATE TABLE b (id TEXT)",
        "UPDATE b SET c = 1",
    ] {
        let faults = faults_of(wrong);
        assert!(!faults.is_empty(), "{wrong}");
    }
}

/// The statements that the release before may not bear. Whatever is done to a table that the same step makes
/// is fine: that release does not know it.
fn faults_of(sql: &str) -> Vec<String> {
    let statements = statements(sql);
    let mut own: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for statement in &statements {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let upper: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
        let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
        let on_own = |own: &[&str]| {
            let on = upper.iter().position(|word| *word == "ON");
            let table = on.and_then(|on| words.get(on + 1)).map(|table| named(table));
            table.is_some_and(|table| own.contains(&table))
        };
        let has = |word: &str| upper.contains(&word);
        let adds = match upper[..] {
            ["CREATE", "TABLE", ..] => {
                own.push(named(words[2]));
                true
            }
            ["CREATE", "INDEX", ..] => true,
            ["CREATE", "UNIQUE", "INDEX", ..] | ["CREATE", "TRIGGER", ..] => on_own(&own),
            // It does nothing by itself.
            ["CREATE", "FUNCTION", ..] => true,
            ["ALTER", "TABLE", _, "ADD", "COLUMN", ..] => {
                own.contains(&named(words[2]))
                    || !has("UNIQUE") && !has("CHECK") && (!has("NOT") || has("DEFAULT"))
            }
            ["INSERT", "INTO", table, ..] => own.contains(&named(words[2])) && !table.is_empty(),
            _ => false,
        };
        if !adds {
            faults.push(statement.clone());
        }
    }
    faults
}

/// A table's name, without the bracket that may follow.
fn named(word: &str) -> &str {
    word.split('(').next().unwrap_or(word)
}

/// At the semicolons that are in no quotes and in no body of a trigger or a function, without comments.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
    let code = code.join("\n");
    let (mut statements, mut current) = (Vec::new(), String::new());
    let (mut quoted, mut dollars) = (false, false);
    let mut rest = code.as_str();
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("$$") {
            dollars = !dollars;
            current.push_str("$$");
            rest = &rest[2..];
            continue;
        }
        quoted ^= next == '\'';
        rest = &rest[next.len_utf8()..];
        let head = current.trim_start().to_uppercase();
        let tail = current.trim_end().to_uppercase();
        let in_body =
            head.starts_with("CREATE TRIGGER") && head.contains("BEGIN") && !tail.ends_with("END");
        if next == ';' && !quoted && !dollars && !in_body {
            statements.push(std::mem::take(&mut current).trim().to_owned());
        } else {
            current.push(next);
        }
    }
    statements.push(current.trim().to_owned());
    statements.retain(|statement| !statement.is_empty());
    statements
}
