//! When certificates end that nobody renews but a person.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaLabels {
    ca: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ExpiryMetrics {
    server: Gauge,
    cas: Family<CaLabels, Gauge>,
}

impl ExpiryMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add(
            "tls_certificate_not_after_timestamp_seconds",
            "notAfter of the certificate that the server shows, in Unix time",
            &metrics.server,
        );
        series.add(
            "ca_certificate_not_after_timestamp_seconds",
            "The earliest notAfter of a CA's chain, in Unix time",
            &metrics.cas,
        );
        metrics
    }

    pub(crate) fn server(&self, not_after_s: i64) {
        self.server.set(not_after_s);
    }

    /// Shows these CAs and no others.
    pub(crate) fn cas<'a>(&self, cas: impl IntoIterator<Item = (&'a str, i64)>) {
        self.cas.clear();
        for (ca, not_after_s) in cas {
            self.cas.get_or_create(&CaLabels { ca: ca.to_owned() }).set(not_after_s);
        }
    }
}
