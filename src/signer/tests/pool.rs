//! The pool with doubles for the token: sessions that hang, fail, lie and are refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};

use super::suite::runtime;
use crate::signer::pkcs11::mechanism::Recipe;
use crate::signer::pkcs11::recovery::{Fault, Remedy};
use crate::signer::pkcs11::session_pool::{SessionPool, SessionSource, TokenSession};
use crate::signer::pkcs11::{SigningKey, shut_down};
use crate::signer::{Health, SignError};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};

/// What the next call of a session does.
#[derive(Clone)]
enum Act {
    Sign,
    Lie,
    Panic,
    Fail(Remedy),
    Hang(Arc<Gate>),
}

/// Holds callers until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        drop(self.opened.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// A token that plays `script`, then signs properly.
struct Double {
    key: PKey<Private>,
    script: Mutex<Vec<Act>>,
    /// How many sessions it gives at a time.
    limit: usize,
    given: AtomicUsize,
    opened: AtomicUsize,
    logins: AtomicUsize,
    calls: AtomicUsize,
}

struct DoubleSession(Arc<Double>);

impl TokenSession for DoubleSession {
    fn sign(&mut self, _: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let double = &self.0;
        double.calls.fetch_add(1, Ordering::SeqCst);
        let act = double.script.lock().unwrap().pop().unwrap_or(Act::Sign);
        match act {
            Act::Sign => {}
            Act::Lie => return Ok(vec![0x30, 6, 2, 1, 1, 2, 1, 1]),
            Act::Panic => panic!("the script says so"),
            Act::Fail(remedy) => return Err(Fault::new(remedy, "C_Sign: CKR_SCRIPTED")),
            Act::Hang(gate) => gate.wait(),
        }
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &double.key).unwrap();
        Ok(signer.sign_oneshot_to_vec(message).unwrap())
    }
}

impl Drop for DoubleSession {
    fn drop(&mut self) {
        self.0.given.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Source(Arc<Double>);

impl SessionSource for Source {
    type Session = DoubleSession;

    fn open(&self, log_in: bool) -> Result<DoubleSession, Fault> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        self.0.logins.fetch_add(usize::from(log_in), Ordering::SeqCst);
        if self.0.given.fetch_add(1, Ordering::SeqCst) >= self.0.limit {
            self.0.given.fetch_sub(1, Ordering::SeqCst);
            return Err(Fault::new(Remedy::FewerSessions, "C_OpenSession: CKR_SESSION_COUNT"));
        }
        Ok(DoubleSession(Arc::clone(&self.0)))
    }
}

struct Stage {
    double: Arc<Double>,
    pool: Arc<SessionPool>,
    key: Arc<SigningKey>,
}

fn stage(threads: usize, limit: usize, mut script: Vec<Act>) -> Stage {
    script.reverse();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
    let algorithm = SignatureAlgorithm::EcdsaSha256;
    let double = Arc::new(Double {
        key,
        script: Mutex::new(script),
        limit,
        given: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
        logins: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
    });
    let source = Arc::new(Source(Arc::clone(&double)));
    let pool = SessionPool::start(&source, threads, Duration::from_millis(300)).unwrap();
    let key = SigningKey::new(vec![1], public, algorithm, Recipe::Whole(algorithm));
    Stage { double, pool: Arc::new(pool), key: Arc::new(key) }
}

impl Stage {
    async fn sign(&self) -> Result<Vec<u8>, SignError> {
        self.pool.sign(&self.key, b"message".to_vec()).await
    }

    fn count(&self, counter: impl Fn(&Double) -> &AtomicUsize) -> usize {
        counter(&self.double).load(Ordering::SeqCst)
    }
}

async fn within(what: &str, check: impl Fn() -> bool) {
    for _ in 0..500 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}

#[test]
fn a_hanging_token_costs_the_caller_the_deadline_and_the_runtime_nothing() {
    let gate = Arc::new(Gate::default());
    let stage = stage(2, 2, vec![Act::Hang(Arc::clone(&gate)), Act::Hang(Arc::clone(&gate))]);
    // One thread: anything that blocked it would stop the ticker.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ticks = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&ticks);
        let ticker = tokio::task::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                counting.fetch_add(1, Ordering::SeqCst);
            }
        });
        let deadline = Duration::from_millis(300);
        let (one, two, queued) = tokio::join!(stage.sign(), stage.sign(), stage.sign());
        for result in [one, two, queued] {
            assert_eq!(result, Err(SignError::Deadline { deadline }));
        }
        assert!(ticks.load(Ordering::SeqCst) > 5, "the runtime stood still");
        assert!(matches!(stage.key.health(), Health::Down(_)));

        gate.open();
        within("the threads resume", || stage.key.health() == Health::Up).await;
        stage.sign().await.unwrap();
        // The third caller had given up: nobody signed for it.
        assert_eq!(stage.count(|double| &double.calls), 3);
        assert_eq!(stage.count(|double| &double.opened), 2);
        ticker.abort();
    });
}

