//! PKCS#11 libraries: one context per library per process.
//!
//! `C_Initialize` and `C_Finalize` act on the whole process (PKCS#11 v3.1 §5.4), so two contexts on one
//! library pull the floor from under each other. A library, once loaded, therefore stays loaded,
//! and `C_Finalize` is never called: it must not run while any thread is inside a call.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use secrecy::{ExposeSecret, SecretString};

use super::recovery::describe;

static MODULES: Mutex<Vec<(PathBuf, Arc<Module>)>> = Mutex::new(Vec::new());

/// A loaded and initialised library.
pub(in crate::signer) struct Module {
    pub(in crate::signer) context: Pkcs11,
    pub(super) path: PathBuf,
    /// PINs that were refused, as slot and SHA-256, so that none is tried twice in the life of this
    /// process, whichever way the second attempt comes about.
    refused: Mutex<HashSet<(u64, [u8; 32])>>,
}

/// The library cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the PKCS#11 library {} cannot be loaded: {detail}. Check that the path is correct for this \
     system, that the file may be read and executed, and that the libraries it depends on are \
     installed (`ldd` lists them; see the vendor's documentation)",
    path.display()
)]
pub(crate) struct LibraryError {
    pub(crate) path: PathBuf,
    pub(crate) detail: String,
}

impl Module {
    /// The context of the library at `path`; loads it at the first call. Blocking.
    pub(super) fn load(path: &Path) -> Result<Arc<Self>, LibraryError> {
        let failed = |detail| LibraryError { path: path.to_owned(), detail };
        // One library under two names (a symbolic link) is still one library.
        let real = path.canonicalize().map_err(|error| failed(error.to_string()))?;
        // Held while loading: two threads must not both initialise.
        let mut modules = lock(&MODULES);
        if let Some((_, module)) = modules.iter().find(|(known, _)| *known == real) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&real).map_err(|error| failed(describe(&error)))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody else in this process uses it too, such as OpenSSL's engine.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(describe(&error))),
        }
        let module = Arc::new(Self { context, path: path.to_owned(), refused: Mutex::default() });
        modules.push((real, Arc::clone(&module)));
        Ok(module)
    }

    pub(super) fn was_refused(&self, slot: u64, pin: &SecretString) -> bool {
        lock(&self.refused).contains(&(slot, fingerprint(pin)))
    }

    pub(super) fn remember_refused(&self, slot: u64, pin: &SecretString) {
        lock(&self.refused).insert((slot, fingerprint(pin)));
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({})", self.path.display())
    }
}

/// A lock whose holder panicked still guards whole values here: each is written in one step.
pub(in crate::signer) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fingerprint(pin: &SecretString) -> [u8; 32] {
    openssl::sha::sha256(pin.expose_secret().as_bytes())
}
