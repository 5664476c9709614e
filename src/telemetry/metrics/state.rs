//! What `/readyz` says, as numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaLabels {
    ca: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct StateMetrics {
    ready: Gauge,
    store: Gauge,
    signers: Family<CaLabels, Gauge>,
}

impl StateMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add("ready", "1 where /readyz says 200", &metrics.ready);
        series.add("store_up", "1 where the database answered the last look", &metrics.store);
        series.add("ca_signer_up", "1 where the CA's key answers", &metrics.signers);
        metrics
    }

    /// Shows these CAs and no others.
    pub(crate) fn show<'a>(&self, store: bool, signers: impl IntoIterator<Item = (&'a str, bool)>) {
        self.signers.clear();
        let mut ready = store;
        for (ca, up) in signers {
            self.signers.get_or_create(&CaLabels { ca: ca.to_owned() }).set(i64::from(up));
            ready &= up;
        }
        self.store.set(i64::from(store));
        self.ready.set(i64::from(ready));
    }
}
