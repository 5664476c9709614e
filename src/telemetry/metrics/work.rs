//! Work, by its kind: what waits, what is under way, and how attempts end.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Series;

const SECONDS: [f64; 12] = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The work of one kind, as the database has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WorkFigures {
    pub(crate) kind: &'static str,
    pub(crate) due: i64,
    pub(crate) leased: i64,
    pub(crate) scheduled: i64,
    /// How long the oldest of what is due has been so.
    pub(crate) oldest_due: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct WorkMetrics {
    due: Family<KindLabels, Gauge>,
    leased: Family<KindLabels, Gauge>,
    scheduled: Family<KindLabels, Gauge>,
    oldest: Family<KindLabels, Gauge<f64, AtomicU64>>,
    seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    failed: Family<KindLabels, Counter>,
}

impl WorkMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self {
            due: Family::default(),
            leased: Family::default(),
            scheduled: Family::default(),
            oldest: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            failed: Family::default(),
        };
        series.add(
            "work_due",
            "Work that could be done now, by kind, for all instances; counted up to 10,000",
            &metrics.due,
        );
        series.add("work_leased", "Work under way, by kind, by all instances", &metrics.leased);
        series.add(
            "work_scheduled",
            "Work to be tried again later, by kind, for all instances",
            &metrics.scheduled,
        );
        series.add(
            "work_oldest_due_seconds",
            "How long the oldest work that is due has waited for somebody to take it, in seconds",
            &metrics.oldest,
        );
        series.add(
            "work_attempt_seconds",
            "Time of an attempt, by kind, in seconds; its count is the attempts of this instance",
            &metrics.seconds,
        );
        series.add(
            "work_attempts_failed",
            "Attempts that ended in an error of the server's, by kind",
            &metrics.failed,
        );
        metrics
    }

    /// An attempt ended, well or not.
    pub(crate) fn attempted(&self, kind: &'static str, took: Duration, failed: bool) {
        let labels = KindLabels { kind };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.failed.get_or_create(&labels).inc_by(u64::from(failed));
    }

    /// Shows these kinds and no others: none where the database did not say.
    pub(crate) fn show(&self, kinds: &[WorkFigures]) {
        self.due.clear();
        self.leased.clear();
        self.scheduled.clear();
        self.oldest.clear();
        for figures in kinds {
            let labels = KindLabels { kind: figures.kind };
            self.due.get_or_create(&labels).set(figures.due);
            self.leased.get_or_create(&labels).set(figures.leased);
            self.scheduled.get_or_create(&labels).set(figures.scheduled);
            self.oldest.get_or_create(&labels).set(figures.oldest_due.as_secs_f64());
        }
    }
}
