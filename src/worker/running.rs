//! What is under way, and its end: finished, or handed back.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::{Phase, Stop};
use crate::flow::{Error, SharedContext};
use crate::store::{Claim, WorkKind};

#[derive(Default)]
pub(super) struct Running {
    tasks: JoinSet<()>,
    claims: HashMap<Id, Claim>,
}

impl Running {
    /// Begins a piece of work, which has the place until it ends, in this span.
    pub(super) fn begin(
        &mut self,
        context: &SharedContext,
        kind: WorkKind,
        span: Span,
        claim: Claim,
        place: impl Send + 'static,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) {
        let counted = context.clone();
        let run = async move {
            let began = Instant::now();
            let done = work.await;
            let elapsed = began.elapsed();
            counted.metrics.work.attempted(kind.as_str(), elapsed, done.is_err());
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(failed = done.is_err(), elapsed_ms, "work ended");
            if let Err(error) = done {
                // The lease lapses, and the work is claimed again.
                tracing::error!(%error, "work failed");
            }
            drop(place);
        };
        let task = self.tasks.spawn(run.instrument(span));
        self.claims.insert(task.id(), claim);
    }

    pub(super) fn forget_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(&ended);
        }
    }

    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.claims.remove(&id);
    }

    /// Waits until all has ended; what has not when the end comes is cut off and handed back, so that
    /// nobody waits for its lease to lapse.
    pub(super) async fn end(mut self, context: &SharedContext, kind: WorkKind, mut stop: Stop) {
        tokio::select! {
            () = self.finish() => return,
            _ = stop.wait_for(|phase| *phase == Phase::Ending) => {}
        }
        self.tasks.shutdown().await;
        if self.claims.is_empty() {
            return;
        }
        let (kind, left) = (kind.as_str(), self.claims.len());
        match context.store.hand_back(self.claims.into_values(), context.clock.now()).await {
            Ok(()) => tracing::warn!(work = kind, left, "work was cut off and handed back"),
            Err(error) => {
                tracing::error!(work = kind, left, %error, "work was cut off; its leases will lapse");
            }
        }
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(&ended);
        }
    }
}
