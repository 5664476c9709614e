//! The database: what is asked of it, how long it takes, and who waits for it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Series;
use super::http::Counted;

const SECONDS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];
/// Of transactions in one commit of SQLite's writer.
const BATCHES: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// The kinds of errors, and of work, show from the beginning: what was never counted would be missed
/// the first time by whoever looks at its growth.
const ERRORS: [&str; 5] = ["unavailable", "slow", "conflict", "closed", "broken"];
const WORK: [&str; 3] = ["validation", "issuance", "crl"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccessLabels {
    access: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// What the store does; by default series that nobody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    statements: Counter,
    round_trips: Counter,
    commits: Counter,
    read_seconds: Histogram,
    write_seconds: Histogram,
    errors: Family<KindLabels, Counter>,
    waiting: Gauge,
    connections: Gauge,
    idle: Gauge,
    connections_max: Gauge,
    writer_queue: Gauge,
    batch: Histogram,
    leases_lost: Family<KindLabels, Counter>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            statements: Counter::default(),
            round_trips: Counter::default(),
            commits: Counter::default(),
            read_seconds: Histogram::new(SECONDS),
            write_seconds: Histogram::new(SECONDS),
            errors: Family::default(),
            waiting: Gauge::default(),
            connections: Gauge::default(),
            idle: Gauge::default(),
            connections_max: Gauge::default(),
            writer_queue: Gauge::default(),
            batch: Histogram::new(BATCHES),
            leases_lost: Family::default(),
        }
    }
}

impl StoreMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let seconds: Family<AccessLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let of = |access| seconds.get_or_create_owned(&AccessLabels { access });
        let families = Families {
            read_seconds: of("read"),
            write_seconds: of("write"),
            ..Families::default()
        };
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
            "store_transaction_seconds",
            "Time of a transaction with the wait for its connection, by access: read, write",
            &seconds,
        );
        series.add(
            "store_errors",
            "Transactions that failed, by kind: unavailable, slow, conflict, closed, broken",
            &families.errors,
        );
        series.add("store_pool_waiting", "Callers that wait for a connection", &families.waiting);
        series.add(
            "store_pool_connections",
            "Connections open; on Postgres, without the two lanes",
            &families.connections,
        );
        series.add("store_pool_idle", "Connections open and not in use", &families.idle);
        series.add("store_pool_connections_max", "Connections at most", &families.connections_max);
        series.add(
            "store_writer_queue",
            "Requests that wait for SQLite's writer; on Postgres, for one of the two lanes",
            &families.writer_queue,
        );
        series.add(
            "store_writer_batch_size",
            "Transactions in one commit of SQLite's writer",
            &families.batch,
        );
        series.add(
            "work_leases_lost",
            "Results that were not kept, by kind of work: another worker had taken it over, or it had \
             become pointless",
            &families.leases_lost,
        );
        for kind in ERRORS {
            drop(families.errors.get_or_create(&KindLabels { kind }));
        }
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

    pub(crate) fn read(&self, took: Duration) {
        self.0.read_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn wrote(&self, took: Duration) {
        self.0.write_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn error(&self, kind: &'static str) {
        self.0.errors.get_or_create(&KindLabels { kind }).inc();
    }

    /// A caller waits for a connection until this is dropped.
    pub(crate) fn waiting(&self) -> Counted {
        Counted::in_gauge(&self.0.waiting)
    }

    /// SQLite's writer commits so many transactions at once.
    pub(crate) fn batch(&self, transactions: usize) {
        self.0.batch.observe(transactions as f64);
    }

    pub(crate) fn lease_lost(&self, kind: &'static str) {
        self.0.leases_lost.get_or_create(&KindLabels { kind }).inc();
    }

    /// The pool as it is now.
    pub(crate) fn pool(&self, connections: u32, idle: usize, max: u32, writer_queue: usize) {
        self.0.connections.set(i64::from(connections));
        self.0.idle.set(i64::try_from(idle).unwrap_or(i64::MAX));
        self.0.connections_max.set(i64::from(max));
        self.0.writer_queue.set(i64::try_from(writer_queue).unwrap_or(i64::MAX));
    }
}
