//! The caller's sessions, and which token is in which slot.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID};

pub struct Session {
    /// The real module's handle.
    pub real: CK_SESSION_HANDLE,
    pub slot: CK_SLOT_ID,
    call: Mutex<Option<Call>>,
    /// What every call in it is answered with, after it was ended without the caller's knowledge.
    pub ended: OnceLock<CK_RV>,
}

/// What is under way in a session.
struct Call {
    function: &'static str,
    /// By a rule: nobody can wait for its end.
    hangs: bool,
}

impl Session {
    /// It is in use until the value is dropped; `None` where it is already.
    pub fn take(self: &Arc<Self>, function: &'static str) -> Option<InUse> {
        let mut call = self.call();
        if call.is_some() {
            return None;
        }
        *call = Some(Call { function, hangs: false });
        Some(InUse(Arc::clone(self)))
    }

    pub fn hangs(&self) {
        if let Some(call) = &mut *self.call() {
            call.hangs = true;
        }
    }

    fn call(&self) -> MutexGuard<'_, Option<Call>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct InUse(Arc<Session>);

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.call() = None;
    }
}

#[derive(Default)]
pub struct Tokens {
    sessions: HashMap<CK_SESSION_HANDLE, Arc<Session>>,
    /// The last handle that was given. None is given twice, unlike the real ones, so that one of
    /// before `C_Finalize` is known for what it is.
    last: CK_SESSION_HANDLE,
    /// Handles up to this one are of before `C_Finalize`.
    old: CK_SESSION_HANDLE,
    labels: HashMap<CK_SLOT_ID, Arc<str>>,
    /// What is not seen until the next `C_Initialize`, whether it is there or not.
    hidden: HashSet<Arc<str>>,
}

impl Tokens {
    pub fn opened(&mut self, real: CK_SESSION_HANDLE, slot: CK_SLOT_ID) -> CK_SESSION_HANDLE {
        self.last += 1;
        let (call, ended) = (Mutex::default(), OnceLock::new());
        self.sessions.insert(self.last, Arc::new(Session { real, slot, call, ended }));
        self.last
    }

    pub fn session(&self, handle: CK_SESSION_HANDLE) -> Option<Arc<Session>> {
        self.sessions.get(&handle).map(Arc::clone)
    }

    pub fn is_of_before(&self, handle: CK_SESSION_HANDLE) -> bool {
        (1..=self.old).contains(&handle)
    }

    /// Whether this call, which is under way, meets a login in another of the token's sessions, or is
    /// the login and meets another call.
    pub fn meets_a_login(&self, function: &str, session: &Arc<Session>) -> bool {
        self.sessions.values().any(|other| {
            let is_login = |name| name == "C_Login";
            other.slot == session.slot
                && !Arc::ptr_eq(other, session)
                && other.call().as_ref().is_some_and(|call| {
                    !call.hangs && (is_login(function) || is_login(call.function))
                })
        })
    }

    pub fn closed(&mut self, handle: CK_SESSION_HANDLE) {
        self.sessions.remove(&handle);
    }

    pub fn closed_all(&mut self, slot: CK_SLOT_ID) {
        self.sessions.retain(|_, session| session.slot != slot);
    }

    /// Sessions in this slot are answered so from now on.
    pub fn end(&self, slot: CK_SLOT_ID, answer: CK_RV) {
        for session in self.sessions.values().filter(|session| session.slot == slot) {
            // The first answer stays.
            let _ = session.ended.set(answer);
        }
    }

    pub fn finalized(&mut self) {
        self.sessions.clear();
        self.old = self.last;
        self.labels.clear();
    }

    pub fn learn(&mut self, slot: CK_SLOT_ID, label: &str) {
        if self.labels.get(&slot).is_none_or(|known| &**known != label) {
            self.labels.insert(slot, label.into());
        }
    }

    pub fn label(&self, slot: CK_SLOT_ID) -> Option<Arc<str>> {
        self.labels.get(&slot).map(Arc::clone)
    }

    /// The slots whose token's label is one of these.
    pub fn slots_of(&self, is_meant: impl Fn(&str) -> bool) -> Vec<CK_SLOT_ID> {
        let meant = self.labels.iter().filter(|(_, label)| is_meant(label));
        meant.map(|(slot, _)| *slot).collect()
    }

    pub fn hide(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.hidden.extend(self.labels.values().filter(|label| is_meant(label)).map(Arc::clone));
    }

    pub fn show_all(&mut self) {
        self.hidden.clear();
    }

    pub fn is_hidden(&self, label: &str) -> bool {
        self.hidden.contains(label)
    }
}
