//! What the module remembers, and what each call goes through.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use std::{fs, process, thread};

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CKR_DEVICE_REMOVED,
    CKR_SESSION_HANDLE_INVALID, CKR_TOKEN_NOT_PRESENT,
};

use crate::calls;
use crate::counters::{self, AtOnce, Function, Violations};
use crate::rules::{Fault, Rules, Running};
use crate::tokens::{InUse, Session, Tokens};

/// How often the faults are looked at, and the counters written.
const LOOK: Duration = Duration::from_millis(5);

pub struct State {
    pub real: CK_FUNCTION_LIST,
    path: PathBuf,
    rules: RwLock<Arc<Rules>>,
    /// Read while the real module is called, written while sessions end under the caller: a module
    /// in software crashes where a session is closed that is in use.
    gate: RwLock<()>,
    tokens: RwLock<Tokens>,
    violations: Violations,
    /// Calls under way, `C_Finalize` apart.
    inside: AtomicUsize,
    finalizing: AtomicBool,
    /// The counters as they were last written.
    written: Mutex<String>,
}

/// What a call is about.
#[derive(Clone, Copy)]
pub enum Target {
    Library,
    Slot(CK_SLOT_ID),
    Session(CK_SESSION_HANDLE),
}

/// A call that may go on to the real module. All of it ends when the value is dropped.
pub struct Entered {
    /// The real module's handle of the session, or the slot.
    pub real: u64,
    slot: Option<CK_SLOT_ID>,
    state: &'static State,
    _gate: RwLockReadGuard<'static, ()>,
    _at_once: AtOnce,
    _running: Vec<Running>,
    _in_use: Option<InUse>,
    _inside: Inside,
}

