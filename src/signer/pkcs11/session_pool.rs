//! Sessions on threads of their own.
//!
//! A PKCS#11 call can take as long as it likes and cannot be cancelled, so none is made on a thread
//! that anything else needs: threads, each with a session, take signing jobs from one bounded
//! queue, and the caller waits for the answer no longer than the deadline. A thread that hangs is
//! replaced, and lost only as long as it hangs; its late answer goes nowhere. A keeper, which makes
//! no such call itself, sees to all of that and to the probes of what is down.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::SignError;
use super::circuit::{Circuit, Turn};
use super::keeper::keep;
use super::ladder::GivenUp;
use super::module::{finalize_all, lock};
use super::recovery::{Fault, Remedy};
use super::signing_thread::work;
use super::{PROBE, SigningKey};
use crate::telemetry::metrics::{HsmStep, TokenMetrics};
use crate::x509::algorithm::VerifiedSignature;

/// How long a caller waits for a signature where the configuration says nothing.
pub(crate) const DEFAULT_SIGN_DEADLINE: Duration = Duration::from_secs(10);

/// How many signing sessions are kept where neither the configuration nor the token says fewer.
pub(crate) const DEFAULT_SESSIONS: usize = 16;

/// Callers that wait beyond this many are turned away: they would miss their deadline anyway.
const QUEUE_LENGTH: usize = 1024;

/// How long a token that gave no further session is taken at its word.
const FEWER_SESSIONS_FOR: Duration = Duration::from_secs(60);

/// Every pool's threads, for [`shut_down`].
static THREADS: Mutex<Vec<(Weak<Shared>, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// A session that signs: a token's, or a test's double.
pub(in crate::signer) trait TokenSession {
    /// The signature in X.509 form, not yet verified.
    fn sign(&mut self, key: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Uses the session, so that the token does not take it for forgotten.
    fn keep_alive(&mut self) -> Result<(), Fault>;

    /// For logs.
    fn handle(&self) -> u64;
}

/// Where a pool's threads get their sessions.
pub(in crate::signer) trait SessionSource: Send + Sync + 'static {
    type Session: TokenSession;

    /// The token's name in the configuration.
    fn name(&self) -> &str;

    /// Opens a session that is logged in; with `log_in` the token is told the PIN again even if it
    /// claims to know it.
    fn open(&self, log_in: bool) -> Result<Self::Session, Fault>;

    /// Has the library forget everything and begin anew; less often where it is only for one key
    /// `beside_others`, which sign.
    fn reinitialize(&self, beside_others: bool) -> Result<(), Fault>;

    /// Uses the session that the login lives in.
    fn keep_login(&self) -> Result<(), Fault>;

    /// Is told of each signature.
    fn signed(&self);
}

/// What a pool may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::signer) struct Limits {
    /// Threads at work, each with a session.
    pub(in crate::signer) sessions: usize,
    /// How long a caller waits, and how long a call may take before its thread is replaced.
    pub(in crate::signer) deadline: Duration,
    /// How long a session may lie idle.
    pub(in crate::signer) keepalive: Option<Duration>,
}

/// The threads of one token. Dropping it lets each end after the call it is in.
pub(in crate::signer) struct SessionPool {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    pub(super) circuit: Circuit,
    /// Sessions that the token allows, as it says itself.
    pub(super) allowed: AtomicUsize,
    /// Every key that was signed with.
    pub(super) keys: Mutex<Vec<Weak<SigningKey>>>,
    /// How many signatures the token gave.
    pub(super) signed: AtomicU64,
    pub(super) metrics: Arc<TokenMetrics>,
    pub(super) name: String,
    /// Starts a thread that takes jobs from the queue.
    #[expect(clippy::type_complexity, reason = "its one use is here")]
    pub(super) start: Box<dyn Fn(Arc<Self>, Arc<Seat>) -> io::Result<JoinHandle<()>> + Send + Sync>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closed: bool,
    pub(super) seats: Vec<Arc<Seat>>,
    /// Threads that wait for a job.
    pub(super) idle: usize,
    /// The token gave only so many sessions, at that time.
    pub(super) fewer: Option<(usize, Instant)>,
    /// Numbers the threads.
    pub(super) started: usize,
}

/// A thread, as the keeper sees it.
#[derive(Default)]
pub(super) struct Seat {
    /// Since when it has been busy with one job.
    pub(super) busy_since: Mutex<Option<Instant>>,
    /// It hangs, and another has taken its place: it ends when it comes out.
    pub(super) replaced: AtomicBool,
    pub(super) has_session: AtomicBool,
}

impl Seat {
    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::SeqCst)
    }
}

