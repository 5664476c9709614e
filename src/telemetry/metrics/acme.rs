//! Nonces (RFC 8555 §6.5), by what became of them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NonceLabels {
    result: &'static str,
}

/// What every signed request has.
#[derive(Clone, Debug)]
pub(crate) struct AcmeMetrics {
    issued: Counter,
    spent: Counter,
    /// Missing, not of this CA, expired, or used before.
    refused: Counter,
}

impl AcmeMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let nonces: Family<NonceLabels, Counter> = Family::default();
        series.add("acme_nonces", "Nonces by result: issued, spent, refused", &nonces);
        let of = |result| nonces.get_or_create_owned(&NonceLabels { result });
        Self { issued: of("issued"), spent: of("spent"), refused: of("refused") }
    }

    pub(crate) fn nonce_issued(&self) {
        self.issued.inc();
    }

    pub(crate) fn nonce_spent(&self) {
        self.spent.inc();
    }

    pub(crate) fn nonce_refused(&self) {
        self.refused.inc();
    }
}
