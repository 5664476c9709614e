//! A token behind a module that fails on command: `tests/faulty-token`, whose `rules.rs` has what can
//! be commanded.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
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
        fs::copy(command::built("faulty-token", "libfaulty_pkcs11.so"), &library).unwrap();
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

    /// What was handed to `C_Sign` while the faults had the line `record`, in order.
    pub fn signatures(&self) -> Vec<Signature> {
        let text = fs::read_to_string(self.beside("signatures")).unwrap_or_default();
        // A process that was killed may have been writing its line.
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let signature = |line: &str| {
            let (what, data) = line.split_once(' ').unwrap();
            Signature { is_made: what == "made", data: data.to_owned() }
        };
        whole.map(signature).collect()
    }

    /// The rules of PKCS#11 that any process broke, ended ones among them.
    pub fn violations_of_all(&self) -> Vec<String> {
        let counters = self.counted().into_iter().map(|pid| self.read_counters(pid));
        let broken = |text: String| {
            text.lines().filter(|line| line.starts_with("violation")).map(str::to_owned).collect()
        };
        counters.flat_map(|text| -> Vec<String> { broken(text) }).collect()
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

/// What was handed to `C_Sign`.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Whether the token had signed it, as opposed to being about to.
    pub is_made: bool,
    /// In lower-case hex.
    pub data: String,
}

/// The lines of a file of counters: a name, a space, a number.
fn parsed(counters: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let (name, count) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    counters.lines().map(counter).collect()
}