pub(super) struct Job {
    pub(super) key: Arc<SigningKey>,
    pub(super) message: Vec<u8>,
    /// `None` for a probe: nobody waits, the key's health is all that is asked.
    pub(super) reply: Option<oneshot::Sender<Result<VerifiedSignature, SignError>>>,
    pub(super) expires: Instant,
}

impl Job {
    pub(super) fn abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    pub(super) fn answer(self, result: Result<VerifiedSignature, SignError>) {
        match self.reply {
            Some(reply) => {
                // The caller may be gone; a signature that nobody takes is dropped.
                let _ = reply.send(result);
            }
            None => self.key.end_probe(),
        }
    }
}

impl SessionPool {
    /// Starts the keeper and one thread; further ones start as jobs come, so that a pool takes no
    /// more of the token's sessions than it has use for.
    pub(in crate::signer) fn start<S: SessionSource>(
        source: &Arc<S>,
        limits: Limits,
        metrics: &Arc<TokenMetrics>,
    ) -> io::Result<Self> {
        let source = Arc::clone(source);
        let name = source.name().to_owned();
        // Made first: should a thread fail to start, dropping it ends the others.
        let pool = Self {
            shared: Arc::new(Shared {
                limits,
                queue: Mutex::default(),
                wake: Condvar::new(),
                circuit: Circuit::default(),
                allowed: AtomicUsize::new(usize::MAX),
                keys: Mutex::default(),
                signed: AtomicU64::default(),
                metrics: Arc::clone(metrics),
                name,
                start: Box::new(move |shared, seat| {
                    let source = Arc::clone(&source);
                    thread::Builder::new()
                        .name("kipuka-hsm".to_owned())
                        .spawn(move || work(shared, source, seat))
                }),
            }),
        };
        let shared = Arc::clone(&pool.shared);
        let keeper =
            thread::Builder::new().name("kipuka-keeper".to_owned()).spawn(move || keep(shared))?;
        remember(&pool.shared, keeper);
        pool.shared.add_thread(&mut lock(&pool.shared.queue))?;
        Ok(pool)
    }

    /// Signs on one of the threads and waits for it, at most for the deadline, queueing included.
    pub(in crate::signer) async fn sign(
        &self,
        key: &Arc<SigningKey>,
        message: Vec<u8>,
    ) -> Result<VerifiedSignature, SignError> {
        if let Some(refusal) = self.shared.refusal().or_else(|| key.refusal()) {
            return Err(refusal);
        }
        let (reply, answer) = oneshot::channel();
        let deadline = self.shared.limits.deadline;
        self.shared.push(Job {
            key: Arc::clone(key),
            message,
            reply: Some(reply),
            expires: Instant::now() + deadline,
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                Err(SignError::Unavailable { detail: "the token is being closed".to_owned() })
            }
            Err(_) => Err(SignError::Deadline { deadline }),
        }
    }

    /// Why nothing is signed now, if nothing is.
    pub(in crate::signer) fn open_because(&self) -> Option<String> {
        self.shared.circuit.open_because()
    }

    /// Jobs that wait or are under way.
    pub(super) fn load(&self) -> usize {
        let queue = lock(&self.shared.queue);
        queue.jobs.len() + queue.seats.len() - queue.idle
    }

    /// Opens the circuit for what was found out elsewhere; probes with `key` will close it again.
    pub(super) fn failed(&self, key: &Arc<SigningKey>, fault: &Fault) {
        self.shared.know(key);
        self.shared.settle(key, &GivenUp { fault: fault.clone(), token_wide: true });
    }

    /// The token allows no more than so many sessions. One thread stays in any case.
    pub(super) fn allow(&self, most: usize) {
        self.shared.allowed.store(most.max(1), Ordering::SeqCst);
    }

    /// Has `key` probed when it or the token is down.
    pub(super) fn watch(&self, key: &Arc<SigningKey>) {
        self.shared.know(key);
    }

    /// Brings the gauges up to date.
    pub(in crate::signer) fn show(&self) {
        self.shared.show();
    }

    /// The operator has had a hand in it: what was stopped is tried once more.
    pub(in crate::signer) fn resume(&self) {
        self.shared.circuit.resume(Instant::now());
        self.shared.show();
    }
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        self.shared.close();
        // Not what it ended with: its token may have another pool by now, which shows its own.
        self.shared.metrics.show(0, 0);
    }
}

