//! The functions that kipuka calls, each with the faults around it; all others are the real module's.

use std::ptr::null_mut;
use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::rules::Kind;
use crate::state::{State, state};

/// Loads the real module.
pub fn load(path: &str) -> Option<CK_FUNCTION_LIST> {
    // SAFETY: it is a PKCS#11 module, whose initialisers are made to run at any time.
    let library = unsafe { Pkcs11::new(path) }.ok()?;
    let mut list = null_mut();
    // SAFETY: the pointer is to a place on our stack.
    let answer = unsafe { library.C_GetFunctionList(&raw mut list) };
    // Never unloaded: its functions are called until the process ends.
    std::mem::forget(library);
    if answer != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: the module answered with its table, which lives as long as it does.
    Some(unsafe { *list })
}

/// The real module's table, with these in the place of its own.
pub fn table() -> Option<&'static CK_FUNCTION_LIST> {
    static TABLE: OnceLock<Option<CK_FUNCTION_LIST>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        Some(CK_FUNCTION_LIST {
            C_GetFunctionList: Some(crate::C_GetFunctionList),
            C_Initialize: Some(initialize),
            C_Finalize: Some(finalize),
            C_GetSlotList: Some(get_slot_list),
            C_GetTokenInfo: Some(get_token_info),
            C_GetMechanismList: Some(get_mechanism_list),
            C_GetMechanismInfo: Some(get_mechanism_info),
            C_OpenSession: Some(open_session),
            C_CloseSession: Some(close_session),
            C_GetSessionInfo: Some(get_session_info),
            C_Login: Some(login),
            C_FindObjectsInit: Some(find_objects_init),
            C_FindObjects: Some(find_objects),
            C_FindObjectsFinal: Some(find_objects_final),
            C_GetAttributeValue: Some(get_attribute_value),
            C_SignInit: Some(sign_init),
            C_Sign: Some(sign),
            ..state()?.real
        })
    });
    table.as_ref()
}

/// Closes what is open in these slots, without the caller's knowledge.
pub fn close_all(real: &CK_FUNCTION_LIST, slots: &[CK_SLOT_ID]) {
    for slot in slots {
        if let Some(close) = real.C_CloseAllSessions {
            // SAFETY: it takes no pointer; a slot that is not there is refused.
            unsafe { close(*slot) };
        }
    }
}

/// Runs `call` of the real module between the faults.
fn around(
    function: &'static str,
    slot: Option<CK_SLOT_ID>,
    session: Option<CK_SESSION_HANDLE>,
    call: impl FnOnce(&'static State) -> CK_RV,
) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    match state.enter(function, slot, session) {
        Ok(()) => {
            let answer = call(state);
            state.leave(function, session);
            answer
        }
        Err(answer) => answer,
    }
}

