//! What the documents say is there, is there.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use crate::{read, top};

/// The names of tests in backticks, such as `protocol::jws::what_is_wrong_is_refused`.
fn tests_named_in(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|name| name.contains("::") && !name.contains([' ', '('])).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut find = Command::new("grep");
    find.args(["--recursive", "--only-matching", "--extended-regexp", "--include=*.rs"]);
    find.args(["(fn|mod) [a-z0-9_]+", "src", "tests"]).current_dir(top());
    let found = String::from_utf8(find.output().unwrap().stdout).unwrap();
    // What is declared in each file.
    let mut declared: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut functions = HashSet::new();
    for line in found.lines() {
        let (path, what) = line.split_once(".rs:").unwrap();
        let (kind, name) = what.split_once(' ').unwrap();
        declared.entry(path).or_default().insert(name);
        if kind == "fn" {
            functions.insert(name);
        }
    }
    // The suites that run once for each database or token are made by macros, which name them.
    let made = ["sqlite", "postgres", "softhsm", "kryoptic"];
    let is_there = |name: &str| {
        let parts: Vec<_> = name.split("::").filter(|part| !made.contains(part)).collect();
        declared.iter().any(|(path, names)| {
            parts.iter().all(|part| path.split('/').any(|at| at == *part) || names.contains(part))
        })
    };
    for document in ["docs/conformance.md", "docs/interop.md"] {
        let text = read(document);
        let names = tests_named_in(&text);
        assert!(names.len() > 20, "{document} names the tests that show it");
        for name in names {
            assert!(is_there(name), "{document} names {name}, which is not there");
            // A room of tests would say that one of them shows it, whichever.
            let test = name.rsplit("::").next().unwrap();
            assert!(functions.contains(test), "{document} names {name}, which is no test");
        }
    }
}

/// The section that a text begins with.
fn section_of(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// Each demand has a test beside it, or a departure that tells why not.
#[test]
fn what_the_rfcs_ask_is_shown_or_departed_from() {
    let text = read("docs/conformance.md");
    let asked = text.split("\n## Beyond these").next().unwrap();
    let rows: Vec<Vec<_>> = asked
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 100, "{} rows", rows.len());
    let departures = text.split("\n## Departures").nth(1).unwrap();
    for row in rows.iter().filter(|row| row[1] != "section") {
        let shown = row[4].contains("::");
        let departed = departures.split('§').skip(1).any(|rest| section_of(rest) == row[1]);
        assert!(shown || departed, "nothing shows {row:?}");
    }
    let beyond = text.split("\n## Beyond these").nth(1).unwrap();
    let beyond = beyond.split("\n## Departures").next().unwrap();
    for line in beyond.lines().filter(|line| line.starts_with("| ")).skip(2) {
        assert!(line.contains("::"), "nothing shows {line}");
    }
}

/// Each of the 43 rules has a test.
#[test]
fn what_clients_need_is_shown_rule_by_rule() {
    let text = read("docs/interop.md");
    for rule in 1..=43 {
        let row = text.lines().find(|line| line.starts_with(&format!("| {rule} |")));
        let row = row.unwrap_or_else(|| panic!("rule {rule} is missing"));
        assert!(row.contains("::"), "nothing shows rule {rule}");
    }
}

#[test]
fn docs_clients_names_the_versions_that_are_installed() {
    let text = read("docs/clients.md");
    let pinned = read("tests/clients/certbot.txt");
    let certbot = pinned.lines().find_map(|line| line.strip_prefix("certbot==")).unwrap();
    let package = read("tests/clients/npm/package.json");
    let (_, npm) = package.split_once("\"acme-client\": \"").unwrap();
    let (npm, _) = npm.split_once('"').unwrap();
    let manifest = read("tests/clients/Cargo.toml");
    let (_, instant_acme) = manifest.split_once("instant-acme = { version = \"").unwrap();
    let (instant_acme, _) = instant_acme.split_once('"').unwrap();
    for (client, version) in
        [("certbot", certbot), ("acme-client, npm", npm), ("instant-acme", instant_acme)]
    {
        let mut rows = text.lines().filter(|line| line.starts_with(&format!("| {client} |")));
        assert!(rows.any(|row| row.contains(&format!("{version} "))), "{client} {version}");
    }
}

#[test]
fn docs_clients_says_how_each_client_is_told_of_a_private_root() {
    let text = read("docs/clients.md");
    for (client, way) in [
        ("certbot", "REQUESTS_CA_BUNDLE"),
        ("lego", "LEGO_CA_CERTIFICATES"),
        ("Traefik", "LEGO_CA_CERTIFICATES"),
        ("acme.sh", "--ca-bundle"),
        ("cert-manager", "caBundle"),
        ("Caddy", "acme_ca_root"),
    ] {
        let mut rows = text.lines().filter(|line| line.starts_with(&format!("| {client} |")));
        assert!(rows.any(|row| row.contains(way)), "{client}: {way}");
        assert!(text.contains(&format!("\n## {client}\n")), "{client}");
    }
}
