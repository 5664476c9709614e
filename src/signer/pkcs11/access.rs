//! The way to one token: where it is, its login, kept alive by one session, and the sessions opened
//! under it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::inventory::{TokenEntry, slots_of};
use super::key::{hex, private_key, private_keys, public_halves, wants_login_per_signature};
use super::mechanism::{Recipe, x509_form};
use super::module::{Module, lock};
use super::recovery::{Fault, Remedy};
use super::session::BoundSession;
use super::session_pool::{SessionSource, TokenSession};
use super::token::{TokenOptions, choose};
use super::{OpenError, SigningKey};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};

/// A token that signed within this time is at work.
const LATELY: Duration = Duration::from_secs(10);
/// How long a thread waits for the management session while another makes calls in it.
const PATIENCE: Duration = Duration::from_secs(10);
const MANAGEMENT_TICK: Duration = Duration::from_millis(5);

/// The way to the token, shared by its threads.
pub(in crate::signer) struct Access {
    this: Weak<Self>,
    pub(super) options: TokenOptions,
    /// Where the token was last found.
    place: Mutex<Option<Arc<Place>>>,
    /// Never signs and is never given back: the login is the application's and ends with its last
    /// session (PKCS#11 v3.1 §5.6.8), so one must outlive the threads' sessions.
    management: Mutex<Option<BoundSession>>,
    /// Why the PIN was refused; nothing is tried any more.
    refused: Mutex<Option<String>>,
    signed_at: Mutex<Option<Instant>>,
}

/// Where a token is, in one initialisation of its library.
pub(in crate::signer) struct Place {
    pub(super) module: Arc<Module>,
    pub(super) generation: u64,
    pub(in crate::signer) slot: Slot,
    pub(super) entry: TokenEntry,
    login: Login,
    /// The user was logged in here, and nothing since has shown otherwise.
    logged_in: AtomicBool,
}

/// How this token wants its user to log in.
pub(super) enum Login {
    NotRequired,
    Pin(SecretString),
    /// At the token's own keypad (`CKF_PROTECTED_AUTHENTICATION_PATH`).
    AtTheToken,
}

impl Login {
    pub(super) fn for_token(
        token: &TokenEntry,
        pin: Option<SecretString>,
    ) -> Result<Self, OpenError> {
        match pin {
            _ if !token.login_required => Ok(Self::NotRequired),
            Some(pin) => Ok(Self::Pin(pin)),
            None if token.protected_authentication_path => Ok(Self::AtTheToken),
            None => Err(OpenError::PinMissing { token: token.label.clone() }),
        }
    }
}

impl Place {
    /// What stays the same when the token moves to another slot.
    fn token(&self) -> String {
        format!("{} {}", self.entry.serial_number, self.entry.label)
    }
}

/// The management session and its surroundings, lent for some calls.
pub(in crate::signer) struct Lent<'a> {
    session: &'a Session,
    pub(super) context: &'a Pkcs11,
    pub(super) place: &'a Place,
}

