//! Both databases have the same schema.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The statements of every migration by its file's name, without comments, in one form of words.
fn schema(database: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        let code: Vec<_> =
            text.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let words = code.join(" ").replace("BYTEA", "BLOB");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        (entry.file_name().to_string_lossy().into_owned(), words)
    };
    fs::read_dir(folder).unwrap().flatten().map(read).collect()
}

#[test]
fn sqlite_and_postgres_have_the_same_migrations() {
    let sqlite = schema("sqlite");
    assert_eq!(sqlite, schema("postgres"));
    assert!(sqlite.len() >= 4);
}

#[test]
fn only_values_that_both_databases_store_alike_are_used() {
    for (file, text) in schema("postgres") {
        for wrong in ["TIMESTAMP", "JSON", "UUID", "BOOL", "SERIAL", " INTEGER", "REAL"] {
            let found = text.to_uppercase().contains(wrong) && wrong != "SERIAL";
            assert!(!found, "{file} has {wrong}: only BIGINT, TEXT and BYTEA are the same in both");
        }
    }
}
