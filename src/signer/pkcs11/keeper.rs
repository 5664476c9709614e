//! The keeper of a token's threads. It makes no PKCS#11 call itself, so nothing can hang it: it
//! replaces threads that hang, and has what is down probed when it is time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::circuit::Turn;
use super::module::lock;
use super::session_pool::{Seat, Shared};
use crate::telemetry::metrics::HsmStep;

/// How often the keeper looks. It bounds how late a probe is.
const TICK: Duration = Duration::from_millis(50);

/// The keeper's life.
#[expect(clippy::needless_pass_by_value, reason = "the thread's last act is to let go of it")]
pub(super) fn keep(shared: Arc<Shared>) {
    let mut turns = 0_usize;
    loop {
        let mut queue = lock(&shared.queue);
        if queue.closed {
            return;
        }
        // Jobs may wait for a thread that could not be added when they came, and callers that would
        // add one stay away while the circuit is open.
        if queue.idle < queue.jobs.len() {
            // It was said when the job came.
            let _ = shared.add_thread(&mut queue);
        }
        drop(queue);
        thread::sleep(TICK);
        let now = Instant::now();
        replace_the_hanging(&shared);
        let keys: Vec<_> = lock(&shared.keys).iter().filter_map(Weak::upgrade).collect();
        if !keys.is_empty() && shared.circuit.take_probe(now) {
            // By turns, so that a key that is gone does not keep its neighbours down.
            turns = turns.wrapping_add(1);
            let (before, from) = keys.split_at(turns % keys.len());
            let mut by_turns = from.iter().chain(before);
            let well = by_turns.clone().find(|key| key.circuit.is_closed());
            if let Some(key) = well.or_else(|| by_turns.next()) {
                shared.probe(key);
            }
        }
        if shared.circuit.is_closed() {
            for key in keys.iter().filter(|key| key.circuit.take_probe(now)) {
                shared.probe(key);
            }
        }
    }
}

/// Gives the place of each thread that is in a call for longer than the deadline to another.
fn replace_the_hanging(shared: &Arc<Shared>) {
    let mut queue = lock(&shared.queue);
    let deadline = shared.limits.deadline;
    let hangs = |seat: &Seat| lock(&seat.busy_since).is_some_and(|at| at.elapsed() > deadline);
    let mut found = 0;
    for seat in queue.seats.iter().filter(|seat| !seat.is_replaced() && hangs(seat)) {
        seat.replaced.store(true, Ordering::SeqCst);
        found += 1;
    }
    if found == 0 {
        return;
    }
    let hanging = queue.seats.iter().filter(|seat| seat.is_replaced()).count();
    let missing = queue.jobs.len().saturating_sub(queue.idle).max(1);
    for _ in 0..found.min(missing) {
        if let Err(error) = shared.add_thread(&mut queue) {
            tracing::error!(token = shared.name, %error, "no further signing thread starts");
        }
    }
    let none_left = queue.seats.iter().all(|seat| seat.is_replaced());
    drop(queue);
    let step = HsmStep::ThreadReplaced;
    tracing::warn!(
        token = shared.name,
        hanging,
        step = step.as_str(),
        "a call to the token hangs; its thread is replaced"
    );
    shared.metrics.step(step);
    // A thread that hangs takes its probe with it: the next may begin.
    for key in lock(&shared.keys).iter().filter_map(Weak::upgrade) {
        key.end_probe();
    }
    if none_left || hanging >= shared.limits.sessions {
        let why = format!("{hanging} calls hang inside the PKCS#11 library");
        if shared.circuit.failed(&why, Instant::now()) == Turn::Opened {
            tracing::error!(token = shared.name, why, "nothing is signed until a call returns");
            shared.metrics.step(HsmStep::CircuitOpen);
        }
        shared.show();
    }
}
