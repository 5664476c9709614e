//! What a connection is used for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Activity(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    under_way: usize,
    /// When the last one began or ended.
    at: Option<Instant>,
}

impl Activity {
    fn requests(&self) -> MutexGuard<'_, Requests> {
        // Both of its values are written in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_without_a_request(&self) -> bool {
        self.requests().at.is_none()
    }

    /// Returns once nothing was asked for so long, or for `at_least` while places are scarce.
    pub(super) async fn idle_for(
        &self,
        limit: Duration,
        at_least: Duration,
        mut scarce: watch::Receiver<bool>,
    ) {
        loop {
            let limit = if *scarce.borrow_and_update() { limit.min(at_least) } else { limit };
            let left = match &*self.requests() {
                Requests { under_way: 0, at: Some(at) } => limit.saturating_sub(at.elapsed()),
                _ => limit,
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                // The sender lives as long as the listener, which ends its connections.
                Ok(()) = scarce.changed() => {}
            }
        }
    }
}

/// A request, until this is dropped: answered, or given up by its client.
pub(super) struct UnderWay<'a>(&'a Activity);

impl<'a> UnderWay<'a> {
    pub(super) fn begin(activity: &'a Activity) -> Self {
        let mut requests = activity.requests();
        requests.under_way += 1;
        requests.at = Some(Instant::now());
        Self(activity)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.under_way -= 1;
        requests.at = Some(Instant::now());
    }
}
