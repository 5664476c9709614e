//! What the module remembers: the rules, the sessions and what was called.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, process};

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_DEVICE_REMOVED,
    CKR_SESSION_HANDLE_INVALID, CKR_TOKEN_NOT_PRESENT,
};

use crate::rules::{Kind, Rules, about};

/// How often the faults are looked at, and the counters written.
const LOOK: Duration = Duration::from_millis(5);

pub struct State {
    pub real: CK_FUNCTION_LIST,
    path: PathBuf,
    rules: RwLock<Arc<Rules>>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
pub struct Inner {
    pub counters: BTreeMap<String, u64>,
    pub sessions: HashMap<CK_SESSION_HANDLE, Session>,
    /// Handles of before the last `C_Initialize`.
    old: HashSet<CK_SESSION_HANDLE>,
    pub labels: HashMap<CK_SLOT_ID, String>,
    /// Labels of tokens that are away until the next `C_Initialize`.
    stuck: HashSet<String>,
    dropped: HashSet<String>,
    inside: HashMap<&'static str, usize>,
    written: BTreeMap<String, u64>,
}

pub struct Session {
    pub slot: CK_SLOT_ID,
    pub in_use: bool,
    /// The token went away under it.
    dead: bool,
}

static STATE: OnceLock<Option<State>> = OnceLock::new();

/// The state, made at the first call; `None` where there is no real module.
pub fn state() -> Option<&'static State> {
    let state = STATE.get_or_init(|| {
        let path = own_path()?;
        let rules =
            Rules::read(&fs::read_to_string(with(&path, "faults")).ok()?, &Rules::default());
        let real = crate::calls::load(&rules.module)?;
        let inner = Mutex::default();
        let rules = RwLock::new(Arc::new(rules));
        Some(State { real, path, rules, inner, changed: Condvar::new() })
    });
    let state = state.as_ref()?;
    static WATCH: OnceLock<()> = OnceLock::new();
    WATCH.get_or_init(|| drop(thread::spawn(move || state.watch())));
    Some(state)
}

fn with(path: &std::path::Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// Where this library was loaded from: the mapping that its code is in.
fn own_path() -> Option<PathBuf> {
    let here = own_path as fn() -> Option<PathBuf> as usize;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        (from..to).contains(&here).then(|| rest.find('/').map(|at| PathBuf::from(&rest[at..])))?
    })
}

impl State {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn watch(&self) {
        let mut last = String::new();
        loop {
            if let Ok(text) = fs::read_to_string(with(&self.path, "faults"))
                && text != last
            {
                let rules = Arc::new(Rules::read(&text, &self.rules()));
                *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
                last = text;
                self.apply();
            }
            let mut inner = self.lock();
            if inner.counters != inner.written {
                let counters = inner.counters.clone();
                inner.written.clone_from(&counters);
                drop(inner);
                let text: String =
                    counters.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
                // Whole, never half: a test may be reading.
                let new = with(&self.path, &format!("counters.{}", process::id()));
                let written = fs::write(&new, text);
                let _ = written.and_then(|()| fs::rename(&new, with(&self.path, "counters")));
            } else {
                drop(inner);
            }
            self.changed.notify_all();
            thread::sleep(LOOK);
        }
    }

    /// What strikes when its line appears, and not at a call.
    fn apply(&self) {
        let rules = self.rules();
        let sticky = rules.kinds().any(|kind| *kind == Kind::Sticky);
        for kind in rules.kinds() {
            let mut inner = self.lock();
            match kind {
                Kind::Vanish(label) => {
                    let slots = inner.slots_of(label);
                    if sticky {
                        let labels: Vec<_> = inner.labels.values().cloned().collect();
                        inner.stuck.extend(labels.into_iter().filter(|l| about(label, l)));
                    }
                    inner.kill(&slots);
                    drop(inner);
                    crate::calls::close_all(&self.real, &slots);
                }
                Kind::DropSessions(number) if inner.dropped.insert(number.clone()) => {
                    let slots = inner.slots_of("*");
                    drop(inner);
                    crate::calls::close_all(&self.real, &slots);
                }
                _ => {}
            }
        }
    }

    /// Whether the token in this slot is away.
    pub fn away(&self, inner: &Inner, slot: CK_SLOT_ID) -> bool {
        let Some(label) = inner.labels.get(&slot) else { return false };
        inner.stuck.contains(label)
            || self.rules().kinds().any(|kind| matches!(kind, Kind::Vanish(l) if about(l, label)))
    }

