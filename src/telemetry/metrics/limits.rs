//! What was refused because there was too much of it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// Requests refused by a limit, by its name in `[limits]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitMetrics {
    refused: Family<LimitLabels, Counter>,
}

impl LimitMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add("rate_limited", "Requests refused, by the limit that refused", &metrics.refused);
        metrics
    }

    /// A request, or a connection, was refused by this limit.
    pub(crate) fn refused(&self, limit: &'static str) {
        self.refused.get_or_create(&LimitLabels { limit }).inc();
    }
}
