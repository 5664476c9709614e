//! Planned certificates to sign.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::each::{self, Terms};
use super::{Stop, handed};
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
    let queue = context.at_once.issuances.open(Arc::clone(&places), Arc::clone(&shares));
    let planned = |context: SharedContext, planned| async move {
        flow::issue_planned(&context, planned).await
    };
    let issue = |context: SharedContext, lease| async move { flow::issue(&context, lease).await };
    tokio::join!(
        handed::run(context.clone(), stop.clone(), terms.kind, queue, planned),
        each::run(context, stop, terms, places, shares, issue)
    );
}

/// Their orders wait on the list, where another instance may find them.
fn cas_that_cannot_sign(context: &Context) -> Vec<String> {
    let authorities = context.authorities.load();
    let down = authorities.iter().filter(|authority| authority.signer.health() != Health::Up);
    down.map(|authority| authority.id.clone()).collect()
}
