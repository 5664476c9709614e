//! The caller's sessions, and which token is in which slot.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID};

pub struct Session {
    /// The real module's handle.
    pub real: CK_SESSION_HANDLE,
    pub slot: CK_SLOT_ID,
    in_use: AtomicBool,
    /// What every call in it is answered with, after it was ended without the caller's knowledge.
    pub ended: OnceLock<CK_RV>,
}

impl Session {
    /// It is in use until the value is dropped; `None` where it is already.
    pub fn take(self: &Arc<Self>) -> Option<InUse> {
        let was_in_use = self.in_use.swap(true, Ordering::SeqCst);
        (!was_in_use).then(|| InUse(Arc::clone(self)))
    }
}

pub struct InUse(Arc<Session>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_use.store(false, Ordering::SeqCst);
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
        let (in_use, ended) = (AtomicBool::default(), OnceLock::new());
        self.sessions.insert(self.last, Arc::new(Session { real, slot, in_use, ended }));
        self.last
    }

    pub fn session(&self, handle: CK_SESSION_HANDLE) -> Option<Arc<Session>> {
        self.sessions.get(&handle).map(Arc::clone)
    }

    pub fn is_of_before(&self, handle: CK_SESSION_HANDLE) -> bool {
        (1..=self.old).contains(&handle)
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
