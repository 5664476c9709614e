//! The pool with doubles for the token: sessions that hang, fail, lie and are refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};

use super::suite::runtime;
use crate::signer::SignError;
use crate::signer::pkcs11::recovery::{Fault, Remedy};
use crate::signer::pkcs11::session_pool::{Limits, SessionPool, SessionSource, TokenSession};
use crate::signer::pkcs11::{SigningKey, shut_down};
use crate::telemetry::metrics::{Format, Metrics};
use crate::x509::algorithm::{Hash, PublicKey, SignatureAlgorithm, VerifiedSignature};

/// What the next call of a session does.
#[derive(Clone)]
enum Act {
    Sign,
    Lie,
    Panic,
    Fail(Remedy),
    Hang(Arc<Gate>),
    /// As when a connection is given up at last.
    HangAndFail(Arc<Gate>),
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
    reinitialized: AtomicUsize,
    kept_alive: AtomicUsize,
    calls: AtomicUsize,
    /// Of this key it says that the device fails, every time.
    broken: Mutex<Option<Vec<u8>>>,
}

struct DoubleSession(Arc<Double>);

impl TokenSession for DoubleSession {
    fn sign(&mut self, key: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let double = &self.0;
        double.calls.fetch_add(1, Ordering::SeqCst);
        if double.broken.lock().unwrap().as_ref() == Some(&key.id) {
            return Err(Fault::new(Remedy::Reinitialize, "C_SignInit: CKR_BROKEN"));
        }
        let act = double.script.lock().unwrap().pop().unwrap_or(Act::Sign);
        match act {
            Act::Sign => {}
            Act::Lie => return Ok(vec![0x30, 6, 2, 1, 1, 2, 1, 1]),
            Act::Panic => panic!("the script says so"),
            Act::Fail(remedy) => return Err(Fault::new(remedy, "C_Sign: CKR_SCRIPTED")),
            Act::Hang(gate) => gate.wait(),
            Act::HangAndFail(gate) => {
                gate.wait();
                return Err(Fault::new(Remedy::Reinitialize, "C_Sign: CKR_SCRIPTED"));
            }
        }
        let mut signer = openssl::sign::Signer::new(MessageDigest::sha256(), &double.key).unwrap();
        Ok(signer.sign_oneshot_to_vec(message).unwrap())
    }

    fn keep_alive(&mut self) -> Result<(), Fault> {
        self.0.kept_alive.fetch_add(1, Ordering::SeqCst);
        match self.0.script.lock().unwrap().pop() {
            Some(Act::Fail(remedy)) => Err(Fault::new(remedy, "C_FindObjects: CKR_SCRIPTED")),
            _ => Ok(()),
        }
    }

    fn handle(&self) -> u64 {
        1
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

    fn name(&self) -> &str {
        "double"
    }

    fn open(&self, log_in: bool) -> Result<DoubleSession, Fault> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        self.0.logins.fetch_add(usize::from(log_in), Ordering::SeqCst);
        if self.0.given.fetch_add(1, Ordering::SeqCst) >= self.0.limit {
            self.0.given.fetch_sub(1, Ordering::SeqCst);
            return Err(Fault::new(Remedy::FewerSessions, "C_OpenSession: CKR_SESSION_COUNT"));
        }
        Ok(DoubleSession(Arc::clone(&self.0)))
    }

    fn reinitialize(&self, beside_others: bool) -> Result<(), Fault> {
        self.0.reinitialized.fetch_add(usize::from(!beside_others), Ordering::SeqCst);
        Ok(())
    }

    fn keep_login(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn signed(&self) {}
}

struct Stage {
    double: Arc<Double>,
    pool: Arc<SessionPool>,
    key: Arc<SigningKey>,
    metrics: Metrics,
}

const DEADLINE: Duration = Duration::from_millis(300);

fn stage(threads: usize, limit: usize, script: Vec<Act>) -> Stage {
    stage_with(limit, script, Limits { sessions: threads, deadline: DEADLINE, keepalive: None })
}

fn stage_with(limit: usize, mut script: Vec<Act>, limits: Limits) -> Stage {
    script.reverse();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let public = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
    let algorithm = SignatureAlgorithm::Ecdsa(Hash::Sha256);
    let double = Arc::new(Double {
        key,
        script: Mutex::new(script),
        limit,
        given: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
        logins: AtomicUsize::new(0),
        reinitialized: AtomicUsize::new(0),
        kept_alive: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
        broken: Mutex::default(),
    });
    let source = Arc::new(Source(Arc::clone(&double)));
    let metrics = Metrics::new();
    let pool = SessionPool::start(&source, limits, &metrics.token("double")).unwrap();
    let key = SigningKey::new(vec![1], public, algorithm);
    Stage { double, pool: Arc::new(pool), key: Arc::new(key), metrics }
}

impl Stage {
    async fn sign(&self) -> Result<VerifiedSignature, SignError> {
        self.pool.sign(&self.key, b"message".to_vec()).await
    }

