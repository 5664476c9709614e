//! The functions that are not just passed on, and what is asked of the real module besides.

#![expect(non_snake_case, reason = "the functions have PKCS#11's own names")]

use std::ffi::c_void;
use std::path::Path;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::counters::Function;
use crate::rules::Fault;
use crate::state::{Entered, State, Target, state};
use crate::table::counted;

/// Loads a library.
pub fn open(path: &Path) -> Option<Pkcs11> {
    // SAFETY: it is a PKCS#11 module, whose initialisers are made to run at any time.
    unsafe { Pkcs11::new(path) }.ok()
}

/// Loads the real module.
pub fn load(path: &Path) -> Option<CK_FUNCTION_LIST> {
    let library = open(path)?;
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

/// Closes what is open in a slot, without the caller's knowledge.
pub fn close_all(real: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) {
    if let Some(close_all) = real.C_CloseAllSessions {
        // SAFETY: it takes no pointer; a slot that is not there is refused.
        unsafe { close_all(slot) };
    }
}

/// Ends the login in a slot, without the caller's knowledge.
pub fn log_out(real: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) {
    let (Some(open), Some(log_out), Some(close)) =
        (real.C_OpenSession, real.C_Logout, real.C_CloseSession)
    else {
        return;
    };
    let mut session = 0;
    // SAFETY: the pointers are null, which is allowed, or to a place on our stack.
    unsafe {
        if open(slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) == CKR_OK {
            log_out(session);
            close(session);
        }
    }
}

/// Runs `call` of the real module between the faults.
pub fn around(
    function: &'static Function,
    target: Target,
    call: impl FnOnce(&'static State, &Entered) -> CK_RV,
) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    match state.enter(function, target) {
        Ok(entered) => {
            let answer = call(state, &entered);
            entered.returning(function);
            answer
        }
        Err(answer) => answer,
    }
}

pub unsafe extern "C" fn C_Initialize(arguments: *mut c_void) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    state.alone(&counted::C_Initialize, || {
        let Some(real) = state.real.C_Initialize else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's argument, on the caller's promise.
        let answer = unsafe { real(arguments) };
        // Another copy of this module may have initialised it.
        if matches!(answer, CKR_OK | CKR_CRYPTOKI_ALREADY_INITIALIZED) {
            // So that rules can name a token while it is away.
            for slot in real_slots(state, CK_TRUE) {
                let mut info = CK_TOKEN_INFO::default();
                // SAFETY: the pointer is to a place on our stack.
                unsafe { token_info(state, slot, &raw mut info) };
            }
            let (rules, mut tokens) = (state.rules(), state.tokens_mut());
            tokens.show_all();
            if rules.sticky() {
                tokens.hide(|label| rules.vanished(label));
            }
        }
        answer
    })
}

pub unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    state.finalizing(|| {
        state.alone(&counted::C_Finalize, || {
            let Some(real) = state.real.C_Finalize else { return CKR_FUNCTION_NOT_SUPPORTED };
            // SAFETY: the caller's argument, on the caller's promise.
            let answer = unsafe { real(reserved) };
            if answer == CKR_OK {
                state.tokens_mut().finalized();
            }
            answer
        })
    })
}

fn real_slots(state: &State, present: CK_BBOOL) -> Vec<CK_SLOT_ID> {
    let Some(real) = state.real.C_GetSlotList else { return Vec::new() };
    let mut count = 0;
    // SAFETY: the list may be null, and the other pointer is to a place on our stack. Asked so first
    // because some modules look for new tokens then.
    unsafe { real(present, null_mut(), &raw mut count) };
    let mut slots = vec![0; count as usize];
    // SAFETY: the pointers are to places of ours, and `count` says how large.
    let answer = unsafe { real(present, slots.as_mut_ptr(), &raw mut count) };
    slots.truncate(if answer == CKR_OK { count as usize } else { 0 });
    slots
}

/// `C_GetTokenInfo` of the real module, whose answer is remembered.
///
/// # Safety
/// `info` can be written.
unsafe fn token_info(state: &State, slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    let Some(real) = state.real.C_GetTokenInfo else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the caller promises that it can be written.
    let answer = unsafe { real(slot, info) };
    if answer == CKR_OK {
        // SAFETY: the real module has just written it.
        let label = unsafe { (*info).label };
        let label = String::from_utf8_lossy(&label);
        state.tokens_mut().learn(slot, label.trim_end());
    }
    answer
}

