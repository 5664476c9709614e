//! Challenges to validate.

use super::Stop;
use super::each::{self, Terms};
use crate::flow::{self, SharedContext};
use crate::store::WorkKind;

const TERMS: Terms = Terms {
    kind: WorkKind::Validation,
    lease: |context| context.limits.load().validation_lease,
    at_once: 128,
    at_once_for_one: |context| Some(context.limits.load().at_once_per_account),
    not_for: |_| Vec::new(),
};

pub(super) async fn run(context: SharedContext, stop: Stop) {
    let validate =
        |context: SharedContext, lease| async move { flow::validate(&context, lease).await };
    each::run(context, stop, TERMS, validate).await;
}
