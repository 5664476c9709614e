//! Planned certificates to sign.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Stop;
use super::each::{self, Terms};
use super::handed::HandedOver;
use crate::flow::{self, Context, SharedContext, Shares};
use crate::signer::Health;
use crate::store::WorkKind;

/// More than a token has sessions keeps it busy.
const AT_ONCE: usize = 128;

pub(super) async fn run(context: SharedContext, stop: Stop) {
    let terms = Terms {
        kind: WorkKind::Issuance,
        lease: |context| context.limits.load().issuance_lease,
        at_once_for_one: |context| Some(context.limits.load().at_once_per_account),
        not_for: cas_that_cannot_sign,
    };
    let (places, shares) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Shares::default()));
    let unplanned = |context: SharedContext, unplanned| async move {
        flow::issue_unplanned(&context, unplanned).await
    };
    let handover = &context.at_once.issuances;
    let handed_over = HandedOver::take(&context, terms.kind, handover, &places, &shares, unplanned);
    let issue = |context: SharedContext, lease| async move { flow::issue(&context, lease).await };
    tokio::join!(
        handed_over.run(context.clone(), terms.kind, stop.clone()),
        each::run(context, stop, terms, places, shares, issue)
    );
}

/// Their orders wait on the list, where another instance may find them.
fn cas_that_cannot_sign(context: &Context) -> Vec<String> {
    let authorities = context.authorities.load();
    let down = authorities.iter().filter(|authority| authority.signer.health() != Health::Up);
    down.map(|authority| authority.id.clone()).collect()
}
