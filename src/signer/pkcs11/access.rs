//! The way to one token: its login, kept alive by one session, and the sessions opened under it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::inventory::TokenEntry;
use super::key::private_key;
use super::mechanism::{Recipe, x509_form};
use super::module::{Module, lock};
use super::recovery::{Fault, Remedy};
use super::session_pool::{SessionSource, TokenSession};
use super::{OpenError, SigningKey};
use crate::x509::algorithm::PublicKey;

/// The way to the token, shared by its threads.
pub(in crate::signer) struct Access {
    pub(in crate::signer) module: Arc<Module>,
    pub(in crate::signer) slot: Slot,
    label: String,
    login: Login,
    /// Never signs and is never given back: the login is the application's and ends with its last
    /// session (PKCS#11 v3.1 §5.6.8), so one must outlive the threads' sessions.
    management: Mutex<Option<Session>>,
    /// The PIN was refused; nothing is tried any more.
    stopped: AtomicBool,
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

impl Access {
    pub(super) fn new(module: Arc<Module>, slot: Slot, label: String, login: Login) -> Self {
        let (management, stopped) = (Mutex::default(), AtomicBool::default());
        Self { module, slot, label, login, management, stopped }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Runs `job` on the management session, which is made anew and logged in where it must be.
    /// Holds the lock: not for signing.
    pub(super) fn with_management<T, E: From<Fault>>(
        &self,
        job: impl FnOnce(&Session) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut management = lock(&self.management);
        job(self.ready(&mut management, false)?)
    }

    /// A read-write session, for making keys.
    pub(in crate::signer) fn open_read_write(&self) -> Result<Session, Fault> {
        self.ready(&mut lock(&self.management), false)?;
        Ok(self.module.context.open_rw_session(self.slot)?)
    }

    fn ready<'a>(
        &self,
        management: &'a mut Option<Session>,
        log_in: bool,
    ) -> Result<&'a Session, Fault> {
        let known =
            matches!(&self.login, Login::Pin(pin) if self.module.was_refused(self.slot.id(), pin));
        if known || self.stopped.load(Ordering::SeqCst) {
            let detail = "this PIN was refused before and is not tried again";
            return Err(Fault::new(Remedy::Stop, detail));
        }
        let alive = management.take().filter(|session| session.get_session_info().is_ok());
        let session = match alive {
            Some(session) => session,
            None => self.module.context.open_ro_session(self.slot)?,
        };
        let session = management.insert(session);
        let state = session.get_session_info()?.session_state();
        if log_in || matches!(state, SessionState::RoPublic | SessionState::RwPublic) {
            self.log_in(session)?;
        }
        Ok(session)
    }

    fn log_in(&self, session: &Session) -> Result<(), Fault> {
        let pin = match &self.login {
            Login::NotRequired => return Ok(()),
            Login::AtTheToken => None,
            Login::Pin(pin) => Some(pin),
        };
        match session.login(UserType::User, pin) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let fault = Fault::from(error);
                if fault.remedy == Remedy::Stop {
                    self.stopped.store(true, Ordering::SeqCst);
                    if let Some(pin) = pin {
                        self.module.remember_refused(self.slot.id(), pin);
                    }
                    tracing::error!(
                        "the token {:?} refused the PIN ({}); it is not tried again",
                        self.label,
                        fault.detail
                    );
                }
                Err(fault)
            }
        }
    }
}

impl SessionSource for Access {
    type Session = SigningSession;

    fn open(&self, log_in: bool) -> Result<SigningSession, Fault> {
        // The guard ends here: signing sessions are opened side by side.
        self.ready(&mut lock(&self.management), log_in)?;
        let session = self.module.context.open_ro_session(self.slot)?;
        Ok(SigningSession { session, handles: HashMap::new() })
    }
}

/// A thread's session with the handles that were found in it: they go when it goes, because after
/// a reconnect an old handle may be another key's.
pub(in crate::signer) struct SigningSession {
    session: Session,
    handles: HashMap<Vec<u8>, ObjectHandle>,
}

impl TokenSession for SigningSession {
    fn sign(&mut self, key: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let handle = match self.handles.get(&key.id) {
            Some(handle) => *handle,
            None => {
                let handle = private_key(&self.session, &key.id)?;
                self.handles.insert(key.id.clone(), handle);
                handle
            }
        };
        sign(&self.session, handle, key.recipe, &key.public_key, message)
    }
}

/// `C_SignInit` and `C_Sign`; the signature in X.509 form, not verified.
pub(super) fn sign(
    session: &Session,
    handle: ObjectHandle,
    recipe: Recipe,
    public_key: &PublicKey,
    message: &[u8],
) -> Result<Vec<u8>, Fault> {
    let input = recipe
        .input(message)
        .map_err(|error| Fault::new(Remedy::Fail, format!("OpenSSL cannot hash: {error}")))?;
    x509_form(public_key, session.sign(&recipe.mechanism(), handle, &input)?)
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
