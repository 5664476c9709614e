//! The module does what the lines of its faults say, and sees what its caller does wrong.

mod calls;
mod remote;
mod tokens;
mod violations;

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use harness::Token;
use harness::token::PIN;

/// The DER of the OID of P-256.
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// A token whose library is loaded and initialised in this process, with a session of a user.
struct Site {
    token: Token,
    context: Pkcs11,
    slot: Slot,
}

impl Site {
    fn new() -> Self {
        Self::of(Token::faulty())
    }

    fn of(token: Token) -> Self {
        set_environment(&token);
        let context = load(token.library());
        let slot = slot_of(&context, "kipuka").unwrap();
        Self { token, context, slot }
    }

    fn suffer(&self, faults: &[&str]) {
        self.token.suffer(faults);
    }

    fn count(&self, what: &str) -> u64 {
        self.token.counters(std::process::id()).get(what).copied().unwrap_or(0)
    }

    fn open(&self) -> Result<Session, Error> {
        self.context.open_rw_session(self.slot)
    }

    /// A session that is logged in, whichever session did it.
    fn user(&self) -> Session {
        let session = self.open().unwrap();
        if session.get_session_info().unwrap().session_state() == SessionState::RwPublic {
            log_in(&session).unwrap();
        }
        session
    }
}

/// Each test is a process of its own.
fn set_environment(token: &Token) {
    for (name, value) in token.environment() {
        // SAFETY: no other thread reads the environment yet.
        unsafe { std::env::set_var(name, value) };
    }
}

fn load(library: &Path) -> Pkcs11 {
    let context = Pkcs11::new(library).unwrap();
    initialize(&context);
    context
}

fn initialize(context: &Pkcs11) {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => panic!("{error}"),
    }
}

fn slot_of(context: &Pkcs11, label: &str) -> Option<Slot> {
    let slots = context.get_slots_with_token().unwrap();
    slots.into_iter().find(|slot| context.get_token_info(*slot).is_ok_and(|i| i.label() == label))
}

fn log_in(session: &Session) -> Result<(), Error> {
    session.login(UserType::User, Some(&PIN.into()))
}

/// A new key pair, public half first.
fn generate(session: &Session) -> (ObjectHandle, ObjectHandle) {
    let public = [Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
    let private = [Attribute::Sign(true), Attribute::Token(true)];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap()
}

fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, Error> {
    session.sign(&Mechanism::Ecdsa, key, &[7; 32])
}

fn verifies(session: &Session, key: ObjectHandle, signature: &[u8]) -> bool {
    session.verify(&Mechanism::Ecdsa, key, &[7; 32], signature).is_ok()
}

/// What a call was answered with.
#[track_caller]
fn rv<T: std::fmt::Debug>(result: Result<T, Error>) -> RvError {
    match result {
        Err(Error::Pkcs11(rv, _)) => rv,
        other => panic!("{other:?}"),
    }
}
