//! What need not be remembered any more is forgotten.

use std::time::Duration;

use super::{Stop, goes_on};
use crate::flow::SharedContext;

const INTERVAL: Duration = Duration::from_secs(60);

pub(super) async fn run(context: SharedContext, mut stop: Stop) {
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
