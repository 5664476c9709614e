//! Challenges to validate.

use std::time::Duration;

use tokio::sync::watch;

use super::each::{self, Terms};
use crate::flow::{self, SharedContext};
use crate::store::WorkKind;

/// A validation is bounded by the validator, at well under this.
const TERMS: Terms = Terms {
    kind: WorkKind::Validation,
    lease: Duration::from_secs(20),
    at_once: 64,
    not_for: |_| Vec::new(),
};

pub(super) async fn run(context: SharedContext, stop: watch::Receiver<bool>) {
    let validate =
        |context: SharedContext, lease| async move { flow::validate(&context, lease).await };
    each::run(context, stop, TERMS, validate).await;
}
