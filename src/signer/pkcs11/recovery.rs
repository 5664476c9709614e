//! What a CKR_* means for the pool: open a new session, log in again, give up, stop.
//!
//! The ladder has two rungs so far: one retry with a new session, and one with a new login.
//! `C_Finalize` and `C_Initialize`, and a pause between attempts, would be further remedies here.

use cryptoki::error::{Error, RvError};

use super::super::SignError;

/// What helps against a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signer) enum Remedy {
    /// The session or a handle died: open a new session, find the key again, retry once.
    Reopen,
    /// The login died with the sessions it lived in: log in again, then as [`Self::Reopen`].
    LogIn,
    /// The token gives no further session: this thread must do without.
    FewerSessions,
    /// The token or the library is gone or ill: drop the session, report, try at the next call.
    Wait,
    /// The PIN was refused: no further `C_Login` with it.
    Stop,
    /// This one operation cannot be done; the session, too, is dropped, as it may be left inside an
    /// operation.
    Fail,
}

/// A failed call at the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::signer) struct Fault {
    pub(in crate::signer) remedy: Remedy,
    /// For people: the function, the CKR_* and nothing secret.
    pub(in crate::signer) detail: String,
}

impl Fault {
    pub(in crate::signer) fn new(remedy: Remedy, detail: impl Into<String>) -> Self {
        Self { remedy, detail: detail.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { remedy: remedy(&error), detail: describe(&error) }
    }
}

impl From<Fault> for SignError {
    fn from(fault: Fault) -> Self {
        match fault.remedy {
            Remedy::Stop => Self::PinRefused,
            _ => Self::Unavailable { detail: fault.detail },
        }
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
        | RvError::OperationNotInitialized => Remedy::Reopen,
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
        | RvError::CryptokiNotInitialized => Remedy::Wait,
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
            (RvError::DeviceRemoved, Remedy::Wait, "CKR_DEVICE_REMOVED"),
            (RvError::CryptokiNotInitialized, Remedy::Wait, "CKR_CRYPTOKI_NOT_INITIALIZED"),
            (RvError::PinIncorrect, Remedy::Stop, "CKR_PIN_INCORRECT"),
            (RvError::PinLocked, Remedy::Stop, "CKR_PIN_LOCKED"),
            (RvError::MechanismInvalid, Remedy::Fail, "CKR_MECHANISM_INVALID"),
            (RvError::VendorDefined(0x8000_0001), Remedy::Fail, "vendor error 0x80000001"),
        ] {
            let fault = Fault::from(Error::Pkcs11(rv, Function::Sign));
            assert_eq!(fault, Fault::new(expected, format!("C_Sign: {name}")));
        }
    }
}
