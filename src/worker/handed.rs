//! Work that this instance's flows hand over, with what is known of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::each::span;
use super::running::Running;
use super::{Stop, goes_on};
use crate::flow::{Error, Handed, Handover, SharedContext, Shares};
use crate::store::WorkKind;

/// Nobody has tried what is handed over.
const FIRST_ATTEMPT: u32 = 1;

/// What was handed over and is under way; nothing is taken once that is `None`. The request that hands a piece
/// over starts its task by itself, which is quicker than to wake a task of ours for it.
pub(super) struct HandedOver(Arc<Mutex<Option<Running>>>);

impl HandedOver {
    /// Runs `work` for each piece of work that comes from now on.
    pub(super) fn take<K: Send + 'static, F>(
        context: &SharedContext,
        kind: WorkKind,
        handover: &Handover<K>,
        places: &Arc<Semaphore>,
        shares: &Arc<Shares>,
        work: impl Fn(SharedContext, K) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let running = Arc::new(Mutex::new(Some(Running::default())));
        // The context holds on to what is given to it here.
        let (under_way, context) = (Arc::clone(&running), Arc::downgrade(context));
        let take = move |handed: Handed<K>| {
            let Some(context) = context.upgrade() else { return Some(handed) };
            let span = span(&context, &handed.claim, FIRST_ATTEMPT);
            let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(running) = under_way.as_mut() else { return Some(handed) };
            running.forget_ended();
            let Handed { known, claim, place } = handed;
            let done = work(Arc::clone(&context), known);
            running.begin(&context, kind, span, claim, place, done);
            None
        };
        handover.open(Arc::clone(places), Arc::clone(shares), Box::new(take));
        Self(running)
    }

    /// Takes work until the end is told; then what is under way is finished, or handed back.
    pub(super) async fn run(self, context: SharedContext, kind: WorkKind, mut stop: Stop) {
        while goes_on(&stop) {
            if stop.changed().await.is_err() {
                break;
            }
        }
        if let Some(running) = self.close() {
            running.end(&context, kind, stop).await;
        }
    }

    fn close(&self) -> Option<Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for HandedOver {
    /// Where the worker itself dies, nothing goes on that nobody would see to its end.
    fn drop(&mut self) {
        drop(self.close());
    }
}
