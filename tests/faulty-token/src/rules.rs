//! What is to go wrong: the lines of `LIBRARY.faults`, and how often each has been applied.
//!
//! ```text
//! module /usr/lib/softhsm/libsofthsm2.so   the real one; read once
//! number 7                                 stands in the counters once these lines are in force
//! latency C_Sign 5                         each call takes so many milliseconds longer
//! parallel C_Sign 8                        so many calls run at once, the others wait
//! hang C_Sign 60000 at 3                   so many milliseconds, or until the line is gone
//! fail C_Sign CKR_DEVICE_ERROR every 10    or a number instead of CKR_…
//! refuse-login CKR_PIN_INCORRECT           the same as fail C_Login CKR_PIN_INCORRECT
//! wrong-signature first 1                  C_Sign flips a bit of what the token gave
//! swap-keys                                C_SignInit takes another private key of the same type
//! drop-sessions 1                          every session is closed, and with them the login is gone
//! log-out 1                                the login is gone, the sessions stay
//! kill-before C_Sign at 2                  the process gets SIGKILL before the token is called
//! kill-after C_Sign at 2                   the process gets SIGKILL before the call returns to it
//! record                                   what is signed is written to `LIBRARY.signatures`
//! vanish kipuka                            the token is away; all its sessions are dead for good
//! sticky                                   what vanishes is seen after its return only when
//!                                          C_Finalize and C_Initialize were called
//! ```
//!
//! A function may be `*`: any. What strikes at calls strikes at all of them (`always`, which may be left
//! out) unless the line ends with `at N`, `first N` or `every N`; each line counts its own calls from when it is written. After that,
//! `of LABEL` restricts a line to one token; `vanish` takes the label, or `*`, as it is.
//! `drop-sessions` and `log-out` happen once, when the line is new; the number makes it new.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use cryptoki_sys::CK_RV;

use crate::codes;

#[derive(Debug, PartialEq)]
pub enum Fault {
    Latency(Duration),
    Parallel(usize),
    Hang(Duration),
    Fail(CK_RV),
    KillBefore,
    KillAfter,
    Record,
    WrongSignature,
    SwapKeys,
    DropSessions,
    LogOut,
    Vanish,
    Sticky,
}

/// How often a fault strikes.
#[derive(Debug)]
enum When {
    At(u64),
    First(u64),
    Every(u64),
    Always,
}

/// A line.
#[derive(Debug)]
pub struct Rule {
    line: String,
    pub fault: Fault,
    /// The function's name, or `*`.
    function: String,
    /// The token's label; any where there is none.
    label: Option<String>,
    when: When,
    /// Calls that it looked at.
    seen: AtomicU64,
    /// Calls that run at once, where they are limited.
    running: Mutex<usize>,
    ended: Condvar,
}

/// The lines as they now stand; a line that stays keeps its count.
#[derive(Default)]
pub struct Rules {
    pub module: String,
    pub number: String,
    rules: Vec<Arc<Rule>>,
}

impl Rules {
    /// # Errors
    /// Names the line that is not understood.
    pub fn read(text: &str, before: &Self) -> Result<Self, String> {
        let mut rules = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(path) = line.strip_prefix("module ") {
                path.clone_into(&mut rules.module);
            } else if let Some(number) = line.strip_prefix("number ") {
                number.clone_into(&mut rules.number);
            } else {
                let rule = match before.rules.iter().find(|rule| rule.line == line) {
                    Some(rule) => Arc::clone(rule),
                    None => Arc::new(Rule::read(line).ok_or_else(|| line.to_owned())?),
                };
                rules.rules.push(rule);
            }
        }
        Ok(rules)
    }

    /// All, as they stand in the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the line of this rule still stands.
    pub fn has(&self, rule: &Arc<Rule>) -> bool {
        self.iter().any(|other| Arc::ptr_eq(other, rule))
    }

    pub fn sticky(&self) -> bool {
        self.iter().any(|rule| rule.fault == Fault::Sticky)
    }

    pub fn recorded(&self) -> bool {
        self.iter().any(|rule| rule.fault == Fault::Record)
    }

    /// Whether the token with this label is away.
    pub fn vanished(&self, label: &str) -> bool {
        self.iter().any(|rule| rule.fault == Fault::Vanish && rule.is_of(label))
    }
}

