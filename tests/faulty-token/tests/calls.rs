//! Faults of single calls.

use std::thread;
use std::time::{Duration, Instant};

use cryptoki::error::RvError;
use cryptoki::mechanism::{Mechanism, dsa};
use cryptoki::object::{Attribute, MlDsaParameterSetType};
use harness::{Token, command};

use crate::{Site, generate, log_in, rv, sign, slot_of, verifies};

/// Four threads sign twice each, in sessions of their own.
fn sign_side_by_side(site: &Site) -> Duration {
    let user = site.user();
    let (_, key) = generate(&user);
    let sessions: Vec<_> = (0..4).map(|_| site.user()).collect();
    let begun = Instant::now();
    thread::scope(|scope| {
        for session in sessions {
            scope.spawn(move || {
                sign(&session, key).unwrap();
                sign(&session, key).unwrap();
            });
        }
    });
    begun.elapsed()
}

#[test]
fn a_slow_token_takes_its_time_for_each_call() {
    let site = Site::new();
    site.suffer(&["latency C_Sign 30"]);
    let took = sign_side_by_side(&site);
    assert!(took >= Duration::from_millis(60), "{took:?}");
    assert_eq!(site.count("C_Sign"), 8);
    assert_eq!(site.count("parallel C_Sign"), 4);
}

#[test]
fn a_token_does_no_more_at_once_than_it_may() {
    let site = Site::new();
    site.suffer(&["latency C_Sign 30", "parallel C_Sign 2"]);
    let took = sign_side_by_side(&site);
    assert!(took >= Duration::from_millis(120), "{took:?}");
    assert_eq!(site.count("parallel C_Sign"), 2);
}

#[test]
fn a_call_hangs_until_its_line_is_gone_and_others_do_not() {
    let site = Site::new();
    let (session, other) = (site.user(), site.user());
    let (public, key) = generate(&session);
    site.suffer(&["hang C_Sign 60000 at 2"]);
    sign(&session, key).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        let hanging = scope.spawn(move || {
            let signature = sign(&session, key).unwrap();
            verifies(&session, public, &signature)
        });
        while site.count("C_Sign") < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        sign(&other, key).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(!hanging.is_finished());
        site.suffer(&[]);
        assert!(hanging.join().unwrap());
    });
    assert!(begun.elapsed() < Duration::from_secs(5));
    site.suffer(&["hang C_Sign 40"]);
    let begun = Instant::now();
    sign(&other, key).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40));
}

#[test]
fn calls_fail_as_often_as_is_said() {
    let site = Site::new();
    let session = site.user();
    let (_, key) = generate(&session);
    for (when, expected) in [
        ("at 2", [true, false, true, true, true, true]),
        ("first 2", [false, false, true, true, true, true]),
        ("every 3", [true, true, false, true, true, false]),
        ("", [false; 6]),
    ] {
        site.suffer(&[&format!("fail C_Sign CKR_DEVICE_MEMORY {when}")]);
        // The session is good for the next signature, as PKCS#11 has it.
        assert_eq!(expected.map(|_| sign(&session, key).is_ok()), expected, "{when}");
    }
    assert_eq!(rv(sign(&session, key)), RvError::DeviceMemory);
    session.get_session_info().unwrap();
}

#[test]
fn any_answer_can_be_had_from_any_function() {
    let site = Site::new();
    let session = site.user();
    for (answer, expected) in [
        ("CKR_TOKEN_NOT_RECOGNIZED", RvError::TokenNotRecognized),
        ("0x80000042", RvError::VendorDefined(0x8000_0042)),
        ("48", RvError::DeviceError),
    ] {
        site.suffer(&[&format!("fail * {answer}")]);
        assert_eq!(rv(session.get_session_info()), expected);
        assert_eq!(rv(site.context.get_slots_with_token()), expected);
        assert_eq!(rv(site.context.get_library_info()), expected);
        assert_eq!(rv(site.open()), expected);
        assert_eq!(rv(session.find_objects(&[])), expected);
    }
    // A new line begins to count anew; one that stays goes on.
    site.suffer(&["fail * 48 every 3"]);
    session.get_session_info().unwrap();
    site.suffer(&["latency C_Sign 1", "fail * 48 every 3"]);
    session.get_session_info().unwrap();
    assert_eq!(rv(session.get_session_info()), RvError::DeviceError);
    site.suffer(&[]);
    session.get_session_info().unwrap();
}

#[test]
fn a_line_that_is_not_understood_ends_the_process() {
    let token = Token::faulty();
    for line in ["fail C_Sign CKR_NO_SUCH", "fail C_Sign", "hang C_Sign 5 at", "burn", "sticky x 0"]
    {
        token.suffer(&[line]);
        let mut tool = token.command("pkcs11-tool");
        tool.arg("--module").arg(token.library()).arg("--list-slots");
        let output = command::output(tool.envs(token.environment().iter().cloned()));
        assert!(!output.status.success(), "{line}");
        let said = command::text(&output);
        assert!(said.contains(&format!("does not understand {line:?}")), "{said}");
    }
}

