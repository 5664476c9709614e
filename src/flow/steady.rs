//! Whether what the clock says is over may be forgotten.

use std::time::Duration;

use tokio::time::Instant;

use crate::acme::nonce;
use crate::clock::Timestamp;

/// By how much the clock may be corrected between two looks without having jumped.
const CORRECTION: Duration = Duration::from_secs(60);

/// Since when the clock goes as time does. A nonce that is forgotten while the clock is ahead would work
/// again once it is set back; after a nonce's lifetime it would not, whatever the clock was. And orders that
/// live still, which a clock far ahead takes for long over, nobody would bring back.
#[derive(Debug)]
pub(crate) struct Steady {
    since: Instant,
    last: (Timestamp, Instant),
}

impl Steady {
    pub(crate) fn begin(clock: Timestamp, now: Instant) -> Self {
        Self { since: now, last: (clock, now) }
    }

    /// Whether what the clock says has expired has expired for good.
    pub(crate) fn look(&mut self, clock: Timestamp, now: Instant) -> bool {
        let (last_clock, last) = self.last;
        let passed = now.saturating_duration_since(last);
        let by_clock = last_clock.plus(passed);
        if clock.since(by_clock).max(by_clock.since(clock)) > CORRECTION {
            self.since = now;
        }
        self.last = (clock, now);
        now.saturating_duration_since(self.since) >= nonce::LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn nothing_is_forgotten_before_the_clock_was_steady_for_a_nonces_lifetime() {
        let (clock, start) = (Timestamp::from_unix_s(1_000_000), Instant::now());
        let mut steady = Steady::begin(clock, start);
        let hour = Duration::from_secs(3600);
        let at = |passed: Duration, ahead: Duration| (clock.plus(passed + ahead), start + passed);
        // Passed, by how much the clock is ahead, whether it was steady for long enough.
        for (passed, ahead, expected) in [
            (hour / 2, Duration::ZERO, false),
            (hour, Duration::from_secs(30), true),
            (hour + MINUTE, 24 * hour, false),
            (2 * hour, 24 * hour, false),
            (2 * hour + MINUTE, Duration::ZERO, false),
            (3 * hour, Duration::ZERO, false),
            (3 * hour + MINUTE, Duration::ZERO, true),
        ] {
            let (clock, now) = at(passed, ahead);
            assert_eq!(steady.look(clock, now), expected, "{passed:?}, {ahead:?} ahead");
        }
    }
}
