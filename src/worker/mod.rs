//! What runs without being asked: claimed work, and the clock's.

mod audit;
mod crl;
mod each;
mod issuance;
mod retention;
mod validation;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::flow::SharedContext;

/// Starts every worker; each stops claiming when `stop` turns true, and ends when what it had begun
/// has ended.
pub(crate) fn start(context: &SharedContext, stop: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    workers.spawn(validation::run(context.clone(), stop.clone()));
    workers.spawn(issuance::run(context.clone(), stop.clone()));
    workers.spawn(crl::run(context.clone(), stop.clone()));
    workers.spawn(retention::run(context.clone(), stop.clone()));
    workers.spawn(audit::run(context.clone(), stop.clone()));
    workers
}
