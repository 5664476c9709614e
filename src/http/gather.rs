//! What is looked up when `/metrics` is asked for: gauges of things that nobody counts as they happen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openssl::x509::X509Crl;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::flow::Context;
use crate::http::tls::CertificateSlot;
use crate::signer::Health;
use crate::store::StoreError;
use crate::telemetry::metrics::{CrlFigures, Metrics};

/// What is answered must not wait for a database that is away: then what only that knows is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who asks more often gets the same figures again, so that nobody can keep the database busy.
const FRESH: Duration = Duration::from_secs(1);

/// Looks, at most so often.
pub(super) struct Gather {
    certificate: Arc<CertificateSlot>,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    at: Option<Instant>,
    /// The certificates that a CRL tells of, by its CA, with its number: it is read once.
    entries: HashMap<String, (i64, i64)>,
}

impl Gather {
    pub(super) fn new(certificate: Arc<CertificateSlot>) -> Self {
        Self { certificate, last: Mutex::default() }
    }

    /// Brings the gauges up to date.
    pub(super) async fn gather(&self, context: &Context) {
        let mut last = self.last.lock().await;
        if last.at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let metrics = &context.metrics;
        let authorities = context.authorities.load_full();
        metrics.expiry.server(self.certificate.not_after().unix_s());
        metrics.expiry.cas(authorities.iter().map(|ca| (&*ca.id, ca.chain.not_after_s())));
        context.store.show_pool();
        let asked = timeout(PATIENCE, ask_store(context, &mut last.entries)).await;
        let answered = matches!(asked, Ok(Ok(())));
        if !answered {
            metrics.work.show(&[]);
            metrics.crl.show([]);
        }
        let up = |health: Health| health == Health::Up;
        let signers = authorities.iter().map(|ca| (&*ca.id, up(ca.signer.health())));
        metrics.state.show(answered, signers);
        last.at = Some(Instant::now());
    }
}

async fn ask_store(
    context: &Context,
    entries: &mut HashMap<String, (i64, i64)>,
) -> Result<(), StoreError> {
    let (store, metrics): (_, &Metrics) = (&context.store, &context.metrics);
    let work = store.work_figures(context.clock.now()).await?;
    let authorities = context.authorities.load_full();
    let mut crls = Vec::new();
    for authority in authorities.iter().filter(|authority| authority.crl_validity.is_some()) {
        let issuer = authority.crl_issuer();
        let Some(crl) = store.published_crl(&issuer, &authority.signing_key()).await? else {
            continue;
        };
        let Some(bytes) = store.crl_bytes(&issuer, crl.number).await? else { continue };
        let known = entries.get(&authority.id).filter(|(number, _)| *number == crl.number);
        let count = match known {
            Some((_, count)) => *count,
            None => {
                let Some(der) = store.crl(&issuer, crl.number).await? else { continue };
                let count = tokio::task::spawn_blocking(move || count_entries(&der)).await;
                let count = count.unwrap_or_default();
                entries.insert(authority.id.clone(), (crl.number, count));
                count
            }
        };
        let figures = CrlFigures {
            number: crl.number,
            this_update_s: crl.this_update.unix_s(),
            next_update_s: crl.next_update.unix_s(),
            entries: count,
            bytes,
        };
        crls.push((authority.id.as_str(), figures));
    }
    metrics.audit.show(store.audit_figures(context.clock.now()).await?);
    metrics.work.show(&work);
    metrics.crl.show(crls);
    Ok(())
}

fn count_entries(der: &[u8]) -> i64 {
    let crl = X509Crl::from_der(der);
    crl.ok().and_then(|crl| i64::try_from(crl.get_revoked()?.len()).ok()).unwrap_or_default()
}
