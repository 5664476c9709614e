//! The source against the rules, and the rules against bad source.

use crate::rules::{House, Violation, check};
use crate::{read, sources};

#[test]
fn the_source_keeps_the_rules() {
    let house = House::read(&read("src/lib.rs"));
    assert!(house.len() >= 15, "src/lib.rs lists the modules, one `mod` a line");
    assert_eq!(house.unknown(), [""; 0], "a rule names what is not in src/lib.rs");
    let files = sources("src");
    assert!(files.len() > 60, "the source is not where it was: {files:?}");
    let violations: Vec<String> = files
        .iter()
        .flat_map(|file| check(&house, file, &read(file)))
        .map(|violation| violation.to_string())
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

const LIB: &str = "\
// ground: used by all
mod clock; // time
mod config;
// rules
mod jose;
mod acme;
// ports: one kind of IO each
mod store;
mod signer;
// flow: what happens
mod flow;
// edges
mod http;
mod worker;
pub mod cli;
";

fn violations(file: &str, source: &str) -> Vec<Violation> {
    check(&House::read(LIB), file, source)
}

/// The lines that are refused, each with the path that is named there.
fn refused(file: &str, source: &str) -> Vec<(usize, String)> {
    violations(file, source).into_iter().map(|found| (found.line, found.what)).collect()
}

fn at(line: usize, what: &str) -> (usize, String) {
    (line, what.to_owned())
}

#[test]
fn upwards_is_fine() {
    let source =
        "use crate::acme::order::Order;\nuse crate::store::{self, Store};\nuse super::Error;";
    assert_eq!(refused("src/flow/issue.rs", source), []);
    assert_eq!(refused("src/http/mod.rs", "use crate::http::tls; use self::tls::Slot;"), []);
}

#[test]
fn downwards_is_named_with_its_line_and_reason() {
    let found = violations("src/flow/issue.rs", "\nuse crate::http::acme::Reply;\n");
    assert_eq!(found.len(), 1);
    let text = found[0].to_string();
    assert!(text.starts_with("src/flow/issue.rs:2: crate::http::acme::Reply\n"), "{text}");
    assert!(text.contains("http stands below flow: a module imports only what"), "{text}");
}

#[test]
fn a_group_is_looked_into_however_deep() {
    let source = "use crate::{\n  clock::Clock,\n  http::{\n    tls::{A as B, *},\n    ops,\n  },\n  worker,\n};";
    assert_eq!(
        refused("src/flow/a.rs", source),
        [
            at(4, "crate::http::tls::A"),
            at(4, "crate::http::tls::*"),
            at(5, "crate::http::ops"),
            at(7, "crate::worker"),
        ]
    );
}

#[test]
fn paths_in_code_count_too() {
    let source = "fn f(a: &crate::flow::A) -> Vec<crate::http::B> {\n  crate::worker::run::<crate::cli::C>()\n}";
    let expected = ["crate::flow::A", "crate::http::B", "crate::worker::run", "crate::cli::C"];
    let found: Vec<String> =
        refused("src/acme/a.rs", source).into_iter().map(|(_, what)| what).collect();
    assert_eq!(found, expected);
    let source = "macro_rules! m { () => { $crate::http::b() } }";
    assert_eq!(refused("src/flow/a.rs", source), [at(1, "crate::http::b")]);
}

#[test]
fn super_is_followed_out_of_the_room() {
    assert_eq!(refused("src/flow/mod.rs", "use super::http::B;"), [at(1, "crate::http::B")]);
    assert_eq!(refused("src/flow/a.rs", "use super::http::B;"), []);
    assert_eq!(refused("src/flow/a.rs", "use super::super::http::B;"), [at(1, "crate::http::B")]);
    let inside = "mod b { use super::super::super::http::B; use super::c; } use super::http;";
    assert_eq!(refused("src/flow/a.rs", inside), [at(1, "crate::http::B")]);
}

#[test]
fn the_whole_crate_cannot_be_taken() {
    assert_eq!(refused("src/flow/a.rs", "use crate::*;"), [at(1, "crate::*")]);
    assert_eq!(refused("src/flow/a.rs", "use crate as all;"), [at(1, "crate::")]);
    assert_eq!(refused("src/flow/a.rs", "use super::super::*;"), [at(1, "crate::*")]);
}

#[test]
fn visibility_is_no_import_of_another_room() {
    assert_eq!(
        refused("src/store/a.rs", "pub(in crate::store) struct A; pub(crate) fn b() {}"),
        []
    );
}

#[test]
fn ports_and_edges_stay_apart() {
    let found = violations("src/signer/a.rs", "use crate::store::Store;");
    assert!(found[0].rule.starts_with("ports never import one another"), "{}", found[0]);
    let found = violations("src/worker/a.rs", "use crate::http::ops;");
    assert!(found[0].rule.starts_with("edges never import one another"), "{}", found[0]);
}

#[test]
fn some_rooms_may_import_less_than_stands_above() {
    let found = violations("src/config/a.rs", "use crate::clock::Clock;");
    assert!(found[0].rule.starts_with("config may import nothing of this crate"), "{}", found[0]);
    let found = violations("src/store/a.rs", "use crate::config::Database;");
    assert!(found[0].rule.starts_with("store may import acme, ledger, clock"), "{}", found[0]);
}

#[test]
fn what_is_for_tests_is_free() {
    let source = "
#[cfg(test)]
use crate::{http::A, worker};
#[cfg(test)]
mod tests { use crate::cli; fn f() { sqlx::query(\"SELECT 1\") } }
#[cfg(test)]
#[derive(Debug)]
pub(crate) fn fake(a: [u8; 2]) -> Self { crate::http::f() }
use crate::http::B;";
    assert_eq!(refused("src/flow/a.rs", source), [at(9, "crate::http::B")]);
}

#[test]
fn what_only_looks_like_code_is_free() {
    let source = r####"
// use crate::http; sqlx::query
/* crate::http /* nested */ sqlx::query */
//! [`crate::http::A`]
const A: &str = "crate::http \" sqlx::query";
const B: &str = r#"crate::http "quoted" "#;
const C: char = '"';
const D: [char; 2] = ['\'', '\u{41}'];
fn f<'crate_>(a: &'crate_ str) { let hyper = a; hyper.b(); c.axum(); d::sqlx::e(); }
"####;
    assert_eq!(refused("src/flow/a.rs", source), []);
}

#[test]
fn a_crate_is_named_at_home_only() {
    for (home, source) in [
        ("src/store/db/mod.rs", "use sqlx::query;"),
        ("src/store/mod.rs", "fn f() -> Result<(), sqlx::Error> {}"),
        ("src/signer/pkcs11/key.rs", "use cryptoki::{object, session};"),
        ("src/http/a.rs", "use axum::Router;"),
        ("src/validation/a.rs", "use hyper::client;"),
        ("src/cli/a.rs", "#[derive(clap::Parser)] struct A;"),
    ] {
        assert_eq!(violations(home, source), [], "{home}");
        assert!(!violations("src/flow/a.rs", source).is_empty(), "{source}");
    }
    for source in
        ["use sqlx;", "use ::sqlx::query;", "use {sqlx::query};", "type A = fn() -> ::sqlx::B;"]
    {
        assert_eq!(violations("src/flow/a.rs", source).len(), 1, "{source}");
    }
    assert_eq!(violations("src/signer/mod.rs", "use cryptoki::context::Pkcs11;").len(), 1);
}

#[test]
fn sql_stays_in_the_store() {
    for sql in ["SELECT id FROM a", "INSERT INTO a", "DELETE FROM a", "UPDATE a\\n SET b = 1"] {
        let source = format!("\nconst SQL: &str = \"{sql}\";");
        assert_eq!(violations("src/store/order.rs", &source), [], "{sql}");
        let found = violations("src/flow/a.rs", &source);
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [2], "{sql}");
    }
    assert_eq!(violations("src/flow/a.rs", "const A: &str = \"to UPDATE or to select\";"), []);
}
