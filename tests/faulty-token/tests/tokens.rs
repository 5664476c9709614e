//! Faults of sessions and of whole tokens.

use std::fs;

use cryptoki::error::RvError;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, SessionState};

use crate::{Site, generate, initialize, load, log_in, rv, sign, slot_of};

/// Handles end with the login.
fn private_keys(session: &Session) -> Vec<ObjectHandle> {
    session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()
}

#[test]
fn dropped_sessions_are_invalid_and_the_login_is_gone_with_them() {
    let site = Site::new();
    let sessions = [site.user(), site.user(), site.user()];
    for number in 1..=2 {
        site.suffer(&[&format!("drop-sessions {number}")]);
        for session in &sessions {
            assert_eq!(rv(session.get_session_info()), RvError::SessionHandleInvalid);
        }
        let session = site.open().unwrap();
        let state = session.get_session_info().unwrap().session_state();
        assert_eq!(state, SessionState::RwPublic);
        log_in(&session).unwrap();
        // The line is no longer new.
        site.suffer(&[&format!("drop-sessions {number}"), "latency C_Sign 1"]);
        session.get_session_info().unwrap();
    }
}

#[test]
fn a_login_that_is_gone_leaves_the_sessions() {
    let site = Site::new();
    let session = site.user();
    generate(&session);
    site.suffer(&["log-out 1"]);
    let state = session.get_session_info().unwrap().session_state();
    assert_eq!(state, SessionState::RwPublic);
    assert!(private_keys(&session).is_empty());
    log_in(&session).unwrap();
    sign(&session, private_keys(&session)[0]).unwrap();
}

#[test]
fn a_token_that_is_away_is_nowhere_and_its_sessions_stay_dead() {
    let site = Site::new();
    let session = site.user();
    let (_, key) = generate(&session);
    let slots = site.context.get_all_slots().unwrap();
    site.suffer(&["vanish kipuka"]);
    assert_eq!(slot_of(&site.context, "kipuka"), None);
    assert_eq!(site.context.get_all_slots().unwrap(), slots);
    assert!(!site.context.get_slot_info(site.slot).unwrap().token_present());
    assert_eq!(rv(site.context.get_token_info(site.slot)), RvError::TokenNotPresent);
    assert_eq!(rv(site.context.get_mechanism_list(site.slot)), RvError::TokenNotPresent);
    assert_eq!(rv(site.open()), RvError::TokenNotPresent);
    assert_eq!(rv(session.get_session_info()), RvError::DeviceRemoved);
    assert_eq!(rv(sign(&session, key)), RvError::DeviceRemoved);
    site.suffer(&[]);
    assert_eq!(slot_of(&site.context, "kipuka"), Some(site.slot));
    assert_eq!(rv(session.get_session_info()), RvError::DeviceRemoved);
    let session = site.open().unwrap();
    let state = session.get_session_info().unwrap().session_state();
    assert_eq!(state, SessionState::RwPublic);
    log_in(&session).unwrap();
    sign(&session, private_keys(&session)[0]).unwrap();
}

#[test]
fn a_token_that_sticks_is_seen_again_only_after_c_initialize() {
    let site = Site::new();
    site.suffer(&["sticky", "vanish *"]);
    site.suffer(&[]);
    assert_eq!(slot_of(&site.context, "kipuka"), None);
    assert_eq!(rv(site.open()), RvError::TokenNotPresent);
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    site.user();

    // Initialised while it was away, the library does not see it come back either.
    site.suffer(&["sticky", "vanish kipuka"]);
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    site.suffer(&[]);
    assert_eq!(slot_of(&site.context, "kipuka"), None);
    site.context.clone().finalize().unwrap();
    initialize(&site.context);
    site.user();
}

#[test]
fn a_token_can_be_away_from_the_start() {
    let site = Site::new();
    site.context.clone().finalize().unwrap();
    site.suffer(&["vanish kipuka"]);
    initialize(&site.context);
    assert_eq!(slot_of(&site.context, "kipuka"), None);
    site.suffer(&[]);
    site.user();
}

#[test]
fn a_copy_of_the_module_has_faults_of_its_own() {
    let site = Site::new();
    let copy = site.token.path().join("copy.so");
    fs::copy(site.token.library(), &copy).unwrap();
    fs::copy(site.token.path().join("faulty.so.faults"), copy.with_extension("so.faults")).unwrap();
    let other = load(&copy);
    site.suffer(&["fail * CKR_DEVICE_ERROR"]);
    assert_eq!(rv(site.open()), RvError::DeviceError);
    let session = other.open_ro_session(slot_of(&other, "kipuka").unwrap()).unwrap();
    session.get_session_info().unwrap();
    assert!(site.token.violations(std::process::id()).is_empty());
}