struct Inside(&'static State);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The state, made at the first call; `None` where there is no real module.
pub fn state() -> Option<&'static State> {
    static STATE: OnceLock<Option<State>> = OnceLock::new();
    let state = STATE.get_or_init(|| {
        let path = own_path()?;
        // A thread of ours runs for as long as the process: once more, so that it is never unloaded.
        std::mem::forget(calls::open(&path)?);
        let text = fs::read_to_string(beside(&path, "faults")).ok()?;
        let rules = understood(Rules::read(&text, &Rules::default()));
        let real = calls::load(Path::new(&rules.module))?;
        Some(State {
            real,
            path,
            rules: RwLock::new(Arc::new(rules)),
            gate: RwLock::default(),
            tokens: RwLock::default(),
            violations: Violations::default(),
            inside: AtomicUsize::default(),
            finalizing: AtomicBool::default(),
            written: Mutex::default(),
        })
    });
    let state = state.as_ref()?;
    static WATCH: OnceLock<()> = OnceLock::new();
    WATCH.get_or_init(|| {
        // Before the first call is answered: whoever sets faults sees by this file who must notice.
        state.write_counters();
        drop(thread::spawn(move || state.watch()));
    });
    Some(state)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// A line that is not understood is a mistake in a test, and ends it.
fn understood(rules: Result<Rules, String>) -> Rules {
    rules.unwrap_or_else(|line| {
        eprintln!("faulty-token does not understand {line:?}");
        process::abort();
    })
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

/// Every value behind these locks is whole at any time, so that a panic elsewhere spoils nothing.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&read(&self.rules))
    }

    pub fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        read(&self.tokens)
    }

    pub fn tokens_mut(&self) -> RwLockWriteGuard<'_, Tokens> {
        write(&self.tokens)
    }

    fn watch(&self) {
        let mut last_faults = String::new();
        loop {
            if let Ok(faults) = fs::read_to_string(beside(&self.path, "faults"))
                && faults != last_faults
            {
                self.apply(understood(Rules::read(&faults, &self.rules())));
                last_faults = faults;
            }
            self.write_counters();
            thread::sleep(LOOK);
        }
    }

    fn write_counters(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = counters::text(&self.rules().number, &self.violations);
        if counters != *written {
            // Whole, never half: a test may be reading.
            let file = format!("counters.{}", process::id());
            let new = beside(&self.path, &format!("new-{file}"));
            let file = beside(&self.path, &file);
            // Where the test is over its folder is gone.
            let _ = fs::write(&new, &counters).and_then(|()| fs::rename(new, file));
            *written = counters;
        }
    }

    /// Puts rules in force. What strikes when its line is new, and not at a call, strikes now.
    fn apply(&self, rules: Rules) {
        let _nobody_is_inside = write(&self.gate);
        let before = self.rules();
        let rules = Arc::new(rules);
        *write(&self.rules) = Arc::clone(&rules);
        for rule in rules.iter().filter(|rule| !before.has(rule)) {
            let slots = self.tokens().slots_of(|label| rule.is_of(label));
            match rule.fault {
                Fault::Vanish => {
                    if rules.sticky() {
                        self.tokens_mut().hide(|label| rule.is_of(label));
                    }
                    self.end_sessions(&slots, CKR_DEVICE_REMOVED);
                }
                Fault::DropSessions => self.end_sessions(&slots, CKR_SESSION_HANDLE_INVALID),
                Fault::LogOut => slots.iter().for_each(|slot| calls::log_out(&self.real, *slot)),
                _ => {}
            }
        }
    }

    fn end_sessions(&self, slots: &[CK_SLOT_ID], answer: CK_RV) {
        for slot in slots {
            self.tokens().end(*slot, answer);
            calls::close_all(&self.real, *slot);
        }
    }

    /// Whether the token in this slot is away.
    pub fn is_away(&self, slot: CK_SLOT_ID) -> bool {
        let tokens = self.tokens();
        let Some(label) = tokens.label(slot) else { return false };
        tokens.is_hidden(&label) || self.rules().vanished(&label)
    }

    /// Counts the call, and lets it wait, hang or fail as the rules say.
    pub fn enter(
        &'static self,
        function: &'static Function,
        target: Target,
    ) -> Result<Entered, CK_RV> {
        function.called();
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self);
        if self.finalizing.load(Ordering::SeqCst) {
            self.violations.add(format!("{} while C_Finalize runs", function.name));
        }
        let (mut session, mut in_use, mut slot) = (None, None, None);
        match target {
            Target::Library => {}
            Target::Slot(id) => slot = Some(id),
            Target::Session(handle) => {
                let found = self.session(handle, function)?;
                in_use = found.take(function.name);
                if in_use.is_none() {
                    let what = format!("{} in a session that another thread uses", function.name);
                    self.violations.add(what);
                }
                if self.tokens().meets_a_login(function.name, &found) {
                    self.violations.add(format!("{} where C_Login meets a call", function.name));
                }
                slot = Some(found.slot);
                session = Some(found);
            }
        }
        self.is_there(slot, session.as_deref())?;
        let (running, at_once) = self.suffer(function, slot, session.as_deref())?;
        let gate = read(&self.gate);
        // The token may have gone while the call waited.
        self.is_there(slot, session.as_deref())?;
        Ok(Entered {
            real: session.map_or(slot.unwrap_or(0), |session| session.real),
            slot,
            state: self,
            _gate: gate,
            _at_once: at_once,
            _running: running,
            _in_use: in_use,
            _inside: inside,
        })
    }

    /// As [`Self::enter`], for a call that costs a token nothing: it is neither counted nor hit.
    pub fn pass(&self, handle: CK_SESSION_HANDLE) -> Result<Passed<'_>, CK_RV> {
        let gate = read(&self.gate);
        let session = self.tokens().session(handle).ok_or(CKR_SESSION_HANDLE_INVALID)?;
        self.is_there(Some(session.slot), Some(&session))?;
        Ok(Passed { real: session.real, _gate: gate })
    }

    /// For `C_Initialize` and `C_Finalize`: runs `call` when nobody is in the real module.
    pub fn alone(&self, function: &'static Function, call: impl FnOnce() -> CK_RV) -> CK_RV {
        function.called();
        let (_running, _at_once) = match self.suffer(function, None, None) {
            Ok(suffered) => suffered,
            Err(answer) => return answer,
        };
        let _nobody_is_inside = write(&self.gate);
        call()
    }

    /// Writes down what is signed, where that is asked for: `what` is `asked` before the token is
    /// called, and `made` once it has signed.
    pub fn record(&self, what: &str, data: &[u8]) {
        if !self.rules().recorded() {
            return;
        }
        let mut line = format!("{what} ");
        data.iter().for_each(|byte| line.push_str(&format!("{byte:02x}")));
        line.push('\n');
        // One write to a file's end: several processes may write there.
        let path = beside(&self.path, "signatures");
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        if file.and_then(|mut file| file.write_all(line.as_bytes())).is_err() {
            eprintln!("faulty-token cannot record what is signed");
            process::abort();
        }
    }

    /// For `C_Finalize`, from its call to its return.
    pub fn finalizing<T>(&self, call: impl FnOnce() -> T) -> T {
        self.finalizing.store(true, Ordering::SeqCst);
        if self.inside.load(Ordering::SeqCst) > 0 {
            let what = "C_Finalize while another thread is inside a call";
            self.violations.add(what.to_owned());
        }
        let result = call();
        self.finalizing.store(false, Ordering::SeqCst);
        // It may be the last thing that the process does.
        self.write_counters();
        result
    }

    fn session(
        &self,
        handle: CK_SESSION_HANDLE,
        function: &Function,
    ) -> Result<Arc<Session>, CK_RV> {
        let tokens = self.tokens();
        if tokens.is_of_before(handle) {
            let what = format!("{} in a session of before C_Finalize", function.name);
            self.violations.add(what);
        }
        tokens.session(handle).ok_or(CKR_SESSION_HANDLE_INVALID)
    }

    fn is_there(&self, slot: Option<CK_SLOT_ID>, session: Option<&Session>) -> Result<(), CK_RV> {
        if let Some(answer) = session.and_then(|session| session.ended.get()) {
            return Err(*answer);
        }
        match (slot.is_some_and(|slot| self.is_away(slot)), session) {
            (true, Some(_)) => Err(CKR_DEVICE_REMOVED),
            (true, None) => Err(CKR_TOKEN_NOT_PRESENT),
            (false, _) => Ok(()),
        }
    }

    fn suffer(
        &self,
        function: &'static Function,
        slot: Option<CK_SLOT_ID>,
        session: Option<&Session>,
    ) -> Result<(Vec<Running>, AtOnce), CK_RV> {
        let rules = self.rules();
        if rules.is_empty() {
            return Ok((Vec::new(), function.begin()));
        }
        let label = slot.and_then(|slot| self.tokens().label(slot)).unwrap_or_default();
        let hit = || rules.iter().filter(|rule| rule.is_about(function.name) && rule.is_of(&label));
        let mut running = Vec::new();
        for rule in hit() {
            if let Fault::Parallel(most) = rule.fault {
                running.push(rule.begin(most, || self.rules().has(rule)));
            }
        }
        let at_once = function.begin();
        let mut failure = None;
        for rule in hit() {
            match rule.fault {
                Fault::Latency(pause) if rule.strikes() => thread::sleep(pause),
                Fault::Hang(length) if rule.strikes() => {
                    session.inspect(|session| session.hangs());
                    let begun = Instant::now();
                    while begun.elapsed() < length && self.rules().has(rule) {
                        thread::sleep(LOOK);
                    }
                }
                // Each counts all its calls, and the first that strikes answers.
                Fault::Fail(answer) if rule.strikes() => failure = failure.or(Some(answer)),
                Fault::KillBefore if rule.strikes() => die(),
                _ => {}
            }
        }
        failure.map_or(Ok((running, at_once)), Err)
    }
}

