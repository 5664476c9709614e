//! What was over long ago is forgotten.

use super::{Context, Error};
use crate::store::Swept;

/// One bounded step of forgetting, of each kind of what there is; `progress` is where the last one ended.
pub(crate) async fn retain(context: &Context, progress: &mut Progress) -> Result<(), Error> {
    let (store, now) = (&context.store, context.clock.now());
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
#[derive(Debug, Default)]
pub(crate) struct Progress {
    orders: Swept,
    authorizations: Swept,
    /// Whether the last step left something.
    pub(crate) more: bool,
}