/// Ends every signing thread of this process and waits for them, at most `within`; says whether all
/// have ended. Blocking. The last thing before the process exits: a library whose global data are
/// torn down while a thread is inside it crashes. Nothing can be signed on a token afterwards.
pub(crate) fn shut_down(within: Duration) -> bool {
    let threads = std::mem::take(&mut *lock(&THREADS));
    for shared in threads.iter().filter_map(|(shared, _)| shared.upgrade()) {
        shared.close();
    }
    let pause = Duration::from_millis(2);
    let mut left = within;
    while !threads.iter().all(|(_, thread)| thread.is_finished()) && !left.is_zero() {
        thread::sleep(pause);
        left = left.saturating_sub(pause);
    }
    let (ended, hanging): (Vec<_>, Vec<_>) =
        threads.into_iter().partition(|(_, thread)| thread.is_finished());
    for (_, thread) in ended {
        // A panic was caught and logged in the thread; what is waited for is its very end.
        let _ = thread.join();
    }
    if hanging.is_empty() {
        finalize_all();
    }
    hanging.is_empty()
}

fn remember(shared: &Arc<Shared>, thread: JoinHandle<()>) {
    let mut threads = lock(&THREADS);
    threads.retain(|(_, thread)| !thread.is_finished());
    threads.push((Arc::downgrade(shared), thread));
}

