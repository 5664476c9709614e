//! Planned certificates to sign.

use std::time::Duration;

use tokio::sync::watch;

use super::each::{self, Terms};
use crate::flow::{self, SharedContext};
use crate::store::WorkKind;

/// The signer's deadline is well under this; more at once than a token has sessions keeps it busy.
const TERMS: Terms =
    Terms { kind: WorkKind::Issuance, lease: Duration::from_secs(20), at_once: 64 };

pub(super) async fn run(context: SharedContext, stop: watch::Receiver<bool>) {
    let issue = |context: SharedContext, lease| async move { flow::issue(&context, lease).await };
    each::run(context, stop, TERMS, issue).await;
}
