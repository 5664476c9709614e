//! A PKCS#11 module for tests: it forwards to a real one, and fails on command.
//!
//! What is to go wrong stands in the file `<this library>.faults`, which is read again whenever it
//! changes; see [`rules`] for its lines. What was called stands in `<this library>.counters`, a line for
//! each function, and for each rule of PKCS#11 that the caller broke (`violation …`). A test takes a
//! copy of the library into a folder of its own.

mod calls;
mod rules;
mod state;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_GENERAL_ERROR, CKR_OK};

/// The one function that PKCS#11 wants exported (v2.40 §5.4).
///
/// # Safety
/// As PKCS#11 has it: `list` points to where a pointer can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(table) = calls::table() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller promises that it can be written; the table is never changed nor freed.
    unsafe { *list = std::ptr::from_ref(table).cast_mut() };
    CKR_OK
}
