//! Planned certificates to sign.

use super::Stop;
use super::each::{self, Terms};
use crate::flow::{self, Context, SharedContext};
use crate::signer::Health;
use crate::store::WorkKind;

pub(super) async fn run(context: SharedContext, stop: Stop) {
    let terms = Terms {
        kind: WorkKind::Issuance,
        lease: |context| context.limits.load().issuance_lease,
        // More than a token has sessions keeps it busy.
        at_once: 128,
        at_once_for_one: |context| Some(context.limits.load().at_once_per_account),
        not_for: cas_that_cannot_sign,
    };
    let issue = |context: SharedContext, lease| async move { flow::issue(&context, lease).await };
    each::run(context, stop, terms, issue).await;
}

/// Their orders wait on the list, where another instance may find them.
fn cas_that_cannot_sign(context: &Context) -> Vec<String> {
    let authorities = context.authorities.load();
    let down = authorities.iter().filter(|authority| authority.signer.health() != Health::Up);
    down.map(|authority| authority.id.clone()).collect()
}
