//! The places that a listener has for connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How long to wait before looking again: a reload may have made more places.
const LOOK: Duration = Duration::from_millis(500);

/// Counts connections, and tells those that are idle when their places are wanted.
pub(super) struct Places {
    taken: AtomicUsize,
    freed: Notify,
    scarce: watch::Sender<bool>,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        let scarce = watch::Sender::new(false);
        Arc::new(Self { taken: AtomicUsize::new(0), freed: Notify::new(), scarce })
    }

    /// Turns true while every place is taken, or the system has no more of what a connection takes.
    pub(super) fn scarce(&self) -> watch::Receiver<bool> {
        self.scarce.subscribe()
    }

    /// Asks the connections on which nothing is asked to end.
    pub(super) fn ask_for_some(&self) {
        self.scarce.send_replace(true);
    }

    /// A place, as soon as fewer than `most` are taken.
    pub(super) async fn take(self: &Arc<Self>, most: impl Fn() -> usize) -> Place {
        loop {
            // There is one task that takes places.
            if self.taken.load(Ordering::SeqCst) < most() {
                self.taken.fetch_add(1, Ordering::SeqCst);
                return Place(Arc::clone(self), most());
            }
            self.ask_for_some();
            let _ = tokio::time::timeout(LOOK, self.freed.notified()).await;
        }
    }
}

/// Until this is dropped.
pub(super) struct Place(Arc<Places>, usize);

impl Drop for Place {
    fn drop(&mut self) {
        let Self(places, most) = self;
        let left = places.taken.fetch_sub(1, Ordering::SeqCst) - 1;
        if left < *most - *most / 8 {
            places.scarce.send_if_modified(std::mem::take);
        }
        places.freed.notify_one();
    }
}
