//! CRLs to sign: when their time has come, and after revocations.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::each::{self, Terms};
use super::{Stop, goes_on};
use crate::flow::{self, Context, SharedContext, Shares};
use crate::signer::Health;
use crate::store::WorkKind;

const AT_ONCE: usize = 4;
/// How often to look whether a CRL's time has come, and for CAs that a reload brought.
const INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn run(context: SharedContext, stop: Stop) {
    let terms = Terms {
        kind: WorkKind::Crl,
        lease: |context| context.limits.load().issuance_lease,
        at_once_for_one: |_| None,
        not_for: issuers_that_cannot_sign,
    };
    let publish =
        |context: SharedContext, lease| async move { flow::publish_crl(&context, lease).await };
    let (places, shares) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Shares::default()));
    tokio::join!(
        each::run(context.clone(), stop.clone(), terms, places, shares, publish),
        schedule(context, stop)
    );
}

async fn schedule(context: SharedContext, mut stop: Stop) {
    while goes_on(&stop) {
        if let Err(error) = flow::schedule_crls(&context).await {
            tracing::error!(%error, "CRLs could not be scheduled");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Their CRLs wait on the list, where another instance may find them.
fn issuers_that_cannot_sign(context: &Context) -> Vec<String> {
    let authorities = context.authorities.load();
    let of_health = |up: bool| {
        authorities
            .iter()
            .filter(move |authority| (authority.signer.health() == Health::Up) == up)
            .map(|authority| authority.crl_issuer())
    };
    let up: Vec<_> = of_health(true).collect();
    of_health(false).filter(|issuer| !up.contains(issuer)).collect()
}
