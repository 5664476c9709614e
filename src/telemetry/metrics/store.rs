//! The database: what is asked of it.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Series;

/// They show from the beginning: what was never counted would be missed the first time by whoever looks
/// at its growth.
const WORK: [&str; 3] = ["validation", "issuance", "crl"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// What the store does; by default series that nobody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreMetrics(Arc<Families>);

#[derive(Debug, Default)]
struct Families {
    statements: Counter,
    round_trips: Counter,
    commits: Counter,
    leases_lost: Family<KindLabels, Counter>,
}

impl StoreMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let families = Families::default();
        series.add("store_statements", "SQL statements that were run", &families.statements);
        series.add(
            "store_round_trips",
            "Messages to the database that were waited for; with SQLite, calls of its threads",
            &families.round_trips,
        );
        series.add(
            "store_commits",
            "Commits of what was changed; one may have the transactions of many requests",
            &families.commits,
        );
        series.add(
            "work_leases_lost",
            "Results that were not kept, by kind of work: another worker had taken it over, or it had \
             become pointless",
            &families.leases_lost,
        );
        for kind in WORK {
            drop(families.leases_lost.get_or_create(&KindLabels { kind }));
        }
        Self(Arc::new(families))
    }

    /// So many statements were sent, in so many messages of which each is waited for.
    pub(crate) fn asked(&self, round_trips: usize, statements: usize) {
        self.0.round_trips.inc_by(round_trips as u64);
        self.0.statements.inc_by(statements as u64);
    }

    /// A transaction that changes something was committed.
    pub(crate) fn committed(&self) {
        self.0.commits.inc();
    }

    pub(crate) fn lease_lost(&self, kind: &'static str) {
        self.0.leases_lost.get_or_create(&KindLabels { kind }).inc();
    }
}
