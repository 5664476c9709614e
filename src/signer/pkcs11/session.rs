//! A session that knows which initialisation of the library it belongs to.

use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::module::Module;
use super::recovery::{Fault, Remedy};

/// A session of one initialisation of a library. `C_Finalize` ends it without telling it, and the
/// next initialisation may give its handle to another session: so it is used, and closed, only as
/// long as the library is the one it was opened in.
pub(in crate::signer) struct BoundSession {
    /// Gone only while it is dropped.
    session: Option<Session>,
    module: Arc<Module>,
    generation: u64,
    slot: Slot,
}

impl BoundSession {
    /// Opens a read-only session.
    pub(super) fn open(module: &Arc<Module>, generation: u64, slot: Slot) -> Result<Self, Fault> {
        let inside = module.enter()?;
        if inside.generation != generation {
            return Err(void());
        }
        let session = Some(inside.open_ro_session(slot)?);
        drop(inside);
        Ok(Self { session, module: Arc::clone(module), generation, slot })
    }

    /// Makes calls in the session. `work` must not enter the library again by another way.
    pub(super) fn with<T, E: From<Fault>>(
        &self,
        work: impl FnOnce(&Session, &Pkcs11) -> Result<T, E>,
    ) -> Result<T, E> {
        let _call = self.module.traffic.call(self.slot);
        self.inside(work)
    }

    /// Logs in by the session, beside no call in any session of the token.
    pub(super) fn log_in<E: From<Fault>>(
        &self,
        log_in: impl FnOnce(&Session) -> Result<(), E>,
    ) -> Result<(), E> {
        let _login = self.module.traffic.login(self.slot);
        self.inside(|session, _| log_in(session))
    }

    fn inside<T, E: From<Fault>>(
        &self,
        work: impl FnOnce(&Session, &Pkcs11) -> Result<T, E>,
    ) -> Result<T, E> {
        let inside = self.module.enter()?;
        match &self.session {
            Some(session) if inside.generation == self.generation => work(session, &inside),
            _ => Err(void().into()),
        }
    }

    /// As PKCS#11 names it, for logs.
    pub(super) fn handle(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.handle())
    }
}

impl Drop for BoundSession {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let _call = self.module.traffic.call(self.slot);
        match self.module.enter() {
            Ok(inside) if inside.generation == self.generation => drop(session),
            // Its handle may be another session's by now.
            _ => std::mem::forget(session),
        }
    }
}

fn void() -> Fault {
    Fault::new(Remedy::Reopen, "the library was initialised anew since the session was opened")
}
