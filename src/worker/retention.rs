//! What need not be remembered any more is forgotten, and work that a clock put too far ahead is fetched
//! back.

use std::time::Duration;

use tokio::time::Instant;

use super::{Stop, goes_on};
use crate::flow::{self, SharedContext};

const INTERVAL: Duration = Duration::from_secs(60);
/// Between two steps of a long way: there is time, and clients come first.
const STEP_PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(context: SharedContext, stop: Stop) {
    tokio::join!(nonces_and_work(context.clone(), stop.clone()), history(context, stop));
}

async fn nonces_and_work(context: SharedContext, mut stop: Stop) {
    let mut steady = flow::Steady::begin(context.clock.now(), Instant::now());
    while goes_on(&stop) {
        let now = context.clock.now();
        if steady.look(now, Instant::now())
            && let Err(error) = context.store.forget_nonces(now).await
        {
            tracing::warn!(%error, "spent nonces could not be forgotten");
        }
        if let Err(error) = context.store.pull_work_back(now).await {
            tracing::warn!(%error, "work could not be looked through");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Orders, authorizations and CAA checks.
async fn history(context: SharedContext, mut stop: Stop) {
    let mut progress = flow::RetainProgress::begin(context.clock.now(), Instant::now());
    while goes_on(&stop) {
        if let Err(error) = flow::retain(&context, &mut progress, Instant::now()).await {
            tracing::warn!(%error, "what was over long ago could not be forgotten");
        }
        let pause = if progress.more { STEP_PAUSE } else { INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}
