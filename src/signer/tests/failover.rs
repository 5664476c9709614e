//! One key in several places, with doubles that are well, dead, slow or busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};

use super::suite::runtime;
use crate::signer::failover::Failover;
use crate::signer::{BoxFuture, Health, SignError, Signer};
use crate::x509::algorithm::{Hash, PublicKey, SignatureAlgorithm, VerifiedSignature};

/// Answers with a signature of its name, after a while; or not at all.
struct Place {
    name: &'static str,
    answer: Result<(), SignError>,
    takes: Duration,
    up: bool,
    load: usize,
    asked: AtomicUsize,
    secret: PKey<Private>,
    key: PublicKey,
}

const ALGORITHM: SignatureAlgorithm = SignatureAlgorithm::Ecdsa(Hash::Sha256);

impl Signer for Place {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        ALGORITHM
    }

    fn sign(&self, _: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
            self.answer.clone()?;
            let mut signer =
                openssl::sign::Signer::new(MessageDigest::sha256(), &self.secret).unwrap();
            let name = self.name.as_bytes();
            let signature = signer.sign_oneshot_to_vec(name).unwrap();
            Ok(self.key.verified(ALGORITHM, name.to_vec(), signature).unwrap())
        })
    }

    fn health(&self) -> Health {
        if self.up { Health::Up } else { Health::Down(format!("{} is down", self.name)) }
    }

    fn load(&self) -> usize {
        self.load
    }

    fn describe(&self) -> String {
        self.name.to_owned()
    }
}

fn place(name: &'static str) -> Place {
    let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
    let secret = PKey::from_ec_key(openssl::ec::EcKey::generate(&group).unwrap()).unwrap();
    let key = PublicKey::from_spki(&secret.public_key_to_der().unwrap()).unwrap();
    Place {
        name,
        answer: Ok(()),
        takes: Duration::ZERO,
        up: true,
        load: 0,
        asked: AtomicUsize::new(0),
        secret,
        key,
    }
}

fn away(why: &str) -> SignError {
    SignError::Unavailable { detail: why.to_owned() }
}

/// Who signed, and how often each place was asked.
fn signed_by(by_load: bool, places: Vec<Place>) -> (Result<String, SignError>, Vec<usize>) {
    let places: Vec<_> = places.into_iter().map(Arc::new).collect();
    let signers = places.iter().map(|place| Arc::clone(place) as Arc<dyn Signer>).collect();
    let signer = Failover::over(signers, by_load).unwrap();
    let signature = runtime().block_on(signer.sign(b"message".to_vec()));
    let asked = places.iter().map(|place| place.asked.load(Ordering::SeqCst)).collect();
    let name_of = |signature: VerifiedSignature| {
        let by =
            |place: &&Arc<Place>| signature.is_by(&place.key, ALGORITHM, place.name.as_bytes());
        places.iter().find(by).unwrap().name.to_owned()
    };
    (signature.map(name_of), asked)
}

#[test]
fn the_first_that_is_well_signs() {
    let (by, asked) = signed_by(false, vec![place("east"), place("west")]);
    assert_eq!((by.unwrap().as_str(), &asked[..]), ("east", &[1, 0][..]));
    let down = Place { up: false, ..place("east") };
    let (by, asked) = signed_by(false, vec![down, place("west")]);
    assert_eq!((by.unwrap().as_str(), &asked[..]), ("west", &[0, 1][..]));
}

#[test]
fn the_least_busy_signs_where_the_load_is_shared() {
    let places = || vec![Place { load: 3, ..place("east") }, Place { load: 1, ..place("west") }];
    assert_eq!(signed_by(true, places()).0.unwrap(), "west");
    assert_eq!(signed_by(false, places()).0.unwrap(), "east");
    let idle_but_down =
        vec![Place { load: 3, ..place("east") }, Place { up: false, ..place("west") }];
    assert_eq!(signed_by(true, idle_but_down).0.unwrap(), "east");
}

#[test]
fn what_one_place_refuses_the_next_signs() {
    for error in [away("gone"), SignError::PinRefused] {
        let refuses = Place { answer: Err(error), ..place("east") };
        let (by, asked) = signed_by(false, vec![refuses, place("west")]);
        assert_eq!((by.unwrap().as_str(), &asked[..]), ("west", &[1, 1][..]));
    }
}

#[test]
fn a_place_that_hangs_costs_its_head_start_and_no_more() {
    let hangs = Place { takes: Duration::from_secs(600), ..place("east") };
    let begun = Instant::now();
    let (by, asked) = signed_by(false, vec![hangs, place("west")]);
    assert_eq!((by.unwrap().as_str(), &asked[..]), ("west", &[1, 1][..]));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_first_reason_is_given_where_all_places_fail() {
    let fails = |name, why| Place { answer: Err(away(why)), up: false, ..place(name) };
    let places = || vec![fails("east", "east is gone"), fails("west", "west is gone")];
    assert_eq!(signed_by(false, places()).0, Err(away("east is gone")));
    let signers = places().into_iter().map(|place| Arc::new(place) as Arc<dyn Signer>).collect();
    let signer = Failover::over(signers, false).unwrap();
    assert_eq!(signer.health(), Health::Down("east is down; west is down".to_owned()));
    assert_eq!(signer.places().len(), 2);
}
