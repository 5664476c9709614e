//! What a connection is used for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// By when the answers must be sent that are being sent.
    due: Vec<Instant>,
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
                Requests { under_way: 0, at: Some(at), .. } => limit.saturating_sub(at.elapsed()),
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

    /// Returns once an answer is not sent by when it must be. `at_least` is what each has for it.
    pub(super) async fn is_overdue(&self, at_least: Duration) {
        loop {
            let now = Instant::now();
            let due = self.requests().due.iter().min().copied();
            if due.is_some_and(|due| due <= now) {
                return;
            }
            // What begins meanwhile is not due before that.
            let later = now + at_least;
            tokio::time::sleep_until(due.map_or(later, |due| due.min(later))).await;
        }
    }
}

/// A request, until this is dropped: its answer is sent, or it was given up by its client.
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    due: Option<Instant>,
}

impl UnderWay {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        let mut requests = activity.requests();
        requests.under_way += 1;
        requests.at = Some(Instant::now());
        drop(requests);
        Self { activity: Arc::clone(activity), due: None }
    }

    /// From now on it is answered, and that must be done within this time.
    pub(super) fn answer_within(&mut self, time: Duration) {
        let due = Instant::now() + time;
        self.activity.requests().due.push(due);
        self.due = Some(due);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut requests = self.activity.requests();
        requests.under_way -= 1;
        requests.at = Some(Instant::now());
        if let Some(place) = requests.due.iter().position(|due| Some(*due) == self.due) {
            requests.due.swap_remove(place);
        }
    }
}
