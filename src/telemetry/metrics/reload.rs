//! Reloads of the configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Series;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

#[derive(Clone, Debug)]
pub(crate) struct ReloadMetrics {
    ok: Counter,
    failed: Counter,
    last_successful: Gauge,
    last_success: Gauge,
}

impl ReloadMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let reloads: Family<ReloadLabels, Counter> = Family::default();
        series.add("config_reloads", "Reloads by result: ok, failed", &reloads);
        let of = |result| reloads.get_or_create_owned(&ReloadLabels { result });
        let (last_successful, last_success) = (Gauge::default(), Gauge::default());
        series.add(
            "config_last_reload_successful",
            "1 where what is in the file is what is served with, 0 where the last reload failed",
            &last_successful,
        );
        series.add(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last taken over, in Unix time",
            &last_success,
        );
        Self { ok: of("ok"), failed: of("failed"), last_successful, last_success }
    }

    /// The first configuration, with the start.
    pub(crate) fn started(&self, now_s: i64) {
        self.last_successful.set(1);
        self.last_success.set(now_s);
    }

    pub(crate) fn ok(&self, now_s: i64) {
        self.ok.inc();
        self.started(now_s);
    }

    pub(crate) fn failed(&self) {
        self.failed.inc();
        self.last_successful.set(0);
    }
}
