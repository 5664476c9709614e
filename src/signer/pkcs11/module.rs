//! PKCS#11 libraries: one context per library per process, initialised anew when it must be.
//!
//! `C_Initialize` and `C_Finalize` act on the whole process (PKCS#11 v3.1 §5.4), so two contexts on one
//! library pull the floor from under each other: a library, once loaded, stays loaded and shared.
//! `C_Finalize` must not run while any thread is inside a call, so every call is made between
//! [`Module::enter`] and the drop of what it gives, and [`Module::reinitialize`] waits for silence.
//! Calls in sessions have an entrance of their own, and logins, which are let in alone.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::Slot;
use secrecy::{ExposeSecret, SecretString};

use super::access::Access;
use super::recovery::{Fault, Remedy, describe};
use super::traffic::{Call, KEPT_OUT, Login, Traffic, UNDER_WAY};

/// Each library with a lock of its own, held while it is loaded: that may take for ever.
static MODULES: Mutex<Vec<(PathBuf, Library)>> = Mutex::new(Vec::new());

type Library = Arc<Mutex<Option<Arc<Module>>>>;

/// How long `C_Finalize` waits for the calls that are under way.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a call waits for `C_Finalize` and `C_Initialize` of another thread.
const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that fail together ask together: one initialisation serves them all.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// While other tokens of the library sign, they are not disturbed more often than this.
const INTERVAL_BESIDE_OTHERS: Duration = Duration::from_secs(30);

/// A loaded library.
pub(in crate::signer) struct Module {
    context: Pkcs11,
    pub(super) path: PathBuf,
    gate: Mutex<Gate>,
    changed: Condvar,
    /// PINs that were refused, as token and SHA-256, so that none is tried twice in the life of this
    /// process, whichever way the second attempt comes about.
    refused: Mutex<HashSet<(String, [u8; 32])>>,
    /// The tokens that are reached through this library.
    users: Mutex<Vec<Weak<Access>>>,
}

struct Gate {
    /// Counts initialisations: sessions, handles and slots are good for one of them.
    generation: u64,
    /// Why the library is not initialised, if it is not.
    uninitialized: Option<String>,
    /// Threads inside a call.
    inside: usize,
    /// Those of them in a session.
    traffic: Traffic,
    reinitializing: bool,
    reinitialized_at: Option<Instant>,
    /// When it was last begun, whether or not the threads inside came out for it.
    tried_at: Option<Instant>,
}

/// Leave to call the library, until it is dropped. Not to be asked for twice by one thread: between
/// the two, another may have begun to wait for silence.
pub(in crate::signer) struct Inside<'m> {
    module: &'m Module,
    pub(super) generation: u64,
    what: What,
}

/// What is called.
enum What {
    Library,
    Session(Call),
    Login(Login),
}