impl Deref for Lent<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl Access {
    pub(super) fn new(options: TokenOptions) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            options,
            place: Mutex::default(),
            management: Mutex::default(),
            refused: Mutex::default(),
            signed_at: Mutex::default(),
        })
    }

    /// The token's label, as found, else as configured.
    pub(super) fn label(&self) -> String {
        let found = lock(&self.place).as_ref().map(|place| place.entry.label.clone());
        found.or_else(|| self.options.token_label.clone()).unwrap_or_default()
    }

    /// The slot ID, as found, else as configured.
    pub(super) fn slot(&self) -> Option<u64> {
        let found = lock(&self.place).as_ref().map(|place| place.slot.id());
        found.or(self.options.slot)
    }

    /// Whether both lead to one token; after a reload there are two ways to it for a while.
    pub(super) fn is_of_the_token_of(&self, other: &Self) -> bool {
        let named = |access: &Self| (access.options.slot, access.options.token_label.clone());
        named(self) == named(other)
    }

    /// Whether it gave a signature lately.
    pub(super) fn signs(&self) -> bool {
        lock(&self.signed_at).is_some_and(|at| at.elapsed() < LATELY)
    }

    /// Where the token is now; looks for it where the library was initialised since it was found.
    pub(super) fn place(&self) -> Result<Arc<Place>, OpenError> {
        let known = lock(&self.place).clone();
        if let Some(place) = known.filter(|place| place.generation == place.module.generation()) {
            return Ok(place);
        }
        let options = &self.options;
        let module = Module::load(&options.library)?;
        if let Some(this) = self.this.upgrade() {
            module.used_by(&this);
        }
        let inside = module.enter()?;
        let slots = slots_of(&inside)?;
        let generation = inside.generation;
        drop(inside);
        let (slot, entry) = choose(&slots, options.slot, options.token_label.as_deref())?;
        let place = Arc::new(Place {
            module,
            generation,
            slot: Slot::try_from(slot).map_err(Fault::from)?,
            entry: entry.clone(),
            login: Login::for_token(entry, options.pin.clone())?,
            logged_in: AtomicBool::new(false),
        });
        *lock(&self.place) = Some(Arc::clone(&place));
        Ok(place)
    }

    /// Runs `job` on the management session, which is made anew and logged in where it must be.
    /// Holds the lock: not for signing.
    pub(super) fn with_management<T, E: From<Fault> + From<OpenError>>(
        &self,
        job: impl FnOnce(&Lent<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let place = self.place()?;
        let mut management = self.management()?;
        let session = self.ready(&mut management, &place, false)?;
        session.with(|session, context| job(&Lent { session, context, place: &place }))
    }

    /// The management session, once nobody else uses it. A call in it may hang: who waits for its end
    /// would hang as well.
    fn management(&self) -> Result<MutexGuard<'_, Option<BoundSession>>, Fault> {
        let since = Instant::now();
        loop {
            if let Some(management) = self.management_if_free() {
                return Ok(management);
            }
            if since.elapsed() > PATIENCE {
                let detail = "a call hangs in the session that holds the login";
                return Err(Fault::new(Remedy::Reinitialize, detail));
            }
            thread::sleep(MANAGEMENT_TICK);
        }
    }

    fn management_if_free(&self) -> Option<MutexGuard<'_, Option<BoundSession>>> {
        match self.management.try_lock() {
            Ok(management) => Some(management),
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A read-write session, for making keys. It is not guarded against a new initialisation of the
    /// library: for commands that do nothing else.
    pub(in crate::signer) fn open_read_write(&self) -> Result<Session, OpenError> {
        let place = self.place()?;
        self.ready(&mut *self.management()?, &place, false)?;
        Ok(place.module.enter()?.open_rw_session(place.slot).map_err(Fault::from)?)
    }

    /// The operator has had a hand in it: a locked token may be unlocked by now. A PIN that was
    /// refused as wrong stays refused all the same.
    pub(super) fn resume(&self) {
        *lock(&self.refused) = None;
    }

    fn ready<'a>(
        &self,
        management: &'a mut Option<BoundSession>,
        place: &Place,
        log_in: bool,
    ) -> Result<&'a BoundSession, Fault> {
        self.refuse_after_refusal()?;
        let state = |session: &BoundSession| {
            session.with(|session, _| Ok::<_, Fault>(session.get_session_info()?.session_state()))
        };
        let alive = management.take().and_then(|session| Some((state(&session).ok()?, session)));
        let (state, session) = match alive {
            Some(alive) => alive,
            None => {
                let session = BoundSession::open(&place.module, place.generation, place.slot)?;
                (state(&session)?, session)
            }
        };
        let session = management.insert(session);
        if log_in || matches!(state, SessionState::RoPublic | SessionState::RwPublic) {
            self.log_in(session, place)?;
        }
        place.logged_in.store(true, Ordering::SeqCst);
        Ok(session)
    }

    fn refuse_after_refusal(&self) -> Result<(), Fault> {
        match &*lock(&self.refused) {
            Some(why) => Err(Fault::new(Remedy::Stop, why)),
            None => Ok(()),
        }
    }

    fn log_in(&self, session: &BoundSession, place: &Place) -> Result<(), Fault> {
        let pin = match &place.login {
            Login::NotRequired => return Ok(()),
            Login::AtTheToken => None,
            Login::Pin(pin) => Some(pin),
        };
        if let Some(pin) = pin
            && place.module.was_refused(&place.token(), pin)
        {
            let fault =
                Fault::new(Remedy::Stop, "this PIN was refused before and is not tried again");
            *lock(&self.refused) = Some(fault.detail.clone());
            return Err(fault);
        }
        let error = match session.log_in(|session| session.login(UserType::User, pin))? {
            Ok(()) => {
                tracing::info!(token = self.options.name, "logged in to the token");
                return Ok(());
            }
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => return Ok(()),
            Err(error) => error,
        };
        let fault = Fault::from(error);
        if fault.remedy == Remedy::Stop {
            *lock(&self.refused) = Some(fault.detail.clone());
            // A locked token does not say that the PIN is wrong.
            if let Some(pin) = pin
                && fault.code() != "CKR_PIN_LOCKED"
            {
                place.module.remember_refused(&place.token(), pin);
            }
        }
        Err(fault)
    }
}

