//! A session that knows which initialisation of the library it belongs to.

use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::Error;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use super::module::{Module, void};
use super::recovery::Fault;

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
        let inside = self.module.enter_session(self.slot, self.generation)?;
        work(self.session()?, &inside)
    }

    /// `C_Login` by the session, beside no call in any session of the token.
    pub(super) fn log_in(
        &self,
        log_in: impl FnOnce(&Session) -> Result<(), Error>,
    ) -> Result<Result<(), Error>, Fault> {
        let _inside = self.module.enter_login(self.slot, self.generation)?;
        Ok(log_in(self.session()?))
    }

    fn session(&self) -> Result<&Session, Fault> {
        self.session.as_ref().ok_or_else(void)
    }

    /// As PKCS#11 names it, for logs.
    pub(super) fn handle(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.handle())
    }
}

impl Drop for BoundSession {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        match self.module.enter_session(self.slot, self.generation) {
            Ok(_inside) => drop(session),
            // Its handle may be another session's by now.
            Err(_) => std::mem::forget(session),
        }
    }
}
