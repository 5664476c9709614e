//! Tokens: keys, signatures, several CAs on one token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::Slot;

use super::backend::{
    Backend, PIN, SO_PIN, isolated, library, make_token, open_token, options, token_tests,
};
use super::suite::{self, runtime};
use crate::signer::Signer;
use crate::signer::pkcs11::keygen::{self, KeySpec, KeygenError};
use crate::signer::pkcs11::{OpenError, Pkcs11Signer, Surveyed, Token, init, inventory};
use crate::x509::algorithm::{KeyType, ParameterSet, SignatureAlgorithm};

/// Makes keys with ids 1, 2, … on `token`.
fn maker(
    token: Arc<Token>,
) -> impl Fn(KeySpec, &[Option<SignatureAlgorithm>]) -> Vec<Arc<dyn Signer>> {
    let next = AtomicU8::new(1);
    move |spec, algorithms| {
        let id = [next.fetch_add(1, Ordering::SeqCst)];
        let key = keygen::generate(&token, spec, &id, "suite").unwrap();
        let open = |algorithm: &Option<_>| {
            Arc::new(Pkcs11Signer::open(&token, &id, *algorithm, &key).unwrap()) as Arc<dyn Signer>
        };
        algorithms.iter().map(open).collect()
    }
}

#[test]
fn a_token_that_does_not_hash_is_given_digests() {
    let name = concat!(module_path!(), "::a_token_that_does_not_hash_is_given_digests");
    isolated(name, Backend::KryopticWithoutHashing, || {
        let token = open_token();
        let slot = Slot::try_from(token.slot().unwrap()).unwrap();
        let offered = Pkcs11::new(library()).unwrap().get_mechanism_list(slot).unwrap();
        for missing in [MechanismType::SHA256_RSA_PKCS, MechanismType::ECDSA_SHA256] {
            assert!(!offered.contains(&missing));
        }
        suite::every_algorithm_signs(&maker(token), suite::EVERY_KEY_BUT_ML_DSA);
    });
}

#[test]
fn of_many_keys_that_are_found_in_one_pass_each_proves_itself() {
    let name = "::of_many_keys_that_are_found_in_one_pass_each_proves_itself";
    isolated(&format!("{}{name}", module_path!()), Backend::SoftHsm, || {
        let token = open_token();
        let make = |id: u8| keygen::generate(&token, KeySpec::EcP256, &[id], "ca").unwrap();
        let (one, two) = (make(1), make(2));
        let surveyed = Surveyed::new(&token, 100);
        let open = |id: u8, key| Pkcs11Signer::open(&token, &[id], None, key).map(drop);
        open(1, &one).unwrap();
        open(2, &two).unwrap();
        assert!(matches!(open(1, &two), Err(OpenError::KeyMismatch { .. })));
        assert!(matches!(open(3, &one), Err(OpenError::KeyNotFound { .. })));
        // Made since the token was gone through.
        let three = make(3);
        open(3, &three).unwrap();
        drop(surveyed);
        open(1, &one).unwrap();
    });
}

#[test]
fn ml_dsa_signs() {
    isolated(concat!(module_path!(), "::ml_dsa_signs"), Backend::Kryoptic, || {
        let specs = ParameterSet::ALL.map(KeySpec::MlDsa);
        suite::every_algorithm_signs(&maker(open_token()), &specs);
    });
}

#[test]
fn a_key_that_the_token_cannot_make_is_refused_with_the_mechanism_it_lacks() {
    let name = "::a_key_that_the_token_cannot_make_is_refused_with_the_mechanism_it_lacks";
    isolated(&format!("{}{name}", module_path!()), Backend::SoftHsm, || {
        let spec = KeySpec::MlDsa(ParameterSet::MlDsa65);
        let error = keygen::generate(&open_token(), spec, &[1], "ca").unwrap_err().to_string();
        for part in ["\"kipuka\"", "no ml-dsa-65 keys", "CKM_ML_DSA_KEY_PAIR_GEN"] {
            assert!(error.contains(part), "{error}");
        }
    });
}