    /// Counts the call, and lets it wait, hang or fail as the rules say.
    pub fn enter(
        &self,
        function: &'static str,
        slot: Option<CK_SLOT_ID>,
        session: Option<CK_SESSION_HANDLE>,
    ) -> Result<(), CK_RV> {
        let rules = self.rules();
        let mut inner = self.lock();
        *inner.counters.entry(function.to_owned()).or_default() += 1;
        if let Some(handle) = session {
            inner.take(handle, function)?;
            let slot = inner.sessions.get(&handle).map(|session| session.slot);
            if slot.is_some_and(|slot| self.away(&inner, slot)) {
                inner.release(handle);
                return Err(CKR_DEVICE_REMOVED);
            }
        }
        if slot.is_some_and(|slot| self.away(&inner, slot)) {
            return Err(CKR_TOKEN_NOT_PRESENT);
        }
        let most = rules.kinds().find_map(|kind| match kind {
            Kind::Parallel(name, most) if about(name, function) => Some(*most),
            _ => None,
        });
        let full = |inner: &mut Inner| {
            most.is_some_and(|most| inner.inside.get(function).copied().unwrap_or(0) >= most)
        };
        inner = self.changed.wait_while(inner, full).unwrap_or_else(PoisonError::into_inner);
        let inside = inner.inside.entry(function).or_default();
        *inside += 1;
        let (inside, name) = (*inside as u64, format!("parallel {function}"));
        let highest = inner.counters.entry(name).or_default();
        *highest = inside.max(*highest);
        drop(inner);
        let outcome = self.suffer(&rules, function);
        if outcome.is_err() {
            self.leave(function, session);
        }
        outcome
    }

    fn suffer(&self, rules: &Rules, function: &str) -> Result<(), CK_RV> {
        for (pause, _) in rules.strike(|kind| match kind {
            Kind::Latency(name, pause) if about(name, function) => Some(*pause),
            _ => None,
        }) {
            thread::sleep(pause);
        }
        for (length, rule) in rules.strike(|kind| match kind {
            Kind::Hang(name, length) if about(name, function) => Some(*length),
            _ => None,
        }) {
            let begun = Instant::now();
            while begun.elapsed() < length && self.rules().has(&rule) {
                thread::sleep(LOOK);
            }
        }
        let failures = rules.strike(|kind| match kind {
            Kind::Fail(name, rv) if about(name, function) => Some(*rv),
            Kind::RefuseLogin(rv) if function == "C_Login" => Some(*rv),
            _ => None,
        });
        failures.first().map_or(Ok(()), |(rv, _)| Err(*rv))
    }

    pub fn leave(&self, function: &'static str, session: Option<CK_SESSION_HANDLE>) {
        let mut inner = self.lock();
        if let Some(inside) = inner.inside.get_mut(function) {
            *inside -= 1;
        }
        if let Some(handle) = session {
            inner.release(handle);
        }
        drop(inner);
        self.changed.notify_all();
    }
}

impl Inner {
    pub fn violation(&mut self, what: &str) {
        *self.counters.entry(format!("violation {what}")).or_default() += 1;
    }

    fn slots_of(&self, label: &str) -> Vec<CK_SLOT_ID> {
        self.labels.iter().filter(|(_, l)| about(label, l)).map(|(slot, _)| *slot).collect()
    }

    fn kill(&mut self, slots: &[CK_SLOT_ID]) {
        for session in self.sessions.values_mut().filter(|session| slots.contains(&session.slot)) {
            session.dead = true;
        }
    }

    fn take(&mut self, handle: CK_SESSION_HANDLE, function: &str) -> Result<(), CK_RV> {
        let Some(session) = self.sessions.get_mut(&handle) else {
            if self.old.contains(&handle) {
                self.violation(&format!("{function} in a session of before C_Initialize"));
            }
            return Err(CKR_SESSION_HANDLE_INVALID);
        };
        if session.dead {
            return Err(CKR_DEVICE_REMOVED);
        }
        if session.in_use {
            self.violation(&format!("{function} in a session that another thread uses"));
            return Ok(());
        }
        session.in_use = true;
        Ok(())
    }

    fn release(&mut self, handle: CK_SESSION_HANDLE) {
        if let Some(session) = self.sessions.get_mut(&handle) {
            session.in_use = false;
        }
    }

    pub fn opened(&mut self, handle: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
        self.old.remove(&handle);
        self.sessions.insert(handle, Session { slot, in_use: false, dead: false });
    }

    /// `C_Finalize` was called.
    pub fn finalized(&mut self) {
        if self.inside.values().any(|inside| *inside > 0) {
            self.violation("C_Finalize while another thread is inside a call");
        }
        let handles: Vec<_> = self.sessions.drain().map(|(handle, _)| handle).collect();
        self.old.extend(handles);
        self.stuck.clear();
    }
}
