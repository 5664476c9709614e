//! What a CKR_* means: which rung of the ladder helps.
//!
//! The rungs, each tried when the one before did not help: a new session; a new login; the library
//! finalised and initialised, with the token and the key looked for anew; and then to wait, with the
//! circuit open, until a probe gets through. A refused PIN stops all of it.

use cryptoki::error::{Error, RvError};

use super::OpenError;

/// What helps against a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The session or a handle died: open a new session, find the key again.
    Reopen,
    /// The login died with the sessions it lived in: log in again, then as [`Self::Reopen`].
    LogIn,
    /// The token gives no further session: this thread must do without.
    FewerSessions,
    /// The token or the library is gone or ill: as [`Self::Reopen`], and if that does not help
    /// `C_Finalize` and `C_Initialize`.
    Reinitialize,
    /// The library is not initialised: `C_Initialize` at once, for nobody can be at work in it.
    Initialize,
    /// The key under this `CKA_ID` is another, or signs wrongly: as [`Self::Reinitialize`], for the
    /// handle may be at fault.
    WrongKey,
    /// The PIN was refused: no further `C_Login` with it.
    Stop,
    /// This one operation cannot be done; the session, too, is dropped, as it may be left inside an
    /// operation.
    Fail,
}

/// A failed call at the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) remedy: Remedy,
    /// For people: the function, the CKR_* and nothing secret.
    pub(crate) detail: String,
    ckr: Option<String>,
}

impl Fault {
    pub(in crate::signer) fn new(remedy: Remedy, detail: impl Into<String>) -> Self {
        Self { remedy, detail: detail.into(), ckr: None }
    }

    /// The CKR_*, or `none` where it was not the library that said no.
    pub(super) fn code(&self) -> &str {
        self.ckr.as_deref().unwrap_or("none")
    }
}

impl From<OpenError> for Fault {
    /// For a token that was well when it was opened, and is not found or not ready any more.
    fn from(error: OpenError) -> Self {
        let remedy = match error {
            OpenError::Call(fault) => return fault,
            OpenError::PinRefused { .. } => Remedy::Stop,
            OpenError::Library(_)
            | OpenError::NoSuchSlot { .. }
            | OpenError::NoSuchToken { .. }
            | OpenError::SlotAndLabelDisagree { .. } => Remedy::Reinitialize,
            _ => Remedy::Fail,
        };
        Self::new(remedy, error.to_string())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let ckr = match &error {
            Error::Pkcs11(rv, _) => Some(name(*rv)),
            _ => None,
        };
        Self { remedy: remedy(&error), detail: describe(&error), ckr }
    }
}

fn remedy(error: &Error) -> Remedy {
    let Error::Pkcs11(rv, _) = error else {
        return Remedy::Fail;
    };
    match rv {
        // A handle can die alone: the token was restored, the key replaced.
        RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::FunctionCanceled => Remedy::Reopen,
        RvError::UserNotLoggedIn => Remedy::LogIn,
        RvError::SessionCount => Remedy::FewerSessions,
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized => Remedy::Stop,
        RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::DeviceError
        | RvError::DeviceMemory
        | RvError::DeviceRemoved
        | RvError::HostMemory
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::SlotIdInvalid
        // What only the vendor knows is mostly a lost connection.
        | RvError::VendorDefined(_)
        | RvError::UnknownErrorCode(_) => Remedy::Reinitialize,
        RvError::CryptokiNotInitialized => Remedy::Initialize,
        _ => Remedy::Fail,
    }
}

/// `C_Sign: CKR_DEVICE_REMOVED`, in the words of PKCS#11; cryptoki's own text quotes its manual.
pub(super) fn describe(error: &Error) -> String {
    match error {
        Error::Pkcs11(rv, function) => format!("C_{function:?}: {}", name(*rv)),
        other => other.to_string(),
    }
}

fn name(rv: RvError) -> String {
    match rv {
        RvError::VendorDefined(code) => format!("vendor error {code:#x}"),
        RvError::UnknownErrorCode(code) => format!("unknown error {code:#x}"),
        known => {
            let mut name = "CKR".to_owned();
            for letter in format!("{known:?}").chars() {
                if letter.is_ascii_uppercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
            }
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn each_ckr_has_its_remedy_and_its_name() {
        for (rv, expected, name) in [
            (RvError::SessionHandleInvalid, Remedy::Reopen, "CKR_SESSION_HANDLE_INVALID"),
            (RvError::KeyHandleInvalid, Remedy::Reopen, "CKR_KEY_HANDLE_INVALID"),
            (RvError::UserNotLoggedIn, Remedy::LogIn, "CKR_USER_NOT_LOGGED_IN"),
            (RvError::SessionCount, Remedy::FewerSessions, "CKR_SESSION_COUNT"),
            (RvError::DeviceRemoved, Remedy::Reinitialize, "CKR_DEVICE_REMOVED"),
            (RvError::CryptokiNotInitialized, Remedy::Initialize, "CKR_CRYPTOKI_NOT_INITIALIZED"),
            (RvError::PinIncorrect, Remedy::Stop, "CKR_PIN_INCORRECT"),
            (RvError::PinLocked, Remedy::Stop, "CKR_PIN_LOCKED"),
            (RvError::MechanismInvalid, Remedy::Fail, "CKR_MECHANISM_INVALID"),
            (RvError::VendorDefined(0x8000_0001), Remedy::Reinitialize, "vendor error 0x80000001"),
        ] {
            let fault = Fault::from(Error::Pkcs11(rv, Function::Sign));
            assert_eq!((fault.remedy, &*fault.detail), (expected, &*format!("C_Sign: {name}")));
            assert_eq!(fault.code(), name);
        }
    }
}
