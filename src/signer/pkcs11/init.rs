//! A fresh token, for `kipuka dev` and tests: labelled, with both PINs set.

use std::path::Path;

use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::OpenError;
use super::inventory::{Listing, SlotEntry, slots_of};
use super::module::{LibraryError, Module};
use super::recovery::Fault;

/// The label's field in `CK_TOKEN_INFO`.
const LABEL_BYTES: usize = 32;

/// Why there is no fresh token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("a token label has 1 to {LABEL_BYTES} bytes; {0:?} has not")]
    Label(String),
    #[error("several tokens have the label {label:?}; the library has: {present}")]
    AmbiguousLabel { label: String, present: String },
    #[error("no slot holds a token that is not initialised yet; the library has: {present}")]
    NoFreeSlot { present: String },
    #[error(transparent)]
    Token(#[from] OpenError),
}

impl From<Fault> for InitError {
    fn from(fault: Fault) -> Self {
        Self::Token(fault.into())
    }
}

impl From<LibraryError> for InitError {
    fn from(error: LibraryError) -> Self {
        Self::Token(error.into())
    }
}

/// Makes sure that there is a token called `label`, and returns the ID of its slot. One that exists
/// stays as it is; else the first uninitialised token is initialised. Blocking.
///
/// The slot ID holds in this process only: some libraries number the slot anew when they are next
/// initialised, so configure the label.
pub(crate) fn token(
    library: &Path,
    label: &str,
    so_pin: &SecretString,
    user_pin: &SecretString,
) -> Result<u64, InitError> {
    if label.is_empty() || label.len() > LABEL_BYTES {
        return Err(InitError::Label(label.to_owned()));
    }
    let module = Module::load(library)?;
    let inside = module.enter()?;
    let slots = slots_of(&inside)?;
    let mut named = slots.iter().filter(|entry| {
        entry.token.as_ref().is_some_and(|token| token.initialized && token.label == label)
    });
    let present = || Listing(&slots).to_string();
    let slot = match (named.next(), named.next()) {
        (Some(_), Some(_)) => {
            return Err(InitError::AmbiguousLabel { label: label.to_owned(), present: present() });
        }
        (Some(entry), None) => entry,
        (None, _) => {
            let free =
                |entry: &&SlotEntry| entry.token.as_ref().is_some_and(|token| !token.initialized);
            let entry = slots
                .iter()
                .find(free)
                .ok_or_else(|| InitError::NoFreeSlot { present: present() })?;
            let slot = Slot::try_from(entry.slot).map_err(Fault::from)?;
            inside.init_token(slot, so_pin, label).map_err(Fault::from)?;
            entry
        }
    };
    let id = slot.slot;
    let slot = Slot::try_from(id).map_err(Fault::from)?;
    // Asked again: killed after C_InitToken, the next run finds a token without a user PIN.
    let info = inside.get_token_info(slot).map_err(Fault::from)?;
    if !info.user_pin_initialized() {
        let session = inside.open_rw_session(slot).map_err(Fault::from)?;
        match session.login(UserType::So, Some(so_pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(Fault::from(error).into()),
        }
        let set = session.init_pin(user_pin);
        // Whatever came of it, the officer must not stay logged in.
        session.logout().map_err(Fault::from)?;
        set.map_err(Fault::from)?;
    }
    Ok(id)
}
