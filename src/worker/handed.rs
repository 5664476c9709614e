//! Work that this instance's flows hand over, with what is known of it.

use tokio::sync::mpsc;

use super::each::span;
use super::running::Running;
use super::{Stop, goes_on};
use crate::flow::{Error, Handed, SharedContext};
use crate::store::WorkKind;

/// Nobody has tried what is handed over.
const FIRST_ATTEMPT: u32 = 1;

/// Runs `work` for each piece of work that is handed over until the end is told; then for what was on its
/// way.
pub(super) async fn run<K, F>(
    context: SharedContext,
    mut stop: Stop,
    kind: WorkKind,
    mut handed: mpsc::UnboundedReceiver<Handed<K>>,
    work: impl Fn(SharedContext, K) -> F,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut running = Running::default();
    loop {
        running.forget_ended();
        if !goes_on(&stop) {
            // Nothing more comes in, and what is in comes out.
            handed.close();
        }
        let next = tokio::select! {
            next = handed.recv() => next,
            _ = stop.changed(), if goes_on(&stop) => continue,
        };
        let Some(Handed { known, claim, place }) = next else { break };
        let span = span(&context, &claim, FIRST_ATTEMPT);
        let done = work(context.clone(), known);
        running.begin(&context, kind, span, claim, place, done);
    }
    running.end(&context, kind, stop).await;
}
