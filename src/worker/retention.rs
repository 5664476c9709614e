//! What need not be remembered any more is forgotten, and work that a clock put too far ahead is fetched
//! back.

use std::time::Duration;

use tokio::time::Instant;

use super::{Stop, goes_on};
use crate::acme::nonce;
use crate::clock::Timestamp;
use crate::flow::{self, SharedContext};

const INTERVAL: Duration = Duration::from_secs(60);
/// By how much the clock may be corrected between two looks without having jumped.
const CORRECTION: Duration = Duration::from_secs(60);
/// Between two steps of a long way: there is time, and clients come first.
const STEP_PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(context: SharedContext, stop: Stop) {
    tokio::join!(nonces_and_work(context.clone(), stop.clone()), history(context, stop));
}

async fn nonces_and_work(context: SharedContext, mut stop: Stop) {
    let mut steady = Steady::begin(context.clock.now(), Instant::now());
    while goes_on(&stop) {
        let now = context.clock.now();
        if steady.look(now, Instant::now())
            && let Err(error) = context.store.forget_nonces(now).await
        {
            tracing::warn!(%error, "spent nonces could not be forgotten");
        }
        if let Err(error) = context.store.pull_work_back(now).await {
            tracing::warn!(%error, "work could not be looked through");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Orders, authorizations and CAA checks.
async fn history(context: SharedContext, mut stop: Stop) {
    let mut progress = flow::RetainProgress::default();
    while goes_on(&stop) {
        if let Err(error) = flow::retain(&context, &mut progress).await {
            tracing::warn!(%error, "what was over long ago could not be forgotten");
        }
        let pause = if progress.more { STEP_PAUSE } else { INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Since when the clock goes as time does. A nonce that is forgotten while the clock is ahead would work
/// again once it is set back; after a nonce's lifetime it would not, whatever the clock was.
struct Steady {
    since: Instant,
    last: (Timestamp, Instant),
}

impl Steady {
    fn begin(clock: Timestamp, now: Instant) -> Self {
        Self { since: now, last: (clock, now) }
    }

    /// Whether what the clock says has expired has expired for good.
    fn look(&mut self, clock: Timestamp, now: Instant) -> bool {
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
            (hour + INTERVAL, 24 * hour, false),
            (2 * hour, 24 * hour, false),
            (2 * hour + INTERVAL, Duration::ZERO, false),
            (3 * hour, Duration::ZERO, false),
            (3 * hour + INTERVAL, Duration::ZERO, true),
        ] {
            let (clock, now) = at(passed, ahead);
            assert_eq!(steady.look(clock, now), expected, "{passed:?}, {ahead:?} ahead");
        }
    }
}
