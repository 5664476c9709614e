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

/// Where each piece of work is begun by the request that hands it over: to have it done by a task of its own
/// takes another turn of the scheduler less than to tell a task of ours.
pub(super) struct Inbox(Arc<Mutex<Option<Running>>>);

impl Inbox {
    /// Runs `work` for each piece of work that comes from now on.
    pub(super) fn open<K: Send + 'static, F>(
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
        let (begun, weak) = (Arc::clone(&running), Arc::downgrade(context));
        let begin = move |handed: Handed<K>| {
            let mut running = begun.lock().unwrap_or_else(PoisonError::into_inner);
            let (Some(running), Some(context)) = (running.as_mut(), weak.upgrade()) else {
                return Err(handed);
            };
            running.forget_ended();
            let Handed { known, claim, place } = handed;
            let span = span(&context, &claim, FIRST_ATTEMPT);
            let done = work(Arc::clone(&context), known);
            running.begin(&context, kind, span, claim, place, done);
            Ok(())
        };
        handover.open(Arc::clone(places), Arc::clone(shares), Box::new(begin));
        Self(running)
    }

    /// Takes work until the end is told; then what is under way is finished, or handed back.
    pub(super) async fn run(self, context: SharedContext, kind: WorkKind, mut stop: Stop) {
        while goes_on(&stop) {
            if stop.changed().await.is_err() {
                break;
            }
        }
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.end(&context, kind, stop).await;
        }
    }
}
