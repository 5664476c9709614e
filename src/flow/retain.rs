//! What was over long ago is forgotten.

use tokio::time::Instant;

use super::{Context, Error, Steady};
use crate::clock::Timestamp;
use crate::store::Swept;

/// One bounded step of forgetting, of each kind of what there is; `progress` is where the last one ended.
/// Nothing is forgotten while the clock may be one that has jumped ahead.
pub(crate) async fn retain(
    context: &Context,
    progress: &mut Progress,
    at: Instant,
) -> Result<(), Error> {
    let (store, now) = (&context.store, context.clock.now());
    if !progress.steady.look(now, at) {
        progress.more = false;
        return Ok(());
    }
    let (keep, keep_unfinished) = {
        let limits = context.limits.load();
        (limits.keep.max(limits.keep_unfinished), limits.keep_unfinished)
    };
    let (long_ago, unfinished) = (now.minus(keep), now.minus(keep_unfinished));
    let orders = store.forget_orders(&progress.orders, unfinished, long_ago).await?;
    let authorizations = store.forget_authorizations(&progress.authorizations, unfinished).await?;
    let more = store.forget_caa_checks(long_ago).await?;
    progress.more = orders.is_some() || authorizations.is_some() || more;
    progress.orders = orders.unwrap_or_default();
    progress.authorizations = authorizations.unwrap_or_default();
    Ok(())
}

/// How far forgetting has come. After the end it begins anew: what had to stay may go by then.
#[derive(Debug)]
pub(crate) struct Progress {
    steady: Steady,
    orders: Swept,
    authorizations: Swept,
    /// Whether the last step left something.
    pub(crate) more: bool,
}

impl Progress {
    pub(crate) fn begin(clock: Timestamp, at: Instant) -> Self {
        Self {
            steady: Steady::begin(clock, at),
            orders: Swept::default(),
            authorizations: Swept::default(),
            more: false,
        }
    }
}
