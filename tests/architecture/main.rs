//! The house as `docs/architecture.md` describes it: who may import whom, what is named where,
//! what is in both databases, and what is in the product.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dependencies;
mod docs;
mod imports;
mod metrics;
mod migrations;
mod releases;
mod rules;
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file of the repository.
fn read(file: &str) -> String {
    let path = top().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, from the top of the repository, without those for tests.
fn sources(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top().join(&folder)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.path().is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                found.push(path.into_os_string().into_string().unwrap());
            }
        }
    }
    found.sort();
    found
}
