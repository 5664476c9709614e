//! Audit entries to seal, and the end of their chain to sign.

use std::time::Duration;

use super::{Stop, goes_on};
use crate::flow::{self, Checkpoints, Context, Error, KeysSeen, SharedContext};

const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(context: SharedContext, mut stop: Stop) {
    let (mut checkpoints, mut keys) = (None, KeysSeen::default());
    while goes_on(&stop) {
        if let Err(error) = turn(&context, &mut checkpoints, &mut keys).await {
            tracing::error!(%error, "the audit trail could not be sealed; its entries wait");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn turn(
    context: &Context,
    checkpoints: &mut Option<Checkpoints>,
    keys: &mut KeysSeen,
) -> Result<(), Error> {
    flow::note_refusals_left_out(context).await?;
    flow::note_keys(context, keys).await?;
    flow::seal(context).await?;
    let checkpoints = match checkpoints {
        Some(known) => known,
        None => checkpoints.insert(Checkpoints::read(context).await?),
    };
    flow::checkpoint_when_due(context, checkpoints).await
}
