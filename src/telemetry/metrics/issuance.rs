//! Orders and certificates, by CA.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrderLabels {
    ca: String,
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuedLabels {
    ca: String,
    /// Of those that are configured; empty where the order named none.
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevokedLabels {
    ca: String,
    reason: &'static str,
}

/// What the CAs do for clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct IssuanceMetrics {
    orders: Family<OrderLabels, Counter>,
    issued: Family<IssuedLabels, Counter>,
    revoked: Family<RevokedLabels, Counter>,
}

impl IssuanceMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add(
            "orders",
            "Orders by CA and step: placed, finalized, issued; put-off, which is tried again; refused, \
             given-up",
            &metrics.orders,
        );
        series.add(
            "certificates_issued",
            "Certificates issued to clients, by CA and profile",
            &metrics.issued,
        );
        series.add(
            "certificates_revoked",
            "Certificates revoked by clients, by CA and CRLReason",
            &metrics.revoked,
        );
        metrics
    }

    pub(crate) fn order(&self, ca: &str, step: &'static str) {
        self.orders.get_or_create(&OrderLabels { ca: ca.to_owned(), step }).inc();
    }

    pub(crate) fn issued(&self, ca: &str, profile: Option<&str>) {
        let profile = profile.unwrap_or_default().to_owned();
        self.issued.get_or_create(&IssuedLabels { ca: ca.to_owned(), profile }).inc();
    }

    pub(crate) fn revoked(&self, ca: &str, reason: &'static str) {
        self.revoked.get_or_create(&RevokedLabels { ca: ca.to_owned(), reason }).inc();
    }
}
