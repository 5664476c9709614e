//! Tokens: what is misconfigured or goes wrong, and what is said about it.

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::slot::Slot;
use secrecy::SecretString;

use super::backend::{PIN, library, make_token, open_token, options, token_tests};
use super::suite::runtime;
use crate::signer::pkcs11::keygen::{self, KeySpec, KeygenError};
use crate::signer::pkcs11::{OpenError, Pkcs11Signer, Token, TokenOptions};
use crate::signer::{Health, SignError, Signer};
use crate::x509::algorithm::ParameterSet;

fn with_pin(pin: &str) -> TokenOptions {
    TokenOptions { pin: Some(SecretString::from(pin)), ..options("kipuka") }
}

/// Sessions that the signer knows nothing of, in the library that it has initialised.
fn context() -> (Pkcs11, Slot) {
    let context = Pkcs11::new(library()).unwrap();
    let slot = context.get_slots_with_initialized_token().unwrap().remove(0);
    (context, slot)
}

/// Changes the user's PIN, as an operator would from elsewhere.
fn change_pin(from: &str, to: &str) {
    let (context, slot) = context();
    let session = context.open_rw_session(slot).unwrap();
    session.set_pin(&from.into(), &to.into()).unwrap();
}

/// Ends the login of the whole process.
fn log_out() {
    let (context, slot) = context();
    context.open_ro_session(slot).unwrap().logout().unwrap();
}

#[test]
fn a_library_that_cannot_be_loaded_is_named_with_what_to_check() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    for library in [dir.path().join("absent.so"), text] {
        let options = TokenOptions { library: library.clone(), ..TokenOptions::default() };
        let said = Token::open(options).unwrap_err().to_string();
        assert!(said.contains(library.to_str().unwrap()), "{said}");
        for remedy in ["path is correct", "read and executed", "depends on"] {
            assert!(said.contains(remedy), "{said}");
        }
    }
}