#[test]
fn a_wrong_signature_never_leaves_and_costs_the_session() {
    let stage = stage(1, 1, vec![Act::Lie]);
    runtime().block_on(async {
        let key_identifier = stage.key.public_key.key_identifier_hex();
        assert_eq!(stage.sign().await, Err(SignError::WrongSignature { key_identifier }));
        assert!(matches!(stage.key.health(), Health::Down(_)));
        stage.sign().await.unwrap();
        assert_eq!(stage.key.health(), Health::Up);
        assert_eq!(stage.count(|double| &double.opened), 2);
    });
}

#[test]
fn a_session_is_kept_while_it_works_and_replaced_when_it_fails() {
    use Remedy::{Fail, LogIn, Reopen, Stop, Wait};
    for (script, opened, logins, signed) in [
        (vec![], 1, 0, true),
        (vec![Act::Fail(Reopen)], 2, 0, true),
        (vec![Act::Fail(LogIn)], 2, 1, true),
        (vec![Act::Fail(Reopen), Act::Fail(Reopen)], 2, 0, false),
        (vec![Act::Fail(LogIn), Act::Fail(LogIn)], 2, 1, false),
        (vec![Act::Fail(Wait)], 1, 0, false),
        (vec![Act::Fail(Fail)], 1, 0, false),
        (vec![Act::Fail(Stop)], 1, 0, false),
        (vec![Act::Panic], 1, 0, false),
    ] {
        let stage = stage(1, 1, script);
        runtime().block_on(async {
            assert_eq!(stage.sign().await.is_ok(), signed);
            assert_eq!(stage.count(|double| &double.opened), opened);
            assert_eq!(stage.count(|double| &double.logins), logins);
            // Whatever it was, it is over: the next call works, with a new session if need be.
            stage.sign().await.unwrap();
            assert_eq!(stage.count(|double| &double.opened), opened + usize::from(!signed));
        });
    }
}

#[test]
fn a_refused_pin_is_told_apart_from_a_token_that_is_away() {
    let stage = stage(1, 1, vec![Act::Fail(Remedy::Stop), Act::Fail(Remedy::Wait)]);
    runtime().block_on(async {
        assert_eq!(stage.sign().await, Err(SignError::PinRefused));
        let detail = "C_Sign: CKR_SCRIPTED".to_owned();
        assert_eq!(stage.sign().await, Err(SignError::Unavailable { detail }));
    });
}

#[test]
fn a_token_with_fewer_sessions_than_threads_still_serves_everyone() {
    let stage = Arc::new(stage(8, 2, vec![]));
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        // One first, so that a session is open when the other threads are turned away.
        stage.sign().await.unwrap();
        for _ in 0..200 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { stage.sign().await.unwrap() });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    });
}

#[test]
fn a_probe_brings_a_key_up_again_without_a_caller() {
    let stage = stage(1, 1, vec![Act::Fail(Remedy::Wait), Act::Fail(Remedy::Wait)]);
    runtime().block_on(async {
        stage.sign().await.unwrap_err();
        within("the second probe succeeds", || {
            stage.pool.probe(&stage.key, b"probe".to_vec());
            stage.key.health() == Health::Up
        })
        .await;
    });
}

#[test]
fn shutting_down_ends_idle_threads_and_waits_no_longer_for_a_hanging_one() {
    super::backend::isolated(
        concat!(
            module_path!(),
            "::shutting_down_ends_idle_threads_and_waits_no_longer_for_a_hanging_one"
        ),
        super::backend::Backend::SoftHsm,
        || {
            let gate = Arc::new(Gate::default());
            let idle = stage(4, 4, vec![]);
            let busy = stage(1, 1, vec![Act::Hang(Arc::clone(&gate))]);
            runtime().block_on(async {
                idle.sign().await.unwrap();
                busy.sign().await.unwrap_err();
                assert!(!shut_down(Duration::from_millis(100)));
                assert_eq!(idle.count(|double| &double.given), 0);
                let closed = idle.sign().await.unwrap_err();
                assert!(closed.to_string().contains("closed"), "{closed}");
                gate.open();
                within("the last session closes", || busy.count(|double| &double.given) == 0).await;
            });
        },
    );
}

#[test]
fn a_full_queue_turns_callers_away_at_once() {
    let gate = Arc::new(Gate::default());
    let stage = Arc::new(stage(1, 1, vec![Act::Hang(Arc::clone(&gate))]));
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..1100 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { stage.sign().await });
        }
        let mut turned_away = 0;
        while let Some(task) = tasks.join_next().await {
            turned_away += usize::from(matches!(task.unwrap(), Err(SignError::Unavailable { .. })));
        }
        // 1024 wait, and one more where the thread has taken its first in time.
        assert!((75..=76).contains(&turned_away), "{turned_away}");
        gate.open();
        within("the thread resumes", || stage.key.health() == Health::Up).await;
    });
}