impl Shared {
    fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.jobs.clear();
        self.wake.notify_all();
    }

    /// What a caller is told while the circuit is open.
    pub(super) fn refusal(&self) -> Option<SignError> {
        let detail = self.circuit.open_because()?;
        Some(match self.circuit.is_stopped() {
            true => SignError::PinRefused,
            false => SignError::Unavailable { detail },
        })
    }

    fn push(self: &Arc<Self>, job: Job) -> Result<(), SignError> {
        self.know(&job.key);
        let mut queue = lock(&self.queue);
        if queue.closed {
            return Err(SignError::Unavailable { detail: "the token is closed".to_owned() });
        }
        if queue.jobs.len() >= QUEUE_LENGTH {
            // While every thread hangs, the queue fills with jobs that nobody waits for any more.
            queue.jobs.retain(|job| !job.abandoned());
        }
        if queue.jobs.len() >= QUEUE_LENGTH {
            let detail = format!("{QUEUE_LENGTH} signatures are already waiting for the token");
            return Err(SignError::Unavailable { detail });
        }
        match job.reply {
            Some(_) => queue.jobs.push_back(job),
            None => queue.jobs.push_front(job),
        }
        if queue.idle < queue.jobs.len()
            && let Err(error) = self.add_thread(&mut queue)
        {
            tracing::error!(token = self.name, %error, "no further signing thread starts");
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Starts one more thread if there may be one more.
    pub(super) fn add_thread(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        queue.fewer = queue.fewer.filter(|(_, at)| at.elapsed() < FEWER_SESSIONS_FOR);
        let most = self.limits.sessions.min(self.allowed.load(Ordering::SeqCst));
        let most = queue.fewer.map_or(most, |(fewer, _)| fewer.min(most));
        let at_work = queue.seats.iter().filter(|seat| !seat.is_replaced()).count();
        // Threads that hang are not added to without end.
        if at_work >= most || queue.seats.len() >= 2 * self.limits.sessions || queue.closed {
            return Ok(());
        }
        let seat = Arc::new(Seat::default());
        remember(self, (self.start)(Arc::clone(self), Arc::clone(&seat))?);
        queue.started += 1;
        queue.seats.push(seat);
        Ok(())
    }

    /// The next job that somebody still waits for.
    pub(super) fn take(&self, idle_at_most: Option<Duration>) -> Taken {
        let mut queue = lock(&self.queue);
        let since = Instant::now();
        loop {
            if queue.closed {
                return Taken::Closed;
            }
            match queue.jobs.pop_front() {
                Some(job) if job.abandoned() => continue,
                Some(job) => return Taken::Job(job),
                None => {}
            }
            let left = idle_at_most.map(|most| most.saturating_sub(since.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Taken::Idle;
            }
            queue.idle += 1;
            queue = match left {
                Some(left) => {
                    let waited = self.wake.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
            queue.idle -= 1;
        }
    }

    /// The token gives this thread no session. Whether others have one, and so the job is better
    /// given back to them.
    pub(super) fn do_without(&self, seat: &Seat, detail: &str) -> bool {
        let mut queue = lock(&self.queue);
        let at_work = queue.seats.iter().filter(|seat| !seat.is_replaced());
        let open = at_work.filter(|seat| seat.has_session.load(Ordering::SeqCst)).count();
        if open == 0 || seat.is_replaced() {
            return false;
        }
        queue.fewer = Some((open, Instant::now()));
        tracing::warn!(
            token = self.name,
            sessions = open,
            fault = detail,
            "the token gives no further session"
        );
        true
    }

    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        lock(&self.queue).seats.retain(|other| !Arc::ptr_eq(other, seat));
        self.show();
    }

    pub(super) fn know(&self, key: &Arc<SigningKey>) {
        let mut keys = lock(&self.keys);
        if !keys.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(key))) {
            keys.retain(|known| known.strong_count() > 0);
            keys.push(Arc::downgrade(key));
        }
    }

    pub(super) fn worked(&self, key: &SigningKey) {
        self.signed.fetch_add(1, Ordering::SeqCst);
        let key_is_back = key.circuit.worked() == Turn::Closed;
        let token_is_back = self.token_answers();
        if key_is_back || token_is_back {
            tracing::warn!(
                token = self.name,
                key = super::key::hex(&key.id),
                step = HsmStep::Back.as_str(),
                "the token signs again"
            );
            self.metrics.step(HsmStep::Back);
            self.show();
        }
    }

    /// Closes the token's circuit; whether it was open.
    fn token_answers(&self) -> bool {
        let is_back = self.circuit.worked() == Turn::Closed;
        if is_back {
            // What the token's absence did to other keys is over as well, and soon shows.
            let keys = lock(&self.keys);
            for key in keys.iter().filter_map(Weak::upgrade) {
                key.circuit.probe_at(Instant::now());
            }
        }
        is_back
    }

    /// Whether other keys of the token are well.
    pub(super) fn others_are_well(&self, key: &SigningKey) -> bool {
        let keys = lock(&self.keys);
        let mut others = keys.iter().filter_map(Weak::upgrade).filter(|other| other.id != key.id);
        self.circuit.is_closed() && others.any(|other| other.circuit.is_closed())
    }

    /// Opens the circuits that a failure opens, and says what the caller is told.
    pub(super) fn settle(&self, key: &SigningKey, given_up: &GivenUp) -> SignError {
        let GivenUp { fault, token_wide } = given_up;
        let now = Instant::now();
        let (circuit, turn) = match fault.remedy {
            Remedy::Stop => ("token", self.circuit.stop(&SignError::PinRefused.to_string())),
            Remedy::WrongKey => {
                // The token answers, be it with another key: what it was down for before is over.
                let token_is_back = self.token_answers();
                let turn = key.circuit.failed(&fault.detail, now);
                // The key's was open with the token's, for another reason than from now on.
                ("key", if token_is_back { Turn::Opened } else { turn })
            }
            Remedy::Fail => ("key", key.circuit.failed(&fault.detail, now)),
            _ if *token_wide => {
                // Where it was down already and others sign, it still is it alone.
                let alone = !key.circuit.is_closed() && self.circuit.is_closed();
                let turn = key.circuit.failed(&fault.detail, now);
                match alone {
                    true => ("key", turn),
                    false => ("token", self.circuit.failed(&fault.detail, now)),
                }
            }
            // Others sign: nothing is down.
            _ => ("", Turn::Stayed),
        };
        match turn {
            Turn::Opened => {
                let step = HsmStep::CircuitOpen;
                tracing::error!(
                    token = self.name,
                    key = super::key::hex(&key.id),
                    circuit,
                    fault = fault.detail,
                    step = step.as_str(),
                    "nothing is signed until a probe succeeds"
                );
                self.metrics.step(step);
            }
            Turn::Stopped => {
                let step = HsmStep::PinRefused;
                tracing::error!(
                    token = self.name,
                    fault = fault.detail,
                    step = step.as_str(),
                    "the token refused the PIN; it is not tried again: correct it, then send SIGHUP, \
                     or restart kipuka where the PIN comes from pin_env"
                );
                self.metrics.step(step);
            }
            Turn::Closed | Turn::Stayed => {}
        }
        self.show();
        match fault.remedy {
            Remedy::Stop => SignError::PinRefused,
            Remedy::WrongKey => {
                SignError::WrongSignature { key_identifier: key.public_key.key_identifier_hex() }
            }
            _ => SignError::Unavailable { detail: fault.detail.clone() },
        }
    }

    /// Brings the gauges up to date.
    pub(super) fn show(&self) {
        let queue = lock(&self.queue);
        if queue.closed {
            return;
        }
        let open =
            queue.seats.iter().filter(|seat| seat.has_session.load(Ordering::SeqCst)).count();
        drop(queue);
        self.metrics.show(i64::try_from(open).unwrap_or(i64::MAX), self.circuit.as_number());
    }
}

pub(super) enum Taken {
    Job(Job),
    /// No job came for as long as a session may lie idle.
    Idle,
    Closed,
}

impl Shared {
    /// Has `key` sign something when a thread is free, only to learn how it is.
    pub(super) fn probe(self: &Arc<Self>, key: &Arc<SigningKey>) {
        if !key.start_probe() {
            return;
        }
        let expires = Instant::now() + self.limits.deadline;
        let job = Job { key: Arc::clone(key), message: PROBE.to_vec(), reply: None, expires };
        if self.push(job).is_err() {
            key.end_probe();
        }
    }
}