impl Deref for Inside<'_> {
    type Target = Pkcs11;

    fn deref(&self) -> &Pkcs11 {
        &self.module.context
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut gate = lock(&self.module.gate);
        gate.inside -= 1;
        match &self.what {
            What::Library => {}
            What::Session(call) => gate.traffic.end(call),
            What::Login(login) => gate.traffic.let_in(login),
        }
        self.module.changed.notify_all();
    }
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
    /// The library at `path`; loads it at the first call. Blocking.
    pub(in crate::signer) fn load(path: &Path) -> Result<Arc<Self>, LibraryError> {
        let failed = |detail| LibraryError { path: path.to_owned(), detail };
        // One library under two names (a symbolic link) is still one library. A name without a slash
        // is for the loader to find.
        let real = match path.components().count() {
            1 => path.to_owned(),
            _ => path.canonicalize().map_err(|error| failed(error.to_string()))?,
        };
        let mut modules = lock(&MODULES);
        let library = match modules.iter().find(|(known, _)| *known == real) {
            Some((_, library)) => Arc::clone(library),
            None => {
                let library = Library::default();
                modules.push((real.clone(), Arc::clone(&library)));
                library
            }
        };
        drop(modules);
        // Held while loading: two threads must not both initialise.
        let mut library = lock(&library);
        if let Some(module) = &*library {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&real).map_err(|error| failed(describe(&error)))?;
        initialize(&context).map_err(|error| failed(describe(&error)))?;
        let module = Arc::new(Self {
            context,
            path: path.to_owned(),
            gate: Mutex::new(Gate {
                generation: 1,
                uninitialized: None,
                inside: 0,
                traffic: Traffic::default(),
                reinitializing: false,
                reinitialized_at: None,
                tried_at: None,
            }),
            changed: Condvar::new(),
            refused: Mutex::default(),
            users: Mutex::default(),
        });
        *library = Some(Arc::clone(&module));
        Ok(module)
    }

    /// Leave to call the library, in no session. Blocks while it is being initialised anew.
    pub(in crate::signer) fn enter(&self) -> Result<Inside<'_>, Fault> {
        Ok(self.inside(self.initialized(lock(&self.gate))?, What::Library))
    }

    /// Leave for calls in a session of `generation`. Blocks while a login is to be alone, too.
    pub(in crate::signer) fn enter_session(
        &self,
        slot: Slot,
        generation: u64,
    ) -> Result<Inside<'_>, Fault> {
        let mut gate = self.let_in(slot, generation)?;
        let call = gate.traffic.begin(slot);
        Ok(self.inside(gate, What::Session(call)))
    }

    /// Leave for `C_Login` in a session of `generation`. Blocks while there are calls under way in the
    /// slot's sessions, unless they hang, and keeps others out meanwhile.
    pub(in crate::signer) fn enter_login(
        &self,
        slot: Slot,
        generation: u64,
    ) -> Result<Inside<'_>, Fault> {
        let mut gate = self.let_in(slot, generation)?;
        let waits = gate.traffic.keep_out(slot, Instant::now());
        let end = Instant::now() + UNDER_WAY;
        let mut gate = self.wait(gate, end, |gate| gate.traffic.are_under_way(slot));
        if gate.traffic.are_under_way(slot) {
            tracing::warn!(slot = slot.id(), "a call to the token hangs; the login does not wait");
            gate.traffic.give_up(slot);
        }
        // It may have been initialised anew meanwhile.
        match self.initialized_as(generation, gate) {
            Ok(mut gate) => {
                gate.traffic.let_in(&waits);
                // The login's own time, which does not begin before it does.
                let login = gate.traffic.keep_out(slot, Instant::now());
                Ok(self.inside(gate, What::Login(login)))
            }
            Err(fault) => {
                lock(&self.gate).traffic.let_in(&waits);
                self.changed.notify_all();
                Err(fault)
            }
        }
    }

    fn inside<'m>(&'m self, mut gate: MutexGuard<'m, Gate>, what: What) -> Inside<'m> {
        gate.inside += 1;
        Inside { module: self, generation: gate.generation, what }
    }

    /// Once the library is not being initialised, and is.
    fn initialized<'m>(
        &'m self,
        gate: MutexGuard<'m, Gate>,
    ) -> Result<MutexGuard<'m, Gate>, Fault> {
        let gate = self.wait(gate, Instant::now() + PATIENCE, |gate| gate.reinitializing);
        if gate.reinitializing {
            return Err(Fault::new(Remedy::Reinitialize, "C_Finalize or C_Initialize hangs"));
        }
        if let Some(why) = &gate.uninitialized {
            return Err(Fault::new(Remedy::Initialize, format!("not initialised: {why}")));
        }
        Ok(gate)
    }

    /// As [`Self::initialized`], where that is still of this generation.
    fn initialized_as<'m>(
        &'m self,
        generation: u64,
        gate: MutexGuard<'m, Gate>,
    ) -> Result<MutexGuard<'m, Gate>, Fault> {
        let gate = self.initialized(gate)?;
        if gate.generation == generation { Ok(gate) } else { Err(void()) }
    }

    /// As [`Self::initialized_as`], and once no login keeps calls out, which is waited for no longer than
    /// one may take.
    fn let_in(&self, slot: Slot, generation: u64) -> Result<MutexGuard<'_, Gate>, Fault> {
        let patience = Instant::now() + KEPT_OUT;
        let mut gate = lock(&self.gate);
        loop {
            gate = self.initialized_as(generation, gate)?;
            let now = Instant::now();
            let kept_out = gate.traffic.kept_out_until(slot, now).filter(|_| now < patience);
            let Some(until) = kept_out else { return Ok(gate) };
            gate = self.wait(gate, until.min(patience), |gate| {
                gate.traffic.kept_out_until(slot, now) == Some(until)
            });
        }
    }

    /// Waits for as long as `busy` is true, but not beyond `end`.
    fn wait<'m>(
        &self,
        gate: MutexGuard<'m, Gate>,
        end: Instant,
        busy: impl Fn(&Gate) -> bool,
    ) -> MutexGuard<'m, Gate> {
        let left = end.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(gate, left, |gate| busy(gate));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn generation(&self) -> u64 {
        lock(&self.gate).generation
    }

    /// `C_Finalize` and `C_Initialize`, unless another thread has just done it: after this, slots and
    /// tokens are looked for anew, and every session and handle of before is void. `beside_others`:
    /// other keys of the token sign. Blocking.
    ///
    /// # Errors
    /// Where a thread does not come out of its call, where other tokens of the library work and
    /// would be disturbed too often, and where the library does not initialise.
    pub(super) fn reinitialize(&self, for_whom: &Access, beside_others: bool) -> Result<(), Fault> {
        let others = beside_others || self.others_sign(for_whom);
        let mut gate = lock(&self.gate);
        let within = |interval, at: Option<Instant>| at.is_some_and(|at| at.elapsed() < interval);
        let just_done = within(SHORTEST_INTERVAL, gate.reinitialized_at);
        if gate.reinitializing || (gate.uninitialized.is_none() && just_done) {
            return Ok(());
        }
        // To begin with it disturbs them as well: nobody comes in while silence is waited for.
        let begun = within(INTERVAL_BESIDE_OTHERS, gate.tried_at);
        if others && gate.uninitialized.is_none() && begun {
            let detail = "other keys in the library's tokens sign, and are not disturbed now";
            return Err(Fault::new(Remedy::Reinitialize, detail));
        }
        gate.reinitializing = true;
        gate.tried_at = Some(Instant::now());
        let mut gate = self.wait(gate, Instant::now() + SILENCE, |gate| gate.inside > 0);
        if gate.inside > 0 {
            gate.reinitializing = false;
            self.changed.notify_all();
            let detail = format!("{} calls hang inside the library", gate.inside);
            return Err(Fault::new(Remedy::Reinitialize, detail));
        }
        drop(gate);
        // Nobody is inside, and nobody comes in: the lock need not be held, so that others can ask.
        let initialized = finalize(&self.context).and_then(|()| initialize(&self.context));
        let mut gate = lock(&self.gate);
        gate.generation += 1;
        gate.traffic = Traffic::default();
        gate.reinitialized_at = Some(Instant::now());
        gate.reinitializing = false;
        gate.uninitialized = initialized.as_ref().err().map(describe);
        self.changed.notify_all();
        drop(gate);
        tracing::warn!(
            library = %self.path.display(),
            error = initialized.as_ref().err().map(describe),
            "the PKCS#11 library was finalised and initialised"
        );
        Ok(initialized?)
    }

    /// Whether a token other than `this` gave a signature lately.
    fn others_sign(&self, this: &Access) -> bool {
        let users = lock(&self.users);
        let mut others = users.iter().filter_map(Weak::upgrade);
        others.any(|other| !other.is_of_the_token_of(this) && other.signs())
    }

    pub(super) fn used_by(&self, access: &Arc<Access>) {
        let mut users = lock(&self.users);
        users.retain(|user| user.strong_count() > 0);
        if !users.iter().any(|user| std::ptr::eq(user.as_ptr(), Arc::as_ptr(access))) {
            users.push(Arc::downgrade(access));
        }
    }

    pub(super) fn was_refused(&self, token: &str, pin: &SecretString) -> bool {
        lock(&self.refused).contains(&(token.to_owned(), fingerprint(pin)))
    }

    pub(super) fn remember_refused(&self, token: &str, pin: &SecretString) {
        lock(&self.refused).insert((token.to_owned(), fingerprint(pin)));
    }
}

fn initialize(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Somebody else in this process uses it too, such as OpenSSL's engine.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        result => result,
    }
}

fn finalize(context: &Pkcs11) -> Result<(), Error> {
    match context.clone().finalize() {
        Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => Ok(()),
        // A library whose device is gone may say so here, and has forgotten it all the same.
        Err(error) => {
            tracing::warn!(error = describe(&error), "C_Finalize failed");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Finalises every library that no thread is inside of. The last thing that is done with them.
pub(super) fn finalize_all() {
    for (_, library) in lock(&MODULES).iter() {
        // One whose C_Initialize hangs is left alone.
        let Ok(library) = library.try_lock() else { continue };
        let Some(module) = &*library else { continue };
        let gate = lock(&module.gate);
        if gate.inside == 0 && !gate.reinitializing && gate.uninitialized.is_none() {
            // Nobody is told: nobody is left.
            let _ = finalize(&module.context);
        }
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

/// What a call in a session of an earlier generation comes to.
pub(super) fn void() -> Fault {
    Fault::new(Remedy::Reopen, "the library was initialised anew since the session was opened")
}

fn fingerprint(pin: &SecretString) -> [u8; 32] {
    openssl::sha::sha256(pin.expose_secret().as_bytes())
}