    fn is_up(&self) -> bool {
        self.pool.open_because().is_none() && self.key.refusal().is_none()
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
    // Each of the two threads and of the two that replace them hangs.
    let stage = stage(2, 4, vec![Act::Hang(Arc::clone(&gate)); 4]);
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
        let (one, two, queued) = tokio::join!(stage.sign(), stage.sign(), stage.sign());
        for result in [one, two, queued] {
            result.unwrap_err();
        }
        assert!(ticks.load(Ordering::SeqCst) > 5, "the runtime stood still");
        within("the circuit opens", || !stage.is_up()).await;
        let refused = stage.sign().await.unwrap_err().to_string();
        assert!(refused.contains("hang inside"), "{refused}");

        gate.open();
        within("the threads resume", || stage.is_up()).await;
        stage.sign().await.unwrap();
        ticker.abort();
    });
}

/// As many threads as there may be are in calls that do not come back, so that no probe is taken up.
#[test]
fn where_every_call_hung_for_a_while_probes_begin_anew_when_the_calls_return() {
    let gate = Arc::new(Gate::default());
    let stage = stage(1, 2, vec![Act::HangAndFail(Arc::clone(&gate)); 2]);
    runtime().block_on(async {
        stage.sign().await.unwrap_err();
        within("the replacement hangs too", || stage.count(|double| &double.calls) == 2).await;
        // Until it is replaced, too, and the next probe finds no thread.
        tokio::time::sleep(DEADLINE * 4).await;
        assert!(!stage.is_up());
        gate.open();
        within("a probe gets through", || stage.is_up()).await;
        stage.sign().await.unwrap();
    });
}

#[test]
fn a_call_that_hangs_is_left_to_itself_and_others_sign() {
    let gate = Arc::new(Gate::default());
    let stage = stage(1, 2, vec![Act::Hang(Arc::clone(&gate))]);
    runtime().block_on(async {
        assert_eq!(stage.sign().await, Err(SignError::Deadline { deadline: DEADLINE }));
        // All that there were hang: one. Another takes its place, and a probe shows that it signs.
        within("the circuit opens", || !stage.is_up()).await;
        within("another thread signs", || stage.is_up()).await;
        stage.sign().await.unwrap();
        assert_eq!(stage.count(|double| &double.given), 2);
        gate.open();
        within("the hanging session is closed", || stage.count(|double| &double.given) == 1).await;
        stage.sign().await.unwrap();
    });
}

#[test]
fn a_wrong_signature_never_leaves_and_costs_the_session() {
    let stage = stage(1, 1, vec![Act::Lie]);
    runtime().block_on(async {
        stage.sign().await.unwrap();
        assert_eq!(stage.count(|double| &double.opened), 2);
        assert!(stage.is_up());
    });
}

#[test]
fn a_key_that_signs_wrongly_all_the_time_is_down_until_it_does_not() {
    let stage = stage(1, 1, vec![Act::Lie; 8]);
    runtime().block_on(async {
        let key_identifier = stage.key.public_key.key_identifier_hex();
        assert_eq!(stage.sign().await, Err(SignError::WrongSignature { key_identifier }));
        assert_eq!(stage.count(|double| &double.reinitialized), 1);
        assert!(matches!(stage.sign().await, Err(SignError::Unavailable { .. })));
        within("a probe is signed rightly", || stage.is_up()).await;
        stage.sign().await.unwrap();
    });
}

#[test]
fn each_rung_is_tried_when_the_one_before_did_not_help() {
    use Remedy::{Fail, Initialize, LogIn, Reinitialize, Reopen};
    let fails = |remedies: &[Remedy]| remedies.iter().map(|r| Act::Fail(*r)).collect::<Vec<_>>();
    for (script, opened, logins, reinitialized, signed) in [
        (vec![], 1, 0, 0, true),
        (fails(&[Reopen]), 2, 0, 0, true),
        (fails(&[LogIn]), 2, 1, 0, true),
        (fails(&[Reopen, LogIn]), 3, 1, 0, true),
        (fails(&[Reopen; 3]), 4, 0, 1, true),
        (fails(&[Reinitialize]), 2, 0, 0, true),
        (fails(&[Reinitialize; 2]), 3, 0, 1, true),
        (fails(&[Initialize]), 2, 0, 1, true),
        (fails(&[Reinitialize; 3]), 3, 0, 1, false),
        (fails(&[Fail]), 1, 0, 0, false),
        (vec![Act::Panic], 1, 0, 0, false),
    ] {
        // Long enough for a panic to be written down on a busy machine: it must not count as a call that hangs.
        let deadline = Duration::from_secs(10);
        let stage = stage_with(1, script, Limits { sessions: 1, deadline, keepalive: None });
        runtime().block_on(async {
            let result = stage.sign().await;
            assert_eq!(result.is_ok(), signed, "{result:?}");
            assert_eq!(stage.count(|double| &double.logins), logins);
            assert_eq!(stage.count(|double| &double.reinitialized), reinitialized);
            // Whatever it was, it is over: a probe finds that out where nobody else does.
            within("it signs", || stage.is_up()).await;
            stage.sign().await.unwrap();
            assert_eq!(stage.count(|double| &double.opened), opened + usize::from(!signed));
        });
    }
}

