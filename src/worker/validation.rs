//! Challenges to validate.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Stop;
use super::each::{self, Terms};
use super::handed::HandedOver;
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
    let unbegun = |context: SharedContext, unbegun| async move {
        flow::validate_unbegun(&context, unbegun).await
    };
    let handover = &context.at_once.validations;
    let handed_over = HandedOver::take(&context, TERMS.kind, handover, &places, &shares, unbegun);
    let validate =
        |context: SharedContext, lease| async move { flow::validate(&context, lease).await };
    tokio::join!(
        handed_over.run(context.clone(), TERMS.kind, stop.clone()),
        each::run(context, stop, TERMS, places, shares, validate)
    );
}
