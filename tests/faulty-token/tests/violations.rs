//! What a caller does wrong is seen. What is wrong is kept from us by the types of `cryptoki`, so
//! that these tests call the functions themselves.

use std::ptr::null_mut;
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_SESSION_HANDLE, CK_SESSION_INFO, CKF_SERIAL_SESSION, CKR_OK,
    CKR_SESSION_HANDLE_INVALID, CKU_USER,
};

use crate::{Site, generate, initialize, sign};

/// The module that the site has loaded.
fn functions(site: &Site) -> CK_FUNCTION_LIST {
    let mut list = null_mut();
    // SAFETY: it is loaded already, and the pointer is to a place on our stack.
    unsafe {
        let module = cryptoki_sys::Pkcs11::new(site.token.library()).unwrap();
        assert_eq!(module.C_GetFunctionList(&raw mut list), CKR_OK);
        std::mem::forget(module);
        *list
    }
}

fn open(site: &Site, functions: &CK_FUNCTION_LIST) -> CK_SESSION_HANDLE {
    let mut session = 0;
    let slot = site.slot.id() as _;
    let open = functions.C_OpenSession.unwrap();
    // SAFETY: the pointers are null, which is allowed, or to a place on our stack.
    let answer = unsafe { open(slot, CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) };
    assert_eq!(answer, CKR_OK);
    session
}

fn ask(functions: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> u64 {
    let mut info = CK_SESSION_INFO::default();
    // SAFETY: the pointer is to a place on our stack.
    unsafe { functions.C_GetSessionInfo.unwrap()(session, &raw mut info) }
}

/// In another thread, hangs until `then` is done.
fn while_one_asks(site: &Site, session: CK_SESSION_HANDLE, then: impl FnOnce(&CK_FUNCTION_LIST)) {
    while_one_suffers("hang C_GetSessionInfo 60000 first 1", site, session, then);
}

/// In another thread, asks and suffers until `then` is done.
fn while_one_suffers(
    fault: &str,
    site: &Site,
    session: CK_SESSION_HANDLE,
    then: impl FnOnce(&CK_FUNCTION_LIST),
) {
    let functions = functions(site);
    site.suffer(&[fault]);
    let before = site.count("C_GetSessionInfo");
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&functions, session));
        while site.count("C_GetSessionInfo") == before {
            thread::sleep(Duration::from_millis(1));
        }
        then(&functions);
        site.suffer(&[]);
        asking.join().unwrap();
    });
}

fn violations(site: &Site) -> Vec<String> {
    let violations = site.token.violations(std::process::id());
    violations.into_iter().map(|(what, _)| what.replace("violation ", "")).collect()
}

#[test]
fn a_caller_who_does_nothing_wrong_is_not_blamed() {
    let site = Site::new();
    for faults in [
        &[][..],
        &["latency * 1"],
        &["drop-sessions 1"],
        &["vanish kipuka"],
        &["fail * 48 every 2"],
    ] {
        site.suffer(faults);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| site.open().and_then(|session| session.get_session_info()));
            }
        });
        site.suffer(&[]);
        let session = site.user();
        let (_, key) = generate(&session);
        sign(&session, key).unwrap();
        drop(session);
        site.context.clone().finalize().unwrap();
        initialize(&site.context);
    }
    assert!(violations(&site).is_empty(), "{:?}", violations(&site));
}

#[test]
fn a_session_that_two_threads_use_at_once_is_seen() {
    let site = Site::new();
    let session = open(&site, &functions(&site));
    while_one_asks(&site, session, |functions| assert_eq!(ask(functions, session), CKR_OK));
    assert_eq!(ask(&functions(&site), session), CKR_OK);
    assert_eq!(violations(&site), ["C_GetSessionInfo in a session that another thread uses"]);
}

#[test]
fn a_login_beside_a_call_is_seen_unless_nobody_could_wait_for_that_call() {
    let site = Site::new();
    let [session, other] = [(); 2].map(|()| open(&site, &functions(&site)));
    let log_in = |functions: &CK_FUNCTION_LIST| {
        // SAFETY: no PIN is read, as its length is none.
        let answer = unsafe { functions.C_Login.unwrap()(other, CKU_USER, null_mut(), 0) };
        assert_ne!(answer, CKR_OK);
    };
    while_one_asks(&site, session, log_in);
    assert!(violations(&site).is_empty(), "{:?}", violations(&site));
    while_one_suffers("latency C_GetSessionInfo 3000", &site, session, log_in);
    assert_eq!(violations(&site), ["C_Login where C_Login meets a call"]);
}

#[test]
fn a_session_of_before_c_finalize_is_seen() {
    let site = Site::new();
    let functions = functions(&site);
    let old = open(&site, &functions);
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    // SoftHSM2 counts from 1 again, and would take the old one for the new.
    assert_ne!(open(&site, &functions), old);
    assert_eq!(ask(&functions, old), CKR_SESSION_HANDLE_INVALID);
    assert_eq!(violations(&site), ["C_GetSessionInfo in a session of before C_Finalize"]);
}

#[test]
fn c_finalize_under_somebody_s_feet_is_seen() {
    let site = Site::new();
    let session = open(&site, &functions(&site));
    while_one_asks(&site, session, |_| site.context.clone().finalize().unwrap());
    assert_eq!(violations(&site), ["C_Finalize while another thread is inside a call"]);
}

#[test]
fn a_call_while_c_finalize_runs_is_seen() {
    let site = Site::new();
    let functions = functions(&site);
    let session = open(&site, &functions);
    site.suffer(&["hang C_Finalize 60000"]);
    thread::scope(|scope| {
        let finalizing = scope.spawn(|| site.context.clone().finalize());
        while site.count("C_Finalize") == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        ask(&functions, session);
        site.suffer(&[]);
        finalizing.join().unwrap().unwrap();
    });
    assert_eq!(violations(&site), ["C_GetSessionInfo while C_Finalize runs"]);
}