impl SessionSource for Access {
    type Session = SigningSession;

    fn name(&self) -> &str {
        &self.options.name
    }

    fn open(&self, log_in: bool) -> Result<SigningSession, Fault> {
        self.refuse_after_refusal()?;
        let place = self.place()?;
        if log_in || !place.logged_in.load(Ordering::SeqCst) {
            // The guard ends here: signing sessions are opened side by side.
            self.ready(&mut *self.management()?, &place, log_in)?;
        }
        let session = BoundSession::open(&place.module, place.generation, place.slot)?;
        Ok(SigningSession { session, place, handles: HashMap::new() })
    }

    fn reinitialize(&self, beside_others: bool) -> Result<(), Fault> {
        let place = lock(&self.place).clone();
        let module = match place {
            Some(place) => Arc::clone(&place.module),
            None => Module::load(&self.options.library).map_err(OpenError::from)?,
        };
        module.reinitialize(self, beside_others)
    }

    fn keep_login(&self) -> Result<(), Fault> {
        let place = self.place()?;
        // Whoever has it uses it, and that is all that is wanted.
        let Some(mut management) = self.management_if_free() else { return Ok(()) };
        let session = self.ready(&mut management, &place, false)?;
        // C_GetSessionInfo may be answered by the library alone; this goes to the token.
        session.with(|session, _| private_keys(session, b"").map(drop))
    }

    fn signed(&self) {
        *lock(&self.signed_at) = Some(Instant::now());
    }
}

/// A thread's session with the handles that were found in it: they go when it goes, because after
/// a reconnect an old handle may be another key's.
pub(in crate::signer) struct SigningSession {
    session: BoundSession,
    place: Arc<Place>,
    handles: HashMap<Vec<u8>, ObjectHandle>,
}

impl TokenSession for SigningSession {
    fn sign(&mut self, key: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let Self { session, place, handles } = self;
        session.with(|session, context| {
            let handle = match handles.get(&key.id) {
                Some(handle) => *handle,
                None => {
                    let handle = find(session, place, key)?;
                    handles.insert(key.id.clone(), handle);
                    handle
                }
            };
            let recipe = match key.recipe_in(place.generation) {
                Some(recipe) => recipe,
                None => {
                    let recipe = prove(session, context, place, key, handle)?;
                    key.set_recipe(place.generation, recipe);
                    recipe
                }
            };
            sign(session, handle, recipe, &key.public_key, message)
        })
    }

    /// Looks for the key again: that goes to the token, and shows whether the handle is still its.
    fn keep_alive(&mut self) -> Result<(), Fault> {
        let Self { session, handles, .. } = self;
        session.with(|session, _| {
            let Some((id, handle)) = handles.iter().next() else {
                return private_keys(session, b"").map(drop);
            };
            match private_key(session, id)? {
                found if found == *handle => Ok(()),
                _ => Err(Fault::new(Remedy::Reopen, "the key has another handle than before")),
            }
        })
    }

    fn handle(&self) -> u64 {
        self.session.handle()
    }
}