#[test]
fn a_signature_is_wrong_as_often_as_is_said() {
    let site = Site::new();
    let session = site.user();
    let (public, key) = generate(&session);
    site.suffer(&["wrong-signature at 2"]);
    let right = [0; 3].map(|_| verifies(&session, public, &sign(&session, key).unwrap()));
    assert_eq!(right, [true, false, true]);
    site.suffer(&["wrong-signature"]);
    let right = [0; 3].map(|_| verifies(&session, public, &sign(&session, key).unwrap()));
    assert_eq!(right, [false; 3]);
}

#[test]
fn another_key_of_the_same_type_signs() {
    let site = Site::new();
    let session = site.user();
    let (public, key) = generate(&session);
    site.suffer(&["swap-keys"]);
    // There is none yet.
    assert!(verifies(&session, public, &sign(&session, key).unwrap()));
    let rsa = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
    let private = [Attribute::Token(true)];
    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &rsa, &private).unwrap();
    let (other_public, _) = generate(&session);
    let signature = sign(&session, key).unwrap();
    assert!(!verifies(&session, public, &signature));
    assert!(verifies(&session, other_public, &signature));
}

#[test]
fn a_refused_login_does_not_ask_the_token_and_is_counted() {
    let site = Site::new();
    let session = site.open().unwrap();
    site.suffer(&["refuse-login CKR_PIN_INCORRECT at 1", "refuse-login CKR_PIN_LOCKED at 2"]);
    assert_eq!(rv(log_in(&session)), RvError::PinIncorrect);
    assert_eq!(rv(log_in(&session)), RvError::PinLocked);
    assert!(!site.context.get_token_info(site.slot).unwrap().user_pin_count_low());
    log_in(&session).unwrap();
    assert_eq!(site.count("C_Login"), 3);
}

#[test]
fn one_token_suffers_and_another_of_the_same_library_does_not() {
    let token = Token::faulty();
    token
        .shell("softhsm2-util --init-token --free --label 'far west' --so-pin 12345678 --pin $PIN");
    let site = Site::of(token);
    let far = slot_of(&site.context, "far west").unwrap();
    let (here, there) = (site.user(), site.context.open_rw_session(far).unwrap());
    log_in(&there).unwrap();
    let (_, here_key) = generate(&here);
    let (_, there_key) = generate(&there);
    site.suffer(&["fail C_Sign CKR_DEVICE_ERROR every 1 of far west", "wrong-signature of kipuka"]);
    sign(&here, here_key).unwrap();
    assert_eq!(rv(sign(&there, there_key)), RvError::DeviceError);
    site.suffer(&["drop-sessions 1 of kipuka"]);
    assert_eq!(rv(sign(&here, here_key)), RvError::SessionHandleInvalid);
    sign(&there, there_key).unwrap();
    site.suffer(&["vanish far west"]);
    assert_eq!(rv(sign(&there, there_key)), RvError::DeviceRemoved);
    site.user();
}

#[test]
fn mechanisms_of_v3_are_passed_on() {
    let site = Site::of(Token::kryoptic().failing_on_command());
    let session = site.user();
    let public =
        [Attribute::ParameterSet(MlDsaParameterSetType::ML_DSA_65.into()), Attribute::Verify(true)];
    let private = [Attribute::Sign(true), Attribute::Private(true), Attribute::Sensitive(true)];
    let mechanism = Mechanism::MlDsaKeyPairGen;
    let (public, private) = session.generate_key_pair(&mechanism, &public, &private).unwrap();
    let context = dsa::SignAdditionalContext::new(dsa::HedgeType::Preferred, None);
    let mechanism = Mechanism::MlDsa(context);
    let signature = session.sign(&mechanism, private, b"message").unwrap();
    assert_eq!(signature.len(), 3309);
    session.verify(&mechanism, public, b"message", &signature).unwrap();
    site.suffer(&["wrong-signature"]);
    let wrong = session.sign(&mechanism, private, b"message").unwrap();
    session.verify(&mechanism, public, b"message", &wrong).unwrap_err();
}

#[test]
fn what_is_signed_is_recorded_while_that_is_asked_for() {
    let site = Site::new();
    let session = site.user();
    let (_, key) = generate(&session);
    sign(&session, key).unwrap();
    assert!(site.token.signatures().is_empty());
    site.suffer(&["record", "fail C_Sign CKR_DEVICE_ERROR at 2"]);
    sign(&session, key).unwrap();
    // What fails on command does not get to the token.
    sign(&session, key).unwrap_err();
    let signatures = site.token.signatures();
    let [asked, made] = &signatures[..] else { panic!("{signatures:?}") };
    assert!(!asked.is_made && made.is_made);
    assert!(asked.data == made.data && !made.data.is_empty());
}
