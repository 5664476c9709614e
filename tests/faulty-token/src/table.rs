//! Every function of v2.40, each with the faults around it.

#![expect(non_snake_case, reason = "the functions have PKCS#11's own names")]

use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::calls::*;
use crate::state::{Target, state};

/// The table that the caller gets.
pub fn table() -> Option<&'static CK_FUNCTION_LIST> {
    static TABLE: OnceLock<Option<CK_FUNCTION_LIST>> = OnceLock::new();
    TABLE.get_or_init(|| Some(with_faults(state()?.real))).as_ref()
}

/// `special` are written out in [`crate::calls`]; the others are passed on as they are, with their
/// first argument as the target.
macro_rules! functions {
    (special: $($special:ident),+; $($target:ident $arguments:tt: $($name:ident),+;)+) => {
        $($(forward!($target $name $arguments);)+)+

        fn with_faults(real: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                C_GetFunctionList: Some(crate::C_GetFunctionList),
                $($special: Some($special),)+
                $($($name: Some($name),)+)+
                // C_WaitForSlotEvent, which may wait for ever.
                ..real
            }
        }

        pub mod counted {
            #![expect(non_upper_case_globals, reason = "the functions have PKCS#11's own names")]

            use crate::counters::Function;

            $(pub static $special: Function = Function::new(stringify!($special));)+
            $($(pub static $name: Function = Function::new(stringify!($name));)+)+
            pub static ALL: &[&Function] = &[$(&$special,)+ $($(&$name,)+)+];
        }
    };
}

macro_rules! forward {
    (library $name:ident ($($argument:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            around(&counted::$name, Target::Library, |state, _| match state.real.$name {
                // SAFETY: the caller's arguments, on the caller's promise.
                Some(real) => unsafe { real($($argument),*) },
                None => CKR_FUNCTION_NOT_SUPPORTED,
            })
        }
    };
    ($target:ident $name:ident ($($argument:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $name(target: CK_ULONG, $($argument: $kind),*) -> CK_RV {
            let target = Target::$target(target);
            around(&counted::$name, target, |state, entered| match state.real.$name {
                // SAFETY: the caller's arguments, on the caller's promise.
                Some(real) => unsafe { real(entered.real, $($argument),*) },
                None => CKR_FUNCTION_NOT_SUPPORTED,
            })
        }
    };
}

functions! {
    special: C_Initialize, C_Finalize, C_GetSlotList, C_GetSlotInfo, C_GetTokenInfo, C_InitToken,
        C_OpenSession, C_CloseSession, C_CloseAllSessions, C_SignInit, C_Sign;
    library (info: *mut CK_INFO): C_GetInfo;
    Slot (list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG): C_GetMechanismList;
    Slot (mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO): C_GetMechanismInfo;
    Session (): C_Logout, C_FindObjectsFinal, C_GetFunctionStatus, C_CancelFunction;
    Session (info: *mut CK_SESSION_INFO): C_GetSessionInfo;
    Session (user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG): C_Login;
    Session (old: *mut CK_UTF8CHAR, old_length: CK_ULONG, new: *mut CK_UTF8CHAR, length: CK_ULONG):
        C_SetPIN;
    Session (data: *mut CK_BYTE, length: CK_ULONG):
        C_InitPIN, C_DigestUpdate, C_SignUpdate, C_VerifyUpdate, C_VerifyFinal, C_SeedRandom,
        C_GenerateRandom;
    Session (data: *mut CK_BYTE, length: *mut CK_ULONG):
        C_GetOperationState, C_EncryptFinal, C_DecryptFinal, C_DigestFinal, C_SignFinal;
    Session (data: *mut CK_BYTE, length: CK_ULONG, one: CK_OBJECT_HANDLE, other: CK_OBJECT_HANDLE):
        C_SetOperationState;
    Session (object: CK_OBJECT_HANDLE): C_DestroyObject, C_DigestKey;
    Session (object: CK_OBJECT_HANDLE, size: *mut CK_ULONG): C_GetObjectSize;
    Session (template: *mut CK_ATTRIBUTE, count: CK_ULONG): C_FindObjectsInit;
    Session (objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG): C_FindObjects;
    Session (template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE):
        C_CreateObject;
    Session (object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG):
        C_GetAttributeValue, C_SetAttributeValue;
    Session (object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        new: *mut CK_OBJECT_HANDLE): C_CopyObject;
    Session (mechanism: *mut CK_MECHANISM): C_DigestInit;
    Session (mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE):
        C_EncryptInit, C_DecryptInit, C_SignRecoverInit, C_VerifyInit, C_VerifyRecoverInit;
    Session (from: *mut CK_BYTE, from_length: CK_ULONG, to: *mut CK_BYTE, to_length: *mut CK_ULONG):
        C_Encrypt, C_EncryptUpdate, C_Decrypt, C_DecryptUpdate, C_Digest, C_SignRecover,
        C_VerifyRecover, C_DigestEncryptUpdate, C_DecryptDigestUpdate, C_SignEncryptUpdate,
        C_DecryptVerifyUpdate;
    Session (data: *mut CK_BYTE, length: CK_ULONG, signature: *mut CK_BYTE, size: CK_ULONG):
        C_Verify;
    Session (mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE): C_GenerateKey;
    Session (mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE): C_GenerateKeyPair;
    Session (mechanism: *mut CK_MECHANISM, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE,
        wrapped: *mut CK_BYTE, length: *mut CK_ULONG): C_WrapKey;
    Session (mechanism: *mut CK_MECHANISM, unwrapping: CK_OBJECT_HANDLE, wrapped: *mut CK_BYTE,
        length: CK_ULONG, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE):
        C_UnwrapKey;
    Session (mechanism: *mut CK_MECHANISM, base: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, key: *mut CK_OBJECT_HANDLE): C_DeriveKey;
}