#[test]
fn a_dead_token_opens_the_circuit_and_probes_close_it() {
    let stage = stage(2, 2, vec![Act::Fail(Remedy::Reinitialize); 12]);
    runtime().block_on(async {
        let detail = "C_Sign: CKR_SCRIPTED".to_owned();
        assert_eq!(stage.sign().await, Err(SignError::Unavailable { detail: detail.clone() }));
        let calls = stage.count(|double| &double.calls);
        // Nobody else climbs the ladder meanwhile.
        for _ in 0..100 {
            let refused = Err(SignError::Unavailable { detail: detail.clone() });
            assert_eq!(stage.sign().await, refused);
        }
        assert_eq!(stage.count(|double| &double.calls), calls);
        within("a probe gets through", || stage.is_up()).await;
        stage.sign().await.unwrap();
    });
}

/// It was deleted, or only it is ill, and the token says so in the words of a token that is dead.
#[test]
fn a_key_that_is_gone_does_not_keep_its_neighbours_down() {
    let stage = stage(2, 2, vec![]);
    let gone = SigningKey::new(vec![2], stage.key.public_key.clone(), stage.key.algorithm);
    let gone = Arc::new(gone);
    runtime().block_on(async {
        // The one that is gone was there first.
        stage.pool.sign(&gone, b"message".to_vec()).await.unwrap();
        stage.sign().await.unwrap();
        *stage.double.broken.lock().unwrap() = Some(vec![2]);
        stage.pool.sign(&gone, b"message".to_vec()).await.unwrap_err();
        within("the neighbour signs", || stage.is_up()).await;
        let reinitialized = stage.count(|double| &double.reinitialized);
        // Through several probes of the other it stays so, and the library is left alone.
        for _ in 0..300 {
            stage.sign().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(gone.refusal().is_some());
        assert_eq!(stage.count(|double| &double.reinitialized), reinitialized);
        *stage.double.broken.lock().unwrap() = None;
        within("it is back", || gone.refusal().is_none()).await;
        stage.pool.sign(&gone, b"message".to_vec()).await.unwrap();
    });
}

/// After a reload there are two of them for a while, and the old one is the last to say anything.
#[test]
fn a_pool_that_has_ended_leaves_the_gauges_to_its_successor() {
    let Stage { double, pool, key, metrics } = stage(1, 1, vec![Act::Fail(Remedy::Stop)]);
    runtime().block_on(async {
        pool.sign(&key, b"message".to_vec()).await.unwrap_err();
        assert!(
            metrics.encode(Format::Prometheus).contains("circuit{token=\"double\"} 2"),
            "{}",
            metrics.encode(Format::Prometheus)
        );
        let limits = Limits { sessions: 1, deadline: DEADLINE, keepalive: None };
        let source = Arc::new(Source(Arc::clone(&double)));
        let next = SessionPool::start(&source, limits, &metrics.token("double")).unwrap();
        next.sign(&key, b"message".to_vec()).await.unwrap();
        drop(pool);
        next.show();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let text = metrics.encode(Format::Prometheus);
        for series in ["circuit{token=\"double\"} 0", "sessions_open{token=\"double\"} 1"] {
            assert!(text.contains(series), "{series} in {text}");
        }
    });
}

#[test]
fn a_refused_pin_stops_everything_until_a_person_resumes_it() {
    let stage = stage(1, 1, vec![Act::Fail(Remedy::Stop)]);
    runtime().block_on(async {
        assert_eq!(stage.sign().await, Err(SignError::PinRefused));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(stage.sign().await, Err(SignError::PinRefused));
        assert_eq!(stage.count(|double| &double.calls), 1);
        stage.pool.resume();
        within("a probe gets through", || stage.is_up()).await;
        stage.sign().await.unwrap();
    });
}

#[test]
fn an_idle_session_is_used_and_one_that_died_is_found_out() {
    let keepalive = Some(Duration::from_millis(20));
    let limits = Limits { sessions: 1, deadline: DEADLINE, keepalive };
    let script = vec![Act::Sign, Act::Sign, Act::Sign, Act::Fail(Remedy::Reopen)];
    let stage = stage_with(1, script, limits);
    runtime().block_on(async {
        stage.sign().await.unwrap();
        within("it is used", || stage.count(|double| &double.kept_alive) >= 3).await;
        within("another is opened", || stage.count(|double| &double.opened) == 2).await;
        stage.sign().await.unwrap();
        assert!(stage.is_up());
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
            let said = task.unwrap().unwrap_err().to_string();
            turned_away += usize::from(said.contains("already waiting"));
        }
        // 1024 wait, and one more where the thread has taken its first in time.
        assert!((75..=76).contains(&turned_away), "{turned_away}");
        gate.open();
        within("the thread resumes", || stage.is_up()).await;
    });
}
