//! What need not be remembered any more is forgotten.

use std::time::Duration;

use super::{Stop, goes_on};
use crate::flow::{self, SharedContext};

const INTERVAL: Duration = Duration::from_secs(60);
/// Between two steps of a long way: there is time, and clients come first.
const STEP_PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(context: SharedContext, stop: Stop) {
    tokio::join!(nonces(context.clone(), stop.clone()), history(context, stop));
}

async fn nonces(context: SharedContext, mut stop: Stop) {
    while goes_on(&stop) {
        if let Err(error) = context.store.forget_nonces(context.clock.now()).await {
            tracing::warn!(%error, "spent nonces could not be forgotten");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Orders, authorizations and CAA checks.
async fn history(context: SharedContext, mut stop: Stop) {
    let mut progress = flow::RetainProgress::default();
    while goes_on(&stop) {
        if let Err(error) = flow::retain(&context, &mut progress).await {
            tracing::warn!(%error, "what was over long ago could not be forgotten");
        }
        let pause = if progress.more { STEP_PAUSE } else { INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}
