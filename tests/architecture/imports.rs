//! Imports point only upwards in the list that is `src/lib.rs`, and some crates have one home.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Of these rooms, those that each may import; a room that is not here may import all above it.
/// Ports and rules are narrow on purpose: what they know of each other, they know by a type.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("clock", &[]),
    ("entropy", &[]),
    ("config", &[]),
    ("telemetry", &["config"]),
    ("jose", &[]),
    ("acme", &["clock", "jose"]),
    ("x509", &[]),
    ("store", &["clock", "entropy", "acme", "x509"]),
    ("signer", &["clock", "entropy", "x509"]),
    ("validation", &["clock", "acme"]),
];

/// Crates that may be named only below these paths, and why.
const HOMES: [(&str, &[&str], &str); 6] = [
    ("sqlx", &["src/store/"], "SQL stays in the store"),
    ("cryptoki", &["src/signer/pkcs11/"], "PKCS#11 stays in one place"),
    ("josekit", &["src/jose/verify.rs"], "josekit verifies and does nothing else"),
    ("axum", &["src/http/"], "HTTP stays at the edge"),
    ("clap", &["src/cli/", "src/signer/pkcs11/keygen.rs"], "the command line stays in cli"),
    ("hickory_resolver", &["src/validation/"], "DNS stays in validation"),
];

/// What stands in `src/lib.rs`: the rooms in their order, each with its floor.
struct House(Vec<(String, String)>);

impl House {
    fn read(lib: &str) -> Self {
        let mut floor = String::new();
        let mut rooms = Vec::new();
        for line in lib.lines() {
            if let Some(name) = line.strip_prefix("// ") {
                floor = name.split(':').next().unwrap_or(name).to_owned();
            }
            let module = line.trim_start_matches("pub ").strip_prefix("mod ");
            if let Some((name, _)) = module.and_then(|module| module.split_once(';')) {
                rooms.push((name.to_owned(), floor.clone()));
            }
        }
        Self(rooms)
    }

    fn position(&self, room: &str) -> Option<usize> {
        self.0.iter().position(|(name, _)| name == room)
    }

    /// Why `room` may not import `other`, if it may not.
    fn objection(&self, room: &str, other: &str) -> Option<String> {
        let (at, above) = (self.position(room)?, self.position(other)?);
        if room == other {
            return None;
        }
        let (floor, other_floor) = (&self.0[at].1, &self.0[above].1);
        if floor == other_floor && ["ports", "edges"].contains(&floor.as_str()) {
            return Some(format!(
                "{floor} never import one another; let a flow bring them together"
            ));
        }
        if above > at {
            return Some(format!(
                "{other} stands below {room} in src/lib.rs; imports point only up"
            ));
        }
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room)?.1;
        if allowed.contains(&other) {
            return None;
        }
        Some(format!("{room} imports only {allowed:?}; pass what it needs as a value"))
    }
}

/// The rooms that a line of code names by `crate::…`, those in braces too.
fn rooms_in(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => rooms.push(word(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (index, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            rooms.push(word(&group[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// A file's statements with the numbers of the lines on which they begin: comments are left out, and
/// so is what is only for tests, which may build what it likes.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        if line.trim() == "#[cfg(test)]" && !line.starts_with(' ') {
            break;
        }
        let code = line.split("//").next().unwrap_or("");
        let (begin, mut whole) = open.take().unwrap_or((number, String::new()));
        whole.push_str(code.trim());
        let is_open_use = whole.contains("use ") && !whole.contains(';');
        if is_open_use {
            open = Some((begin, whole));
        } else {
            statements.push((begin, whole));
        }
    }
    statements
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "tests" {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs"
        {
            found.push(path);
        }
    }
}

/// Every source file below `src`, by its path from the top.
fn sources() -> BTreeMap<String, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&top.join("src"), &mut found);
    let relative = |path: &Path| path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (relative(path), fs::read_to_string(path).unwrap())).collect()
}

fn room_of(path: &str) -> String {
    word(path.trim_start_matches("src/"))
}

/// What is wrong with a file's imports.
fn objections(house: &House, path: &str, text: &str) -> Vec<String> {
    let mut objections = Vec::new();
    let room = room_of(path);
    for (line, code) in statements(text) {
        for other in rooms_in(&code) {
            if let Some(why) = house.objection(&room, &other) {
                objections.push(format!("{path}:{line}: {room} imports {other}: {why}"));
            }
        }
        for (crate_name, homes, why) in HOMES {
            let named = code.contains(&format!("{crate_name}::"));
            if named && !homes.iter().any(|home| path.starts_with(home)) {
                objections
                    .push(format!("{path}:{line}: {crate_name} is named outside {homes:?}: {why}"));
            }
        }
        let statement = ["\"SELECT ", "\"INSERT INTO ", "\"DELETE FROM ", "\"UPDATE "];
        if statement.iter().any(|sql| code.contains(sql)) && !path.starts_with("src/store/") {
            objections.push(format!("{path}:{line}: SQL outside src/store"));
        }
    }
    objections
}

#[test]
fn imports_point_only_upwards_and_crates_stay_at_home() {
    let sources = sources();
    let house = House::read(&sources["src/lib.rs"]);
    assert!(house.0.len() >= 15, "src/lib.rs lists the rooms, one `mod` each");
    for (room, _) in MAY_IMPORT {
        assert!(house.position(room).is_some(), "{room} is not in src/lib.rs");
    }
    let found: Vec<_> =
        sources.iter().flat_map(|(path, text)| objections(&house, path, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_wrong_import_is_found_and_named() {
    let house = House::read(
        "// ground: all\nmod clock;\n// ports: IO\nmod store;\nmod signer;\n\n// flow\nmod flow;\n",
    );
    let wrong = |path: &str, text: &str| objections(&house, path, text);
    assert_eq!(wrong("src/store/a.rs", "use crate::clock::Clock;\n"), [""; 0]);
    assert!(
        wrong("src/store/a.rs", "\nuse crate::signer::Signer;\n")[0]
            .starts_with("src/store/a.rs:2: ")
    );
    assert!(wrong("src/clock.rs", "fn f() { crate::flow::g() }\n")[0].contains("flow"));
    assert_eq!(wrong("src/clock.rs", "use crate::{\n    store::{A, B},\n    flow,\n};\n").len(), 2);
    assert_eq!(
        wrong("src/clock.rs", "// crate::flow\n#[cfg(test)]\nmod tests { use crate::flow; }\n"),
        [""; 0]
    );
    assert_eq!(wrong("src/flow/a.rs", "use sqlx::query;\nlet sql = \"SELECT 1\";\n").len(), 2);
}
