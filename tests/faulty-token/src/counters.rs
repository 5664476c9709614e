//! What was called, and which rules of PKCS#11 the caller broke: the lines of
//! `LIBRARY.counters.PID`.
//!
//! ```text
//! number 7                     of the faults that are in force, from their own line `number 7`
//! C_Sign 120                   how often it was called
//! parallel C_Sign 8            how many ran at once in the token, at most
//! violation … 1                how often this rule was broken
//! ```
//!
//! The violations: `FUNCTION in a session that another thread uses`, `FUNCTION in a session of before
//! C_Finalize`, `FUNCTION while C_Finalize runs`, `C_Finalize while another thread is inside a call`,
//! and `FUNCTION where C_Login meets a call`, which PKCS#11 allows and libraries do not bear; calls
//! that hang by a rule are not counted, as nobody can wait for them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One function of PKCS#11, counted without a lock.
pub struct Function {
    pub name: &'static str,
    calls: AtomicU64,
    at_once: AtomicU64,
    most_at_once: AtomicU64,
}

impl Function {
    pub const fn new(name: &'static str) -> Self {
        let [calls, at_once, most_at_once] = [const { AtomicU64::new(0) }; 3];
        Self { name, calls, at_once, most_at_once }
    }

    pub fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// It is in the token until the value is dropped.
    pub fn begin(&'static self) -> AtOnce {
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::Relaxed);
        AtOnce(self)
    }
}

pub struct AtOnce(&'static Function);

impl Drop for AtOnce {
    fn drop(&mut self) {
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub struct Violations(Mutex<BTreeMap<String, u64>>);

impl Violations {
    pub fn add(&self, what: String) {
        *self.lock().entry(what).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file's text.
pub fn text(number: &str, violations: &Violations) -> String {
    let mut text = format!("number {number}\n");
    for function in crate::table::counted::ALL {
        let calls = function.calls.load(Ordering::Relaxed);
        let most = function.most_at_once.load(Ordering::Relaxed);
        if calls > 0 {
            let _ = writeln!(text, "{name} {calls}\nparallel {name} {most}", name = function.name);
        }
    }
    for (what, count) in &*violations.lock() {
        let _ = writeln!(text, "violation {what} {count}");
    }
    text
}
