//! A PKCS#11 module for tests: it forwards to a real one, and fails on command.
//!
//! It finds its files beside itself. So a test takes a copy of the library into a folder of its own,
//! and two copies are two libraries, each with its own faults:
//!
//! | file | what stands in it |
//! | --- | --- |
//! | `LIBRARY.faults` | the real module and what is to go wrong, read again whenever it changes; [`rules`] has the lines |
//! | `LIBRARY.counters.PID` | what this process called and which rules of PKCS#11 it broke, see [`counters`] |
//! | `LIBRARY.signatures` | what was signed, where that is to be recorded: `asked HEX` before the token is called, `made HEX` after |
//!
//! It has only what PKCS#11 v2.40 has, so callers fall back to that table: `C_GetInterface` is not
//! there. Mechanisms of v3 work all the same, as they are only numbers here.

mod calls;
mod codes;
mod counters;
mod rules;
mod state;
mod table;
mod tokens;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_GENERAL_ERROR, CKR_OK};

/// The one function that PKCS#11 wants exported (v2.40 §5.4).
///
/// # Safety
/// As PKCS#11 has it: `list` points to where a pointer can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(table) = table::table() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller promises that it can be written; the table is never changed nor freed.
    unsafe { *list = std::ptr::from_ref(table).cast_mut() };
    CKR_OK
}
