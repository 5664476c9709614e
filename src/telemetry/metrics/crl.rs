//! CRLs, as they are published.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CaLabels {
    ca: String,
}

/// The newest CRL of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CrlFigures {
    pub(crate) number: i64,
    pub(crate) this_update_s: i64,
    pub(crate) next_update_s: i64,
    pub(crate) entries: i64,
    pub(crate) bytes: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CrlMetrics {
    number: Family<CaLabels, Gauge>,
    this_update: Family<CaLabels, Gauge>,
    next_update: Family<CaLabels, Gauge>,
    entries: Family<CaLabels, Gauge>,
    bytes: Family<CaLabels, Gauge>,
    published: Family<CaLabels, Counter>,
}

impl CrlMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add("crl_number", "The number of the newest CRL", &metrics.number);
        series.add(
            "crl_this_update_timestamp_seconds",
            "thisUpdate of the newest CRL, in Unix time: its age is time() less this",
            &metrics.this_update,
        );
        series.add(
            "crl_next_update_timestamp_seconds",
            "nextUpdate of the newest CRL, in Unix time: it is overdue when this has passed",
            &metrics.next_update,
        );
        series.add("crl_entries", "Certificates that the newest CRL tells of", &metrics.entries);
        series.add("crl_size_bytes", "The length of the newest CRL's DER", &metrics.bytes);
        series.add("crls_published", "CRLs signed and published here", &metrics.published);
        metrics
    }

    pub(crate) fn published(&self, ca: &str) {
        self.published.get_or_create(&CaLabels { ca: ca.to_owned() }).inc();
    }

    /// Shows these and no others.
    pub(crate) fn show<'a>(&self, crls: impl IntoIterator<Item = (&'a str, CrlFigures)>) {
        let Self { number, this_update, next_update, entries, bytes, published: _ } = self;
        for family in [number, this_update, next_update, entries, bytes] {
            family.clear();
        }
        for (ca, crl) in crls {
            let labels = CaLabels { ca: ca.to_owned() };
            number.get_or_create(&labels).set(crl.number);
            this_update.get_or_create(&labels).set(crl.this_update_s);
            next_update.get_or_create(&labels).set(crl.next_update_s);
            entries.get_or_create(&labels).set(crl.entries);
            bytes.get_or_create(&labels).set(crl.bytes);
        }
    }
}