token_tests! {
    fn every_algorithm_signs() {
        suite::every_algorithm_signs(&maker(open_token()), suite::EVERY_KEY_BUT_ML_DSA);
    }

    fn many_tasks_sign_at_once() {
        suite::many_tasks_sign_at_once(&maker(open_token()));
    }

    fn several_cas_share_one_token() {
        let token = open_token();
        let rsa = keygen::generate(&token, KeySpec::Rsa2048, &[1], "rsa").unwrap();
        let ec = keygen::generate(&token, KeySpec::EcP384, &[0x0a, 0x1b], "ec").unwrap();
        let rsa = Arc::new(Pkcs11Signer::open(&token, &[1], None, &rsa).unwrap());
        let ec = Arc::new(Pkcs11Signer::open(&token, &[0x0a, 0x1b], None, &ec).unwrap());
        assert!(ec.describe().starts_with("EC P-384 key with CKA_ID 0a1b on the token \"kipuka\""));
        runtime().block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for turn in 0..64_u8 {
                let signer: Arc<dyn Signer> = if turn % 2 == 0 { rsa.clone() } else { ec.clone() };
                tasks.spawn(async move { signer.sign(vec![turn]).await.unwrap() });
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        });
    }

    fn one_thread_is_enough() {
        make_token("kipuka");
        let mut options = options("kipuka");
        options.max_sessions = Some(1);
        suite::many_tasks_sign_at_once(&maker(Token::open(options).unwrap()));
    }

    /// As after SIGHUP: the old token's sessions go while the new one signs.
    fn a_token_that_is_opened_anew_signs_when_the_old_one_is_closed() {
        let old = open_token();
        let key = keygen::generate(&old, KeySpec::EcP256, &[1], "ca").unwrap();
        let new = Token::open(options("kipuka")).unwrap();
        let signer = Pkcs11Signer::open(&new, &[1], None, &key).unwrap();
        runtime().block_on(async {
            signer.sign(b"before".to_vec()).await.unwrap();
            drop(old);
            for _ in 0..32 {
                signer.sign(b"after".to_vec()).await.unwrap();
            }
        });
    }

    fn keys_are_listed_and_read_as_they_were_made() {
        let token = open_token();
        let key = keygen::generate(&token, KeySpec::EcP256, &[3], "kipuka-ca-ec").unwrap();
        assert_eq!(key.key_type(), KeyType::EcP256);
        assert_eq!(token.public_key(&[3]).unwrap(), key);
        let keys: Vec<String> =
            token.keys().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(
            keys,
            [
                "id 03 label \"kipuka-ca-ec\" (EC private key)",
                "id 03 label \"kipuka-ca-ec\" (EC public key)",
            ]
        );
    }

    fn an_id_in_use_is_refused_with_what_there_is() {
        let token = open_token();
        keygen::generate(&token, KeySpec::EcP256, &[3], "first").unwrap();
        let error = keygen::generate(&token, KeySpec::Rsa2048, &[3], "second").unwrap_err();
        let said = error.to_string();
        assert!(said.contains("id 03 is taken") && said.contains("\"first\""), "{said}");
        let empty = keygen::generate(&token, KeySpec::EcP256, &[], "third").unwrap_err();
        assert!(matches!(empty, KeygenError::EmptyId));
        assert_eq!(token.keys().unwrap().len(), 2);
    }

    fn initialising_a_token_twice_leaves_the_first() {
        let slot = make_token("kipuka");
        let token = Token::open(options("kipuka")).unwrap();
        let key = keygen::generate(&token, KeySpec::EcP256, &[1], "ca").unwrap();
        assert_eq!(make_token("kipuka"), slot);
        assert_eq!(token.public_key(&[1]).unwrap(), key);
        assert_eq!(token.slot(), Some(slot));

        let slots = inventory::slots(&library()).unwrap();
        let entry = slots.iter().find(|entry| entry.slot == slot).unwrap();
        let made = entry.token.as_ref().unwrap();
        assert!(made.initialized && made.user_pin_initialized && made.login_required);
        let long = "a label of more than thirty-two bytes";
        init::token(&library(), long, &SO_PIN.into(), &PIN.into()).unwrap_err();
    }
}