token_tests! {
    fn a_token_that_is_not_there_is_answered_with_those_that_are() {
        let slot = make_token("kipuka");
        make_token("other");
        let open = |slot, label: Option<&str>| {
            Token::open(TokenOptions {
                slot,
                token_label: label.map(str::to_owned),
                ..options("kipuka")
            })
        };
        for (slot, label) in [
            (None, None),
            (None, Some("kipuca")),
            (Some(4_000_000_000), None),
            (Some(slot), Some("other")),
        ] {
            let said = open(slot, label).unwrap_err().to_string();
            assert!(said.contains("token \"kipuka\"; slot"), "{said}");
            assert!(said.contains("token \"other\""), "{said}");
        }
        assert_eq!(open(Some(slot), Some("kipuka")).unwrap().label(), "kipuka");
        assert_eq!(open(Some(slot), None).unwrap().slot(), Some(slot));
    }

    fn a_label_that_two_tokens_have_is_refused_with_both_slots() {
        let slot = make_token("kipuka");
        let _initialised = Token::open(options("kipuka")).unwrap();
        let (context, _) = context();
        let slots = context.get_slots_with_token().unwrap();
        let fresh = slots
            .into_iter()
            .find(|slot| !context.get_token_info(*slot).unwrap().token_initialized())
            .unwrap();
        context.init_token(fresh, &"5678".into(), "kipuka").unwrap();
        let said = Token::open(options("kipuka")).unwrap_err().to_string();
        assert!(said.contains("several tokens"), "{said}");
        for slot in [slot, fresh.id()] {
            assert!(said.contains(&format!("slot {slot:#x} ({slot}): token \"kipuka\"")), "{said}");
        }
    }

    /// The right PIN must be tried by another way to see that the wrong one is not: a PIN that was
    /// refused stays refused even when the token would now take it.
    fn a_refused_pin_is_never_tried_again() {
        make_token("kipuka");
        let refused = Token::open(with_pin("87654321")).unwrap_err();
        assert!(matches!(refused, OpenError::PinRefused { .. }), "{refused}");
        assert!(refused.to_string().contains("CKR_PIN_INCORRECT"), "{refused}");
        assert!(!refused.to_string().contains("87654321"), "{refused}");

        change_pin(PIN, "87654321");
        let again = Token::open(with_pin("87654321")).unwrap_err();
        assert!(matches!(again, OpenError::PinRefused { .. }), "{again}");
        assert!(again.to_string().contains("refused before"), "{again}");
    }

    fn a_pin_that_is_refused_at_run_time_stops_the_token() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[1], "ca").unwrap();
        let signer = Pkcs11Signer::open(&token, &[1], None, &key).unwrap();
        runtime().block_on(async {
            signer.sign(b"message".to_vec()).await.unwrap();
            change_pin(PIN, "another");
            log_out();
            assert_eq!(signer.sign(b"message".to_vec()).await, Err(SignError::PinRefused));
            // It would be accepted now, if anyone asked.
            change_pin("another", PIN);
            assert_eq!(signer.sign(b"message".to_vec()).await, Err(SignError::PinRefused));
            assert!(matches!(signer.health(), Health::Down(_)));
        });
        assert!(matches!(Token::open(options("kipuka")), Err(OpenError::PinRefused { .. })));
    }

    fn a_lost_login_is_made_again() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::Rsa2048, &[1], "ca").unwrap();
        let signer = Pkcs11Signer::open(&token, &[1], None, &key).unwrap();
        runtime().block_on(async {
            for _ in 0..4 {
                signer.sign(b"message".to_vec()).await.unwrap();
                log_out();
            }
            assert_eq!(signer.health(), Health::Up);
        });
    }

    fn a_missing_pin_is_asked_for() {
        make_token("kipuka");
        let missing = Token::open(TokenOptions { pin: None, ..options("kipuka") }).unwrap_err();
        assert!(missing.to_string().contains("pin_env"), "{missing}");
    }

    fn a_key_that_is_not_there_is_answered_with_those_that_are() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[3], "kipuka-ca-ec").unwrap();
        let missing = Pkcs11Signer::open(&token, &[0x0a], None, &key).err().unwrap();
        let said = missing.to_string();
        assert!(matches!(missing, OpenError::KeyNotFound { .. }), "{said}");
        for part in ["CKA_ID 0a", "id 03 label \"kipuka-ca-ec\" (EC private key)", "hsm_slot"] {
            assert!(said.contains(part), "{said}");
        }
    }

    fn two_keys_with_one_id_are_refused() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[3], "one").unwrap();
        keygen::generate(&token, KeySpec::EcP256, &[4], "other").unwrap();
        let session = token.access.open_read_write().unwrap();
        for object in session.find_objects(&[Attribute::Id(vec![4])]).unwrap() {
            session.update_attributes(object, &[Attribute::Id(vec![3])]).unwrap();
        }
        let said = Pkcs11Signer::open(&token, &[3], None, &key).err().unwrap().to_string();
        assert!(said.contains("several keys with CKA_ID 03"), "{said}");
        assert!(said.contains("\"one\"") && said.contains("\"other\""), "{said}");
    }

    fn a_key_that_is_not_the_certificates_is_refused_with_both_key_ids() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[1], "ca").unwrap();
        let other = keygen::generate(&token, KeySpec::EcP256, &[2], "other").unwrap();
        let said = Pkcs11Signer::open(&token, &[1], None, &other).err().unwrap().to_string();
        assert!(said.contains(&key.key_identifier_hex()), "{said}");
        assert!(said.contains(&other.key_identifier_hex()), "{said}");
    }

    /// As with keys that were imported without their public half.
    fn without_a_public_key_object_a_signature_proves_the_key() {
        let token = open_token();
        let keys = [(KeySpec::EcP256, 1), (KeySpec::Rsa2048, 2)].map(|(spec, id)| {
            (id, keygen::generate(&token, spec, &[id], "ca").unwrap())
        });
        let stranger = keygen::generate(&token, KeySpec::EcP256, &[3], "stranger").unwrap();
        let session = token.access.open_read_write().unwrap();
        for object in session.find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY)]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        for (id, key) in keys {
            let signer = Pkcs11Signer::open(&token, &[id], None, &key).unwrap();
            runtime().block_on(signer.sign(b"message".to_vec())).unwrap();
            let said = Pkcs11Signer::open(&token, &[id], None, &stranger).err().unwrap().to_string();
            assert!(said.contains(&stranger.key_identifier_hex()), "{said}");
        }
    }

    /// A restored token may give an old handle to another key.
    fn a_key_that_is_replaced_under_its_id_signs_nothing() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[1], "ca").unwrap();
        let signer = Pkcs11Signer::open(&token, &[1], None, &key).unwrap();
        let session = token.access.open_read_write().unwrap();
        for object in session.find_objects(&[Attribute::Id(vec![1])]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        keygen::generate(&token, KeySpec::EcP256, &[1], "impostor").unwrap();
        runtime().block_on(async {
            let key_identifier = key.key_identifier_hex();
            let signed = signer.sign(b"message".to_vec()).await;
            assert_eq!(signed, Err(SignError::WrongSignature { key_identifier }));
        });
    }

    fn a_private_key_is_made_to_stay_and_only_to_sign() {
        let token = open_token();
        keygen::generate(&token, KeySpec::Rsa2048, &[1], "rsa").unwrap();
        keygen::generate(&token, KeySpec::EcP256, &[2], "ec").unwrap();
        keygen::generate(&token, KeySpec::Ed25519, &[3], "ed25519").unwrap();
        let ml_dsa = KeySpec::MlDsa(ParameterSet::MlDsa44);
        match keygen::generate(&token, ml_dsa, &[4], "ml-dsa") {
            Ok(_) | Err(KeygenError::NoMechanism { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let session = token.access.open_read_write().unwrap();
        let template = [Attribute::Class(ObjectClass::PRIVATE_KEY)];
        for object in session.find_objects(&template).unwrap() {
            use AttributeType as T;
            let shown = session
                .get_attributes(object, &[
                    T::Token, T::Private, T::Sensitive, T::Extractable, T::Sign, T::Decrypt,
                    T::Unwrap, T::Derive,
                ])
                .unwrap();
            for wanted in [
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ] {
                assert!(shown.contains(&wanted), "{wanted:?} in {shown:?}");
            }
        }
        let rsa = session.find_objects(&[template[0].clone(), Attribute::Id(vec![1])]).unwrap()[0];
        assert_eq!(
            session.get_attributes(rsa, &[AttributeType::Decrypt, AttributeType::Unwrap]).unwrap(),
            [Attribute::Decrypt(false), Attribute::Unwrap(false)]
        );
        for id in [2, 3] {
            let template = [template[0].clone(), Attribute::Id(vec![id])];
            let key = session.find_objects(&template).unwrap()[0];
            let derive = session.get_attributes(key, &[AttributeType::Derive]).unwrap();
            assert_eq!(derive, [Attribute::Derive(false)]);
        }
    }
}
