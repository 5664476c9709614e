//! The life of a thread that signs: takes jobs, climbs the ladder with each, keeps its session alive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::ladder::{GivenUp, Ladder};
use super::module::lock;
use super::recovery::{Fault, Remedy};
use super::session_pool::{Job, Seat, SessionSource, Shared, Taken, TokenSession};

/// One thread's life.
#[expect(clippy::needless_pass_by_value, reason = "the thread's last act is to let go of them")]
pub(super) fn work<S: SessionSource>(shared: Arc<Shared>, source: Arc<S>, seat: Arc<Seat>) {
    let mut session: Option<S::Session> = None;
    while !seat.is_replaced() {
        let taken = shared.take(shared.limits.keepalive);
        if !matches!(taken, Taken::Closed) {
            *lock(&seat.busy_since) = Some(Instant::now());
        }
        let stay = match taken {
            Taken::Closed => false,
            Taken::Idle => {
                keep_alive(&shared, source.as_ref(), &mut session);
                true
            }
            Taken::Job(job) => serve(&shared, source.as_ref(), &seat, &mut session, job),
        };
        let had = seat.has_session.swap(session.is_some(), Ordering::SeqCst);
        *lock(&seat.busy_since) = None;
        if had != session.is_some() {
            shared.show();
        }
        if !stay {
            break;
        }
    }
    drop(session);
    shared.leave(&seat);
}

/// Uses what has lain idle. What does not answer is thrown away, and a probe shows how the token is.
fn keep_alive<S: SessionSource>(shared: &Arc<Shared>, source: &S, kept: &mut Option<S::Session>) {
    if !shared.circuit.is_closed() {
        return;
    }
    let alive = catch_unwind(AssertUnwindSafe(|| {
        kept.as_mut().map_or(Ok(()), TokenSession::keep_alive).and_then(|()| source.keep_login())
    }));
    let fault = match alive {
        Ok(Ok(())) => return,
        Ok(Err(fault)) => fault,
        Err(_) => Fault::new(Remedy::Reopen, "the PKCS#11 thread panicked"),
    };
    *kept = None;
    shared.metrics.error(fault.code());
    tracing::warn!(token = shared.name, fault = fault.detail, "an idle session was lost");
    let key = lock(&shared.keys).iter().find_map(Weak::upgrade);
    if let Some(key) = key {
        shared.probe(&key);
    }
}

/// Does one job; whether the thread is to go on.
fn serve<S: SessionSource>(
    shared: &Arc<Shared>,
    source: &S,
    seat: &Seat,
    kept: &mut Option<S::Session>,
    job: Job,
) -> bool {
    // What waited in the queue while the circuit opened.
    if job.reply.is_some()
        && let Some(refusal) = shared.refusal().or_else(|| job.key.refusal())
    {
        job.answer(Err(refusal));
        return true;
    }
    let ladder = Ladder {
        source,
        metrics: &shared.metrics,
        signed: &|| shared.signed.load(Ordering::SeqCst),
        others_are_well: &|| shared.others_are_well(&job.key),
        pointless: &|| {
            job.abandoned()
                || seat.is_replaced()
                || Instant::now() >= job.expires
                || (job.reply.is_some() && !shared.circuit.is_closed())
        },
    };
    shared.metrics.busy(1);
    let begun = Instant::now();
    // A panic in here (an answer that the library's binding cannot read) costs the session.
    let outcome = catch_unwind(AssertUnwindSafe(|| ladder.climb(kept, &job.key, &job.message)));
    shared.metrics.busy(-1);
    let outcome = outcome.unwrap_or_else(|_| {
        *kept = None;
        let fault = Fault::new(Remedy::Reinitialize, "the PKCS#11 thread panicked");
        Err(GivenUp { fault, token_wide: false })
    });
    let result = match outcome {
        Ok(signature) => {
            shared.worked(&job.key);
            source.signed();
            shared.metrics.signed(begun.elapsed());
            Ok(signature)
        }
        Err(given_up) if given_up.fault.remedy == Remedy::FewerSessions => {
            if shared.do_without(seat, &given_up.fault.detail) {
                lock(&shared.queue).jobs.push_front(job);
                shared.wake.notify_one();
                return false;
            }
            Err(shared.settle(&job.key, &given_up))
        }
        Err(given_up) => {
            shared.metrics.failed();
            Err(shared.settle(&job.key, &given_up))
        }
    };
    job.answer(result);
    true
}
