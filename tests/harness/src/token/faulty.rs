//! A token behind a module that fails on command: `tests/faulty-token`, whose `rules.rs` has what can
//! be commanded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::Token;
use crate::command;

/// How long a running module may take to notice new faults; it looks every few milliseconds.
const NOTICE: Duration = Duration::from_secs(5);

impl Token {
    /// The token of the run, failing on command.
    pub fn faulty() -> Self {
        Self::of_the_run().failing_on_command()
    }

    /// The same token behind a module that fails on command. With a deadline of 2 s for a signature,
    /// so that what hangs is left behind soon.
    pub fn failing_on_command(mut self) -> Self {
        let library = self.path().join("faulty.so");
        fs::copy(built(), &library).unwrap();
        self.behind = Some(std::mem::replace(&mut self.library, library));
        self.named = "token_label = \"kipuka\"\nsign_deadline_s = 2\nmax_sessions = 8";
        self.suffer(&[]);
        self
    }

    /// From now on these things go wrong, and no others; on return they are in force in every
    /// process that has loaded the module.
    pub fn suffer(&self, faults: &[&str]) {
        let number = self.write(&faults.join("\n"));
        for pid in self.users() {
            self.wait_for(pid, &number);
        }
    }

    /// What a process called: how often each function, and each rule of PKCS#11 that it broke.
    pub fn counters(&self, pid: u32) -> BTreeMap<String, u64> {
        // The same faults under a new number: what comes back with it was counted after this.
        let text = fs::read_to_string(self.beside("faults")).unwrap();
        let number = self.write(text.splitn(3, '\n').nth(2).unwrap());
        self.wait_for(pid, &number);
        parsed(&self.read_counters(pid))
    }

    /// The same of the process that counted last, once that process has ended.
    pub fn counters_of_the_last(&self) -> BTreeMap<String, u64> {
        let written = |pid: &u32| {
            fs::metadata(self.beside(&format!("counters.{pid}"))).unwrap().modified().unwrap()
        };
        let last = self.counted().into_iter().max_by_key(written);
        let last = last.expect("a process that has loaded the module");
        assert!(!self.is_user(last), "process {last} still counts");
        parsed(&self.read_counters(last))
    }

    /// The rules of PKCS#11 that a process broke, with how often.
    pub fn violations(&self, pid: u32) -> Vec<(String, u64)> {
        let counters = self.counters(pid);
        counters.into_iter().filter(|(name, _)| name.starts_with("violation")).collect()
    }

    /// Writes the file with a new number in its first line, and returns that line.
    fn write(&self, faults: &str) -> String {
        let before = fs::read_to_string(self.beside("faults")).unwrap_or_default();
        let number = before.lines().next().and_then(|line| line.strip_prefix("number "));
        let number = number.map_or(1, |number| number.parse::<u64>().unwrap() + 1);
        let number = format!("number {number}");
        let module = self.behind.as_deref().expect("a token that fails on command").display();
        // Whole, never half: the module may be reading.
        let new = self.beside("new-faults");
        fs::write(&new, format!("{number}\nmodule {module}\n{faults}")).unwrap();
        fs::rename(new, self.beside("faults")).unwrap();
        number
    }

    /// The processes that have the module loaded, and that it has counted for.
    fn users(&self) -> Vec<u32> {
        self.counted().into_iter().filter(|pid| self.is_user(*pid)).collect()
    }

    /// The processes that the module has counted for, ended ones among them.
    fn counted(&self) -> Vec<u32> {
        let files = fs::read_dir(self.path()).unwrap().flatten();
        let pid = |file: fs::DirEntry| {
            file.file_name().to_str()?.strip_prefix("faulty.so.counters.")?.parse().ok()
        };
        files.filter_map(pid).collect()
    }

    fn is_user(&self, pid: u32) -> bool {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.contains(&*self.library.to_string_lossy())
    }

    /// Waits until a process has the faults with this number, or has ended.
    fn wait_for(&self, pid: u32, number: &str) {
        let begun = Instant::now();
        while self.read_counters(pid).lines().next() != Some(number) && self.is_user(pid) {
            assert!(begun.elapsed() < NOTICE, "process {pid} does not notice {number}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn read_counters(&self, pid: u32) -> String {
        fs::read_to_string(self.beside(&format!("counters.{pid}"))).unwrap_or_default()
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.path().join(format!("faulty.so.{extension}"))
    }
}

/// The lines of a file of counters: a name, a space, a number.
fn parsed(counters: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (name, count) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    counters.lines().map(counter).collect()
}

/// The module, built where that is needed; optimised, since benchmarks run through it.
fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "--release", "--package", "faulty-token"]).current_dir(&root);
    command::run(&mut cargo);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release/libfaulty_pkcs11.so")
}