pub unsafe extern "C" fn C_GetSlotList(
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    around(&counted::C_GetSlotList, Target::Library, |state, _| {
        let mut slots = real_slots(state, present);
        slots.retain(|slot| present == CK_FALSE || !state.is_away(*slot));
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

pub unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    // A slot stays while its token is away.
    around(&counted::C_GetSlotInfo, Target::Library, |state, _| {
        let Some(real) = state.real.C_GetSlotInfo else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's arguments, on the caller's promise.
        let answer = unsafe { real(slot, info) };
        if answer == CKR_OK && state.is_away(slot) {
            // SAFETY: the real module has just written it.
            unsafe { (*info).flags &= !CKF_TOKEN_PRESENT };
        }
        answer
    })
}

pub unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    around(&counted::C_GetTokenInfo, Target::Slot(slot), |state, _| {
        // SAFETY: the caller's arguments, on the caller's promise.
        unsafe { token_info(state, slot, info) }
    })
}

pub unsafe extern "C" fn C_InitToken(
    slot: CK_SLOT_ID,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
    label: *mut CK_UTF8CHAR,
) -> CK_RV {
    around(&counted::C_InitToken, Target::Slot(slot), |state, _| {
        let Some(real) = state.real.C_InitToken else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's arguments, on the caller's promise.
        let answer = unsafe { real(slot, pin, length, label) };
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: the pointer is to a place on our stack.
        unsafe { token_info(state, slot, &raw mut info) };
        answer
    })
}

pub unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    handle: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    around(&counted::C_OpenSession, Target::Slot(slot), |state, _| {
        let Some(real) = state.real.C_OpenSession else { return CKR_FUNCTION_NOT_SUPPORTED };
        // SAFETY: the caller's arguments, on the caller's promise.
        let answer = unsafe { real(slot, flags, application, notify, handle) };
        if answer == CKR_OK {
            // SAFETY: the real module has just written it.
            unsafe { *handle = state.tokens_mut().opened(*handle, slot) };
        }
        answer
    })
}

pub unsafe extern "C" fn C_CloseSession(handle: CK_SESSION_HANDLE) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    let session = state.tokens().session(handle);
    let answer = around(&counted::C_CloseSession, Target::Session(handle), |state, entered| {
        match state.real.C_CloseSession {
            // SAFETY: it takes no pointer.
            Some(real) => unsafe { real(entered.real) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    });
    if answer == CKR_OK || session.is_some_and(|session| session.ended.get().is_some()) {
        state.tokens_mut().closed(handle);
    }
    answer
}

pub unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    around(&counted::C_CloseAllSessions, Target::Slot(slot), |state, _| {
        close_all(&state.real, slot);
        state.tokens_mut().closed_all(slot);
        CKR_OK
    })
}

pub unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    around(&counted::C_SignInit, Target::Session(session), |state, entered| {
        let is_swapped = entered.is_struck_by(&Fault::SwapKeys);
        let other = if is_swapped { another_key(state, entered.real, key) } else { None };
        match state.real.C_SignInit {
            // SAFETY: the caller's arguments, on the caller's promise.
            Some(real) => unsafe { real(entered.real, mechanism, other.unwrap_or(key)) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    })
}

/// A private key of the same type that is not `key`, in a session of the real module.
fn another_key(
    state: &State,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_OBJECT_HANDLE> {
    let mut class = CKO_PRIVATE_KEY;
    let mut kind: CK_KEY_TYPE = 0;
    let attribute = |type_, value: *mut CK_ULONG| CK_ATTRIBUTE {
        type_,
        pValue: value.cast(),
        ulValueLen: size_of::<CK_ULONG>() as CK_ULONG,
    };
    let mut template =
        [attribute(CKA_KEY_TYPE, &raw mut kind), attribute(CKA_CLASS, &raw mut class)];
    let mut found = [0; 64];
    let mut count = 0;
    // SAFETY: the pointers are to places on our stack, with their sizes.
    unsafe {
        (state.real.C_GetAttributeValue?)(session, key, template.as_mut_ptr(), 1);
        (state.real.C_FindObjectsInit?)(session, template.as_mut_ptr(), 2);
        let most = found.len() as CK_ULONG;
        (state.real.C_FindObjects?)(session, found.as_mut_ptr(), most, &raw mut count);
        (state.real.C_FindObjectsFinal?)(session);
    }
    found[..count as usize].iter().copied().find(|other| *other != key)
}

pub unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    signature: *mut CK_BYTE,
    size: *mut CK_ULONG,
) -> CK_RV {
    let Some(state) = state() else { return CKR_GENERAL_ERROR };
    let Some(real) = state.real.C_Sign else { return CKR_FUNCTION_NOT_SUPPORTED };
    if signature.is_null() {
        // The question for the length is no signature.
        return match state.pass(session) {
            // SAFETY: the caller's arguments, on the caller's promise.
            Ok(passed) => unsafe { real(passed.real, data, length, signature, size) },
            Err(answer) => answer,
        };
    }
    let entered = match state.enter(&counted::C_Sign, Target::Session(session)) {
        Ok(entered) => entered,
        Err(answer) => {
            // A C_Sign that fails ends what C_SignInit began (PKCS#11 v2.40 §5.11).
            if let Ok(passed) = state.pass(session) {
                let mut signature = [0; 16 * 1024];
                let mut size = signature.len() as CK_ULONG;
                let (signature, size) = (signature.as_mut_ptr(), &raw mut size);
                // SAFETY: the caller's arguments, on the caller's promise, and places on our stack.
                unsafe { real(passed.real, data, length, signature, size) };
            }
            return answer;
        }
    };
    // SAFETY: the caller promises that it can be read.
    let message = unsafe { std::slice::from_raw_parts(data, length as usize) };
    state.record("asked", message);
    // SAFETY: the caller's arguments, on the caller's promise.
    let answer = unsafe { real(entered.real, data, length, signature, size) };
    if answer == CKR_OK {
        state.record("made", message);
    }
    entered.returning(&counted::C_Sign);
    if answer == CKR_OK && entered.is_struck_by(&Fault::WrongSignature) {
        // SAFETY: the real module has just written `size` bytes there, more than 20 for any kind of
        // key.
        unsafe { *signature.add(20) ^= 1 };
    }
    answer
}
