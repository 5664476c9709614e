//! Sessions on threads of their own.
//!
//! A PKCS#11 call can take as long as it likes and cannot be cancelled, so none is made on a thread
//! that anything else needs: N threads, each with a session, take signing jobs from one bounded
//! queue, and the caller waits for the answer no longer than the deadline. A thread that hangs is
//! lost only as long as it hangs; its late answer goes nowhere.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::{SignError, verified};
use super::SigningKey;
use super::module::lock;
use super::recovery::{Fault, Remedy};

/// How long a caller waits for a signature where the configuration says nothing.
pub(crate) const DEFAULT_SIGN_DEADLINE: Duration = Duration::from_secs(10);

/// How many signing sessions are kept where neither the configuration nor the token says fewer.
pub(crate) const DEFAULT_SESSIONS: usize = 16;

/// Callers that wait beyond this many are turned away: they would miss their deadline anyway.
const QUEUE_LENGTH: usize = 1024;

/// Every pool's threads, for [`shut_down`].
static THREADS: Mutex<Vec<(Weak<Shared>, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// A session that signs: a token's, or a test's double.
pub(in crate::signer) trait TokenSession {
    /// The signature in X.509 form, not yet verified.
    fn sign(&mut self, key: &SigningKey, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Where a pool's threads get their sessions.
pub(in crate::signer) trait SessionSource: Send + Sync + 'static {
    type Session: TokenSession;

    /// Opens a session that is logged in; with `log_in` the token is told the PIN again even if it
    /// claims to know it.
    fn open(&self, log_in: bool) -> Result<Self::Session, Fault>;
}

/// The threads of one token. Dropping it lets each end after the call it is in.
pub(in crate::signer) struct SessionPool {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Sessions now open in all threads together.
    open_sessions: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    key: Arc<SigningKey>,
    message: Vec<u8>,
    /// `None` for a probe: nobody waits, the key's health is all that is asked.
    reply: Option<oneshot::Sender<Result<Vec<u8>, SignError>>>,
}

impl Job {
    fn abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

impl SessionPool {
    /// Starts `threads` threads. Each opens its session when its first job comes, so that a pool
    /// that is not used takes none of the token's sessions.
    pub(in crate::signer) fn start<S: SessionSource>(
        source: &Arc<S>,
        threads: usize,
        deadline: Duration,
    ) -> io::Result<Self> {
        // Made first: should a later thread fail to start, dropping it ends the earlier ones.
        let pool = Self {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                wake: Condvar::new(),
                open_sessions: Arc::default(),
            }),
            deadline,
        };
        for number in 1..=threads {
            let shared = Arc::clone(&pool.shared);
            let source = Arc::clone(source);
            // Both are moved on, so that the thread has let go of the token before it counts as done.
            let thread = thread::Builder::new()
                .name(format!("kipuka-hsm-{number}"))
                .spawn(move || work(shared, source))?;
            let mut threads = lock(&THREADS);
            threads.retain(|(_, thread)| !thread.is_finished());
            threads.push((Arc::downgrade(&pool.shared), thread));
        }
        Ok(pool)
    }

    /// Signs on one of the threads and waits for it, at most for the deadline, queueing included.
    pub(in crate::signer) async fn sign(
        &self,
        key: &Arc<SigningKey>,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let (reply, answer) = oneshot::channel();
        self.shared.push(Job { key: Arc::clone(key), message, reply: Some(reply) })?;
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                Err(SignError::Unavailable { detail: "the token is being closed".to_owned() })
            }
            Err(_) => {
                let error = SignError::Deadline { deadline: self.deadline };
                key.record(Err(&error));
                Err(error)
            }
        }
    }

    /// Signs `message` when a thread is free, only to learn how the key is.
    pub(in crate::signer) fn probe(&self, key: &Arc<SigningKey>, message: Vec<u8>) {
        let job = Job { key: Arc::clone(key), message, reply: None };
        if key.start_probe() && self.shared.push(job).is_err() {
            key.end_probe();
        }
    }
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        self.shared.close();
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
    hanging.is_empty()
}

impl Shared {
    fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.jobs.clear();
        self.wake.notify_all();
    }

    fn push(&self, job: Job) -> Result<(), SignError> {
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
        queue.jobs.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// The next job that somebody still waits for; `None` once the pool is dropped.
    fn take(&self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            match queue.jobs.pop_front() {
                Some(job) if job.abandoned() => {}
                Some(job) => return Some(job),
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn give_back(&self, job: Job) {
        lock(&self.queue).jobs.push_front(job);
        self.wake.notify_one();
    }
}

/// A session, counted while it lives.
struct Held<T> {
    session: T,
    count: Arc<AtomicUsize>,
}

impl<T> Held<T> {
    fn new(session: T, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self { session, count: Arc::clone(count) }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

enum Failure {
    Fault(Fault),
    Sign(SignError),
}

/// One thread's life.
#[expect(clippy::needless_pass_by_value, reason = "the thread's last act is to let go of them")]
fn work<S: SessionSource>(shared: Arc<Shared>, source: Arc<S>) {
    let mut session = None;
    while let Some(job) = shared.take() {
        // A panic in here (an answer that the library's binding cannot read) costs the session.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            attempt(&shared, source.as_ref(), &mut session, &job)
        }));
        let result = match outcome {
            Ok(Ok(signature)) => Ok(signature),
            Ok(Err(Failure::Sign(error))) => Err(error),
            Ok(Err(Failure::Fault(fault))) => {
                // Only with another session open, so that the last thread always stays.
                if fault.remedy == Remedy::FewerSessions
                    && shared.open_sessions.load(Ordering::SeqCst) > 0
                {
                    tracing::warn!(
                        "the token gives no further session ({}): signing with one fewer",
                        fault.detail
                    );
                    shared.give_back(job);
                    return;
                }
                Err(SignError::from(fault))
            }
            Err(_) => {
                session = None;
                Err(SignError::Unavailable { detail: "the PKCS#11 thread panicked".to_owned() })
            }
        };
        job.key.record(result.as_ref().map(|_| ()));
        match job.reply {
            Some(reply) => {
                // The caller may be gone; a signature that nobody takes is dropped.
                let _ = reply.send(result);
            }
            None => job.key.end_probe(),
        }
    }
}

/// Signs, with a second try where a new session or a new login may help. Signing the same bytes
/// twice is harmless: only one signature leaves, whichever call made it.
fn attempt<S: SessionSource>(
    shared: &Shared,
    source: &S,
    kept: &mut Option<Held<S::Session>>,
    job: &Job,
) -> Result<Vec<u8>, Failure> {
    let key = &job.key;
    let mut log_in = false;
    let mut retried = false;
    loop {
        let mut held = match kept.take() {
            Some(held) => held,
            None => {
                let session = source.open(log_in).map_err(Failure::Fault)?;
                Held::new(session, &shared.open_sessions)
            }
        };
        // The session is put back only after it gave a right signature.
        match held.session.sign(key, &job.message) {
            Ok(signature) => {
                let signature = verified(&key.public_key, key.algorithm, &job.message, signature)
                    .map_err(Failure::Sign)?;
                *kept = Some(held);
                return Ok(signature);
            }
            Err(fault) if !retried && matches!(fault.remedy, Remedy::Reopen | Remedy::LogIn) => {
                tracing::warn!("a PKCS#11 session is replaced: {}", fault.detail);
                log_in = fault.remedy == Remedy::LogIn;
                retried = true;
            }
            Err(fault) => return Err(Failure::Fault(fault)),
        }
    }
}
