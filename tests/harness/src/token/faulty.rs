//! A SoftHSM2 token behind a module that fails on command: `tests/faulty-token`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LIBRARY, Token};
use crate::command;

impl Token {
    /// With a deadline of 2 s for a signature, so that what hangs is left behind soon.
    pub fn faulty() -> Self {
        let mut token = Self::softhsm();
        let library = token.path().join("faulty.so");
        fs::copy(built(), &library).unwrap();
        token.library = library;
        token.named = "token_label = \"kipuka\"\nsign_deadline_s = 2\nmax_sessions = 8";
        token.suffer(&[]);
        token
    }

    /// From now on these things go wrong, and no others: lines as `tests/faulty-token` reads them.
    pub fn suffer(&self, faults: &[&str]) {
        let text = format!("module {LIBRARY}\n{}\n", faults.join("\n"));
        // Whole, never half: the module may be reading.
        let new = self.beside("faults.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.beside("faults")).unwrap();
    }

    /// How often each function was called, and each rule of PKCS#11 broken.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let text = fs::read_to_string(self.beside("counters")).unwrap_or_default();
        let counter = |line: &str| {
            let (name, count) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), count.parse().unwrap())
        };
        text.lines().map(counter).collect()
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.path().join(format!("faulty.so.{extension}"))
    }
}

/// The module, built where that is needed.
fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "--package", "faulty-token"]).current_dir(&root);
    command::run(&mut cargo);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("debug/libfaulty_pkcs11.so")
}
