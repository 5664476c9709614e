//! What runs without being asked: claimed work, and the clock's.

mod audit;
mod crl;
mod each;
mod handed;
mod issuance;
mod retention;
mod running;
mod validation;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::flow::SharedContext;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Working,
    /// Nothing new is claimed, and what was claimed is finished.
    Finishing,
    /// What is not finished is cut off, and handed back.
    Ending,
}

/// Tells workers to end.
type Stop = watch::Receiver<Phase>;

/// Whether there is no end in sight.
fn goes_on(stop: &Stop) -> bool {
    *stop.borrow() == Phase::Working
}

/// Starts every worker, with handles by which their ends are noticed.
pub(crate) fn start(context: &SharedContext, stop: &Stop) -> (JoinSet<()>, Vec<AbortHandle>) {
    let mut workers = JoinSet::new();
    let handles = vec![
        workers.spawn(validation::run(context.clone(), stop.clone())),
        workers.spawn(issuance::run(context.clone(), stop.clone())),
        workers.spawn(crl::run(context.clone(), stop.clone())),
        workers.spawn(retention::run(context.clone(), stop.clone())),
        workers.spawn(audit::run(context.clone(), stop.clone())),
    ];
    (workers, handles)
}