impl Entered {
    /// Whether this fault, which is not about a function, strikes this call.
    pub fn is_struck_by(&self, fault: &Fault) -> bool {
        let rules = self.state.rules();
        let label = self.slot.and_then(|slot| self.state.tokens().label(slot)).unwrap_or_default();
        let about = rules.iter().filter(|rule| rule.fault == *fault && rule.is_of(&label));
        // All are asked: each counts its calls.
        about.filter(|rule| rule.strikes()).count() > 0
    }

    /// Once the real module has answered.
    pub fn returning(&self, function: &Function) {
        let rules = self.state.rules();
        let label = self.slot.and_then(|slot| self.state.tokens().label(slot)).unwrap_or_default();
        let after = rules.iter().filter(|rule| rule.fault == Fault::KillAfter);
        if after
            .filter(|rule| rule.is_about(function.name) && rule.is_of(&label))
            .any(|r| r.strikes())
        {
            die();
        }
    }
}

/// SIGKILL, to this very process: nothing of it runs on, as after the kernel's or an operator's.
fn die() -> ! {
    // SAFETY: it takes two numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        thread::park();
    }
}

/// A call that goes to the real module as it is.
pub struct Passed<'s> {
    pub real: CK_SESSION_HANDLE,
    _gate: RwLockReadGuard<'s, ()>,
}
