//! Challenges to validate.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::each::{self, Terms};
use super::{Stop, handed};
use crate::flow::{self, SharedContext, Shares};
use crate::store::WorkKind;

const AT_ONCE: usize = 128;
const TERMS: Terms = Terms {
    kind: WorkKind::Validation,
    lease: |context| context.limits.load().validation_lease,
    at_once_for_one: |context| Some(context.limits.load().at_once_per_account),
    not_for: |_| Vec::new(),
};

pub(super) async fn run(context: SharedContext, stop: Stop) {
    let (places, shares) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Shares::default()));
    let queue = context.at_once.validations.open(Arc::clone(&places), Arc::clone(&shares));
    let unbegun = |context: SharedContext, unbegun| async move {
        flow::validate_unbegun(&context, unbegun).await
    };
    let validate =
        |context: SharedContext, lease| async move { flow::validate(&context, lease).await };
    tokio::join!(
        handed::run(context.clone(), stop.clone(), TERMS.kind, queue, unbegun),
        each::run(context, stop, TERMS, places, shares, validate)
    );
}
