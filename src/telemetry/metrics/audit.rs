//! The audit trail: what waits to be sealed, and how far a CA's key has signed.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use super::Series;

/// The trail, as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuditFigures {
    pub(crate) pending: i64,
    pub(crate) oldest_pending: Duration,
    /// Of the last sealed entry.
    pub(crate) position: i64,
    /// Of the last checkpoint; 0 where there is none.
    pub(crate) checkpoint: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct AuditMetrics {
    pending: Gauge,
    oldest_pending: Gauge<f64, AtomicU64>,
    position: Gauge,
    checkpoint: Gauge,
    broken: Gauge,
}

impl AuditMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add(
            "audit_pending",
            "Entries of the audit trail that wait to be sealed; counted up to 10,000",
            &metrics.pending,
        );
        series.add(
            "audit_oldest_pending_seconds",
            "How long the oldest of them has waited, in seconds",
            &metrics.oldest_pending,
        );
        series.add("audit_position", "The position of the last sealed entry", &metrics.position);
        series.add(
            "audit_checkpoint_position",
            "The position that a CA's key has signed",
            &metrics.checkpoint,
        );
        series.add(
            "audit_broken",
            "Whether the trail in the database is another than this instance has seen, and is not sealed",
            &metrics.broken,
        );
        metrics
    }

    pub(crate) fn show(&self, figures: AuditFigures) {
        self.pending.set(figures.pending);
        self.oldest_pending.set(figures.oldest_pending.as_secs_f64());
        self.position.set(figures.position);
        self.checkpoint.set(figures.checkpoint);
    }

    /// Whether it was broken before, too.
    pub(crate) fn show_broken(&self, broken: bool) -> bool {
        self.broken.set(i64::from(broken)) != 0
    }
}
