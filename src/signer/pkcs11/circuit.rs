//! The circuit breaker: while a token (or a key on it) fails, nobody waits for it, and probes with
//! growing pauses find out when it is back.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::module::lock;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Bounds how long a token is back before it is used again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Closed while all is well.
#[derive(Default)]
pub(in crate::signer) struct Circuit(Mutex<State>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        why: String,
        probes: u32,
        next_probe: Instant,
    },
    /// The PIN was refused: no probe, as each would bring the token nearer to locking itself.
    Stopped {
        why: String,
    },
}

/// What a circuit did when it was told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Opened,
    Closed,
    Stopped,
    /// It stays as it was.
    Stayed,
}

impl Circuit {
    /// Something failed that all others would fail with too.
    pub(super) fn failed(&self, why: &str, now: Instant) -> Turn {
        let mut state = lock(&self.0);
        let (probes, turn) = match &*state {
            State::Closed => (0, Turn::Opened),
            State::Open { probes, .. } => (*probes, Turn::Stayed),
            State::Stopped { .. } => return Turn::Stayed,
        };
        let next_probe = now + pause(probes);
        *state = State::Open { why: why.to_owned(), probes, next_probe };
        turn
    }

    /// Something worked. A refused PIN stays refused: sessions of before may go on for a while.
    pub(super) fn worked(&self) -> Turn {
        let mut state = lock(&self.0);
        match &*state {
            State::Open { .. } => {
                *state = State::Closed;
                Turn::Closed
            }
            State::Closed | State::Stopped { .. } => Turn::Stayed,
        }
    }

    /// The PIN was refused.
    pub(super) fn stop(&self, why: &str) -> Turn {
        let mut state = lock(&self.0);
        if matches!(*state, State::Stopped { .. }) {
            return Turn::Stayed;
        }
        *state = State::Stopped { why: why.to_owned() };
        Turn::Stopped
    }

    /// An operator says that the PIN may be tried again.
    pub(super) fn resume(&self, now: Instant) {
        let mut state = lock(&self.0);
        if let State::Stopped { why } = &*state {
            *state = State::Open { why: why.clone(), probes: 0, next_probe: now };
        }
    }

    /// Whether it is time for a probe; the next one waits longer.
    pub(super) fn take_probe(&self, now: Instant) -> bool {
        match &mut *lock(&self.0) {
            State::Open { probes, next_probe, .. } if *next_probe <= now => {
                *probes = probes.saturating_add(1);
                *next_probe = now + pause(*probes);
                true
            }
            _ => false,
        }
    }

    /// The next probe need not wait for longer than this.
    pub(super) fn probe_at(&self, at: Instant) {
        if let State::Open { next_probe, .. } = &mut *lock(&self.0) {
            *next_probe = at.min(*next_probe);
        }
    }

    /// Why nothing is let through, if nothing is.
    pub(super) fn open_because(&self) -> Option<String> {
        match &*lock(&self.0) {
            State::Closed => None,
            State::Open { why, .. } | State::Stopped { why } => Some(why.clone()),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        *lock(&self.0) == State::Closed
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(*lock(&self.0), State::Stopped { .. })
    }

    /// As the metric shows it: 0 closed, 1 open, 2 stopped.
    pub(super) fn as_number(&self) -> i64 {
        match &*lock(&self.0) {
            State::Closed => 0,
            State::Open { .. } => 1,
            State::Stopped { .. } => 2,
        }
    }
}

fn pause(probes: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(probes)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_at_growing_pauses_until_one_works() {
        let circuit = Circuit::default();
        let mut now = Instant::now();
        assert!(!circuit.take_probe(now));
        assert_eq!(circuit.failed("gone", now), Turn::Opened);
        assert_eq!(circuit.failed("still gone", now), Turn::Stayed);
        assert_eq!(circuit.open_because().as_deref(), Some("still gone"));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let asked = now;
            while !circuit.take_probe(now) {
                now += Duration::from_millis(100);
            }
            pauses.push((now - asked).as_millis());
            circuit.failed("gone", now);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(circuit.worked(), Turn::Closed);
        assert_eq!(circuit.worked(), Turn::Stayed);
        assert!(circuit.is_closed() && circuit.open_because().is_none());
    }

    #[test]
    fn a_refused_pin_is_never_probed_and_waits_for_a_person() {
        let circuit = Circuit::default();
        let now = Instant::now();
        assert_eq!(circuit.stop("refused"), Turn::Stopped);
        assert_eq!(circuit.stop("refused"), Turn::Stayed);
        assert_eq!(circuit.failed("gone", now), Turn::Stayed);
        assert_eq!(circuit.worked(), Turn::Stayed);
        assert!(circuit.is_stopped() && !circuit.take_probe(now + Duration::from_secs(3600)));
        circuit.resume(now);
        assert!(circuit.take_probe(now));
        assert_eq!(circuit.worked(), Turn::Closed);
    }
}
