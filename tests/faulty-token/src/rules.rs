//! What is to go wrong: the lines of `<library>.faults`, and how often each has been applied.
//!
//! ```text
//! module /usr/lib/softhsm/libsofthsm2.so   the real one
//! latency C_Sign 5                          each call takes so many milliseconds longer
//! parallel C_Sign 8                         so many calls run at once, the others wait
//! hang C_Sign 60000 first 1                 so many milliseconds, or until the line is gone
//! fail C_Sign CKR_DEVICE_ERROR every 10     also `first N`, `always`; `*` is any function
//! wrong-signature first 1                   a signature with a flipped bit
//! swap-keys always                          C_SignInit takes another private key than is asked for
//! vanish kipuka                             the token with this label is away; `*` is every token
//! sticky                                    one that was away is seen after the next C_Initialize
//! drop-sessions 1                           C_CloseAllSessions, once for each new number
//! refuse-login CKR_PIN_INCORRECT            C_Login does not ask the token
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a fault strikes.
#[derive(Clone, Copy, Debug)]
enum When {
    First(u64),
    Every(u64),
    Always,
}

#[derive(Debug)]
pub struct Rule {
    pub kind: Kind,
    when: When,
    /// Calls that it looked at, since the line was written.
    seen: AtomicU64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Latency(String, Duration),
    Parallel(String, usize),
    Hang(String, Duration),
    Fail(String, u64),
    WrongSignature,
    SwapKeys,
    Vanish(String),
    Sticky,
    DropSessions(String),
    RefuseLogin(u64),
}

/// The lines as they now stand; a line that stays keeps its count.
#[derive(Default)]
pub struct Rules {
    pub module: String,
    rules: HashMap<String, Arc<Rule>>,
}

impl Rules {
    pub fn read(text: &str, before: &Self) -> Self {
        let mut rules = HashMap::new();
        let mut module = String::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(path) = line.strip_prefix("module ") {
                path.clone_into(&mut module);
                continue;
            }
            let rule = before.rules.get(line).map_or_else(|| Arc::new(parse(line)), Arc::clone);
            rules.insert(line.to_owned(), rule);
        }
        Self { module, rules }
    }

    /// The rules of a kind that strike at this call.
    pub fn strike<T>(&self, choose: impl Fn(&Kind) -> Option<T>) -> Vec<(T, Arc<Rule>)> {
        let mut struck = Vec::new();
        for rule in self.rules.values() {
            if let Some(found) = choose(&rule.kind)
                && rule.strikes()
            {
                struck.push((found, Arc::clone(rule)));
            }
        }
        struck
    }

    /// Whether the line of this rule still stands.
    pub fn has(&self, rule: &Arc<Rule>) -> bool {
        self.rules.values().any(|other| Arc::ptr_eq(other, rule))
    }

    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.rules.values().map(|rule| &rule.kind)
    }
}

impl Rule {
    fn strikes(&self) -> bool {
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        match self.when {
            When::First(count) => nth <= count,
            When::Every(step) => nth.is_multiple_of(step),
            When::Always => true,
        }
    }
}

/// Whether a rule for `named` is about `function`.
pub fn about(named: &str, function: &str) -> bool {
    named == "*" || named == function
}

/// A line that is not understood is a mistake in a test: it must not go unnoticed.
fn parse(line: &str) -> Rule {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    let millis = |at: usize| Duration::from_millis(number(at));
    let when = |at: usize| match words.get(at) {
        Some(&"first") => When::First(number(at + 1)),
        Some(&"every") => When::Every(number(at + 1)),
        Some(&"always") | None => When::Always,
        Some(other) => panic!("{other} in {line:?}"),
    };
    let (kind, when) = match words[0] {
        "latency" => (Kind::Latency(words[1].to_owned(), millis(2)), When::Always),
        "parallel" => {
            (Kind::Parallel(words[1].to_owned(), usize::try_from(number(2)).unwrap()), When::Always)
        }
        "hang" => (Kind::Hang(words[1].to_owned(), millis(2)), when(3)),
        "fail" => (Kind::Fail(words[1].to_owned(), ckr(words[2])), when(3)),
        "wrong-signature" => (Kind::WrongSignature, when(1)),
        "swap-keys" => (Kind::SwapKeys, when(1)),
        "vanish" => (Kind::Vanish(words[1].to_owned()), When::Always),
        "sticky" => (Kind::Sticky, When::Always),
        "drop-sessions" => (Kind::DropSessions(words[1].to_owned()), When::Always),
        "refuse-login" => (Kind::RefuseLogin(ckr(words[1])), when(2)),
        other => panic!("there is no fault called {other}"),
    };
    Rule { kind, when, seen: AtomicU64::new(0) }
}

fn ckr(name: &str) -> u64 {
    use cryptoki_sys as ck;
    match name {
        "CKR_DEVICE_ERROR" => ck::CKR_DEVICE_ERROR,
        "CKR_DEVICE_REMOVED" => ck::CKR_DEVICE_REMOVED,
        "CKR_GENERAL_ERROR" => ck::CKR_GENERAL_ERROR,
        "CKR_SESSION_HANDLE_INVALID" => ck::CKR_SESSION_HANDLE_INVALID,
        "CKR_SESSION_COUNT" => ck::CKR_SESSION_COUNT,
        "CKR_USER_NOT_LOGGED_IN" => ck::CKR_USER_NOT_LOGGED_IN,
        "CKR_CRYPTOKI_NOT_INITIALIZED" => ck::CKR_CRYPTOKI_NOT_INITIALIZED,
        "CKR_PIN_INCORRECT" => ck::CKR_PIN_INCORRECT,
        "CKR_PIN_LOCKED" => ck::CKR_PIN_LOCKED,
        "CKR_TOKEN_NOT_PRESENT" => ck::CKR_TOKEN_NOT_PRESENT,
        hex => u64::from_str_radix(hex.trim_start_matches("0x"), 16).expect("a CKR_ or a number"),
    }
}