impl Rule {
    fn read(line: &str) -> Option<Self> {
        let (what, label) = match line.split_once(" of ") {
            Some((what, label)) => (what, Some(label.to_owned())),
            None => (line, None),
        };
        let mut words = what.split_whitespace();
        let first = words.next()?;
        let milliseconds = |word: &str| Some(Duration::from_millis(word.parse().ok()?));
        let mut function = String::new();
        let fault = match first {
            "latency" | "parallel" | "hang" | "fail" => {
                words.next()?.clone_into(&mut function);
                let value = words.next()?;
                match first {
                    "latency" => Fault::Latency(milliseconds(value)?),
                    "parallel" => Fault::Parallel(value.parse().ok().filter(|most| *most > 0)?),
                    "hang" => Fault::Hang(milliseconds(value)?),
                    _ => Fault::Fail(codes::read(value)?),
                }
            }
            "kill-before" | "kill-after" => {
                words.next()?.clone_into(&mut function);
                if first == "kill-after" { Fault::KillAfter } else { Fault::KillBefore }
            }
            "record" => Fault::Record,
            "refuse-login" => {
                "C_Login".clone_into(&mut function);
                Fault::Fail(codes::read(words.next()?)?)
            }
            "wrong-signature" => Fault::WrongSignature,
            "swap-keys" => Fault::SwapKeys,
            "drop-sessions" | "log-out" => {
                words.next();
                if first == "log-out" { Fault::LogOut } else { Fault::DropSessions }
            }
            "vanish" => {
                let label = line.strip_prefix("vanish ")?.trim();
                let label = (label != "*").then(|| label.to_owned());
                return Some(Self::new(line, Fault::Vanish, function, label, When::Always));
            }
            "sticky" => Fault::Sticky,
            _ => return None,
        };
        let when = match words.next() {
            None | Some("always") => When::Always,
            Some(word) => {
                let number = words.next()?.parse().ok().filter(|number| *number > 0)?;
                match word {
                    "at" => When::At(number),
                    "first" => When::First(number),
                    "every" => When::Every(number),
                    _ => return None,
                }
            }
        };
        words.next().is_none().then(|| Self::new(line, fault, function, label, when))
    }

    fn new(line: &str, fault: Fault, function: String, label: Option<String>, when: When) -> Self {
        let line = line.to_owned();
        let (seen, running, ended) = (AtomicU64::new(0), Mutex::new(0), Condvar::new());
        Self { line, fault, function, label, when, seen, running, ended }
    }

    pub fn is_about(&self, function: &str) -> bool {
        self.function == "*" || self.function == function
    }

    pub fn is_of(&self, label: &str) -> bool {
        self.label.as_deref().is_none_or(|named| named == label)
    }

    /// Counts a call, and says whether this one is struck.
    pub fn strikes(&self) -> bool {
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        match self.when {
            When::At(number) => nth == number,
            When::First(count) => nth <= count,
            When::Every(step) => nth.is_multiple_of(step),
            When::Always => true,
        }
    }

    /// Waits until fewer than `most` calls run, or nobody is to wait any more.
    pub fn begin(self: &Arc<Self>, most: usize, in_force: impl Fn() -> bool) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= most && in_force() {
            // The line may go without anybody saying so.
            let pause = Duration::from_millis(50);
            let waited = self.ended.wait_timeout(running, pause);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *running += 1;
        Running(Arc::clone(self))
    }
}

/// A call that counts against a limit, until this is dropped.
pub struct Running(Arc<Rule>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}