/// A function that is passed on as it is; with its first argument as the session or the slot.
macro_rules! forward {
    ($rust:ident, $name:ident, session, ($($arg:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $rust(session: CK_SESSION_HANDLE, $($arg: $kind),*) -> CK_RV {
            around(stringify!($name), None, Some(session), |state| match state.real.$name {
                // SAFETY: the caller's arguments, on the caller's promise.
                Some(real) => unsafe { real(session, $($arg),*) },
                None => CKR_FUNCTION_NOT_SUPPORTED,
            })
        }
    };
    ($rust:ident, $name:ident, slot, ($($arg:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $rust(slot: CK_SLOT_ID, $($arg: $kind),*) -> CK_RV {
            around(stringify!($name), Some(slot), None, |state| match state.real.$name {
                // SAFETY: the caller's arguments, on the caller's promise.
                Some(real) => unsafe { real(slot, $($arg),*) },
                None => CKR_FUNCTION_NOT_SUPPORTED,
            })
        }
    };
}

forward!(get_token_info, C_GetTokenInfo, slot, (info: *mut CK_TOKEN_INFO));
forward!(get_mechanism_list, C_GetMechanismList, slot, (list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG));
forward!(get_mechanism_info, C_GetMechanismInfo, slot, (kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO));
forward!(get_session_info, C_GetSessionInfo, session, (info: *mut CK_SESSION_INFO));
forward!(login, C_Login, session, (user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG));
forward!(find_objects_init, C_FindObjectsInit, session, (template: *mut CK_ATTRIBUTE, count: CK_ULONG));
forward!(find_objects, C_FindObjects, session, (objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG));
forward!(find_objects_final, C_FindObjectsFinal, session, ());
forward!(get_attribute_value, C_GetAttributeValue, session, (object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG));
forward!(close, C_CloseSession, session, ());

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: it takes no pointer.
    let answer = unsafe { close(session) };
    if let Some(state) = state() {
        state.lock().sessions.remove(&session);
    }
    answer
}

unsafe extern "C" fn initialize(arguments: *mut std::ffi::c_void) -> CK_RV {
    around("C_Initialize", None, None, |state| {
        let Some(real) = state.real.C_Initialize else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's argument, on the caller's promise.
        let answer = unsafe { real(arguments) };
        remember_labels(state);
        answer
    })
}

unsafe extern "C" fn finalize(reserved: *mut std::ffi::c_void) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    state.lock().finalized();
    around("C_Finalize", None, None, |state| match state.real.C_Finalize {
        // SAFETY: the caller's argument, on the caller's promise.
        Some(real) => unsafe { real(reserved) },
        None => CKR_FUNCTION_NOT_SUPPORTED,
    })
}

/// Which token is in which slot, so that rules can name it while it is away.
fn remember_labels(state: &State) {
    for slot in real_slots(state, CK_TRUE) {
        let Some(real) = state.real.C_GetTokenInfo else { return };
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: the pointer is to a place on our stack.
        if unsafe { real(slot, &raw mut info) } == CKR_OK {
            let label = String::from_utf8_lossy(&info.label).trim_end().to_owned();
            state.lock().labels.insert(slot, label);
        }
    }
}

fn real_slots(state: &State, present: CK_BBOOL) -> Vec<CK_SLOT_ID> {
    let Some(real) = state.real.C_GetSlotList else { return Vec::new() };
    let mut slots = vec![0; 64];
    let mut count = slots.len() as CK_ULONG;
    // SAFETY: the pointers are to places of ours, and `count` says how large.
    let answer = unsafe { real(present, slots.as_mut_ptr(), &raw mut count) };
    slots.truncate(if answer == CKR_OK { count as usize } else { 0 });
    slots
}

unsafe extern "C" fn get_slot_list(
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    around("C_GetSlotList", None, None, |state| {
        let mut slots = real_slots(state, present);
        let inner = state.lock();
        slots.retain(|slot| present == CK_FALSE || !state.away(&inner, *slot));
        drop(inner);
        // SAFETY: the caller promises that `count` can be read and written, and that `list`, unless
        // null, has room for `count`.
        unsafe {
            let room = *count as usize;
            *count = slots.len() as CK_ULONG;
            if list.is_null() {
                return CKR_OK;
            }
            if room < slots.len() {
                return CKR_BUFFER_TOO_SMALL;
            }
            list.copy_from_nonoverlapping(slots.as_ptr(), slots.len());
        }
        CKR_OK
    })
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut std::ffi::c_void,
    notify: CK_NOTIFY,
    handle: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    around("C_OpenSession", Some(slot), None, |state| {
        let Some(real) = state.real.C_OpenSession else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's arguments, on the caller's promise.
        let answer = unsafe { real(slot, flags, application, notify, handle) };
        if answer == CKR_OK {
            // SAFETY: the real module has just written it.
            state.lock().opened(unsafe { *handle }, slot);
        }
        answer
    })
}

unsafe extern "C" fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    around("C_SignInit", None, Some(session), |state| {
        let swap = |kind: &Kind| (*kind == Kind::SwapKeys).then_some(());
        let swapped = !state.rules().strike(swap).is_empty();
        let key = if swapped { another_key(state, session, key) } else { key };
        match state.real.C_SignInit {
            // SAFETY: the caller's arguments, on the caller's promise.
            Some(real) => unsafe { real(session, mechanism, key) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    })
}

/// A private key of the same type that is not `key`, or `key` where there is none.
fn another_key(
    state: &State,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
) -> CK_OBJECT_HANDLE {
    let (Some(init), Some(find), Some(end)) =
        (state.real.C_FindObjectsInit, state.real.C_FindObjects, state.real.C_FindObjectsFinal)
    else {
        return key;
    };
    let mut class = CKO_PRIVATE_KEY;
    let mut template = CK_ATTRIBUTE {
        type_: CKA_CLASS,
        pValue: (&raw mut class).cast(),
        ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
    };
    let mut found = [0; 16];
    let mut count = 0;
    // SAFETY: the pointers are to places on our stack, with their sizes.
    unsafe {
        init(session, &raw mut template, 1);
        find(session, found.as_mut_ptr(), found.len() as CK_ULONG, &raw mut count);
        end(session);
    }
    found[..count as usize].iter().copied().find(|other| *other != key).unwrap_or(key)
}

unsafe extern "C" fn sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    signature: *mut CK_BYTE,
    size: *mut CK_ULONG,
) -> CK_RV {
    // The question for the length is no signature, and costs a token nothing.
    if signature.is_null() {
        let Some(real) = state().and_then(|state| state.real.C_Sign) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: the caller's arguments, on the caller's promise.
        return unsafe { real(session, data, length, signature, size) };
    }
    around("C_Sign", None, Some(session), |state| {
        let Some(real) = state.real.C_Sign else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's arguments, on the caller's promise.
        let answer = unsafe { real(session, data, length, signature, size) };
        let lie = |kind: &Kind| (*kind == Kind::WrongSignature).then_some(());
        if answer == CKR_OK && !state.rules().strike(lie).is_empty() {
            // SAFETY: the real module has just written `size` bytes there, more than 20 for any
            // kind of key.
            unsafe { *signature.add(20) ^= 1 };
        }
        answer
    })
}