/// The private key's handle in this session.
fn find(session: &Session, place: &Place, key: &SigningKey) -> Result<ObjectHandle, Fault> {
    let fault = |remedy, detail: String| Err(Fault::new(remedy, detail));
    match private_keys(session, &key.id)?[..] {
        [handle] => Ok(handle),
        [] => {
            // A private key is not shown to those who are not logged in (PKCS#11 v3.1 §4.4).
            let state = session.get_session_info()?.session_state();
            let public = matches!(state, SessionState::RoPublic | SessionState::RwPublic);
            if public && !matches!(place.login, Login::NotRequired) {
                place.logged_in.store(false, Ordering::SeqCst);
                return fault(Remedy::LogIn, "the login is gone".to_owned());
            }
            let detail = format!("the token has no private key with CKA_ID {}", hex(&key.id));
            fault(Remedy::Reinitialize, detail)
        }
        ref several => fault(
            Remedy::Fail,
            format!("the token has {} private keys with CKA_ID {}", several.len(), hex(&key.id)),
        ),
    }
}

/// That the token's key is the one in the certificate, as far as the token shows it, and how it
/// signs there. Once in each initialisation; every signature is verified besides.
fn prove(
    session: &Session,
    context: &Pkcs11,
    place: &Place,
    key: &SigningKey,
    handle: ObjectHandle,
) -> Result<Recipe, Fault> {
    if wants_login_per_signature(session, handle) {
        let detail = "the key wants a login before each signature (CKA_ALWAYS_AUTHENTICATE)";
        return Err(Fault::new(Remedy::Fail, detail));
    }
    let halves = public_halves(session, &key.id, handle)?;
    if !halves.is_empty() && !halves.contains(&key.public_key) {
        let detail = format!("the key with CKA_ID {} is not the certificate's", hex(&key.id));
        return Err(Fault::new(Remedy::WrongKey, detail));
    }
    choose_recipe(context, place, key.algorithm)?.map_err(|needed| {
        let detail = format!("the token cannot sign {}: it would need {needed}", key.algorithm);
        Fault::new(Remedy::Fail, detail)
    })
}

/// How the token signs so, by its mechanism list; else which mechanisms it would need.
pub(super) fn choose_recipe(
    context: &Pkcs11,
    place: &Place,
    algorithm: SignatureAlgorithm,
) -> Result<Result<Recipe, &'static str>, Fault> {
    let offered = context.get_mechanism_list(place.slot)?;
    Ok(Recipe::choose(algorithm, |mechanism| {
        let info = context.get_mechanism_info(place.slot, mechanism);
        offered.contains(&mechanism) && info.is_ok_and(|info| info.sign())
    })
    .map_err(|none| none.needed))
}

/// `C_SignInit` and `C_Sign`; the signature in X.509 form, not verified.
pub(super) fn sign(
    session: &Session,
    handle: ObjectHandle,
    recipe: Recipe,
    public_key: &PublicKey,
    message: &[u8],
) -> Result<Vec<u8>, Fault> {
    let (mechanism, input) = recipe
        .request(public_key.key_type(), message)
        .map_err(|error| Fault::new(Remedy::Fail, format!("OpenSSL cannot hash: {error}")))?;
    x509_form(public_key, session.sign(&mechanism, handle, &input)?)
}

#[cfg(test)]
mod tests {
    use super::super::token::tests::token;
    use super::*;

    #[test]
    fn a_pin_is_needed_only_where_the_token_asks_for_one() {
        let pin = || Some(SecretString::from("1234"));
        let asks = token("kipuka");
        assert!(matches!(Login::for_token(&asks, pin()), Ok(Login::Pin(_))));
        assert!(matches!(Login::for_token(&asks, None), Err(OpenError::PinMissing { .. })));
        let open = TokenEntry { login_required: false, ..token("kipuka") };
        assert!(matches!(Login::for_token(&open, None), Ok(Login::NotRequired)));
        assert!(matches!(Login::for_token(&open, pin()), Ok(Login::NotRequired)));
        let keypad = TokenEntry { protected_authentication_path: true, ..token("kipuka") };
        assert!(matches!(Login::for_token(&keypad, None), Ok(Login::AtTheToken)));
    }
}
