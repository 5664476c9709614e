//! The only folder that knows that there are two databases.
//!
//! A transaction is data, a list of statements, and not code: so nobody can hold the database
//! while waiting for something else, a caller that goes away leaves nothing half-done, and SQLite
//! can put the transactions of many callers into one commit.

mod postgres;
mod sqlite;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr as _, SqlStr};
use tokio::time::Instant;
use tracing::Instrument as _;

use self::postgres::Postgres;
use self::sqlite::Sqlite;
use super::StoreError;
use crate::clock::Timestamp;
use crate::telemetry::metrics::StoreMetrics;
use crate::telemetry::traces;

/// The three kinds of values that are ever stored.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

macro_rules! value_from {
    ($($source:ty => $variant:ident($value:ident $make:expr)),+ $(,)?) => {$(
        impl From<$source> for Value {
            fn from($value: $source) -> Self {
                Self::$variant($make)
            }
        }
    )+};
}

value_from! {
    i64 => Int(value Some(value)),
    Option<i64> => Int(value value),
    Timestamp => Int(value Some(value.unix_ms())),
    Option<Timestamp> => Int(value value.map(Timestamp::unix_ms)),
    &str => Text(value Some(value.to_owned())),
    String => Text(value Some(value)),
    Option<String> => Text(value value),
    Vec<u8> => Blob(value Some(value)),
    Option<Vec<u8>> => Blob(value value),
    &[u8] => Blob(value Some(value.to_vec())),
}

/// `values![a, b, c]`: a statement's values.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::db::Value::from($value)),*] };
}
pub(super) use values;

/// One statement of a transaction.
#[derive(Debug)]
pub(super) struct Statement {
    sql: SqlStr,
    values: Vec<Value>,
    /// Whether the whole transaction is undone where this statement changes nothing.
    required: bool,
}

impl Statement {
    /// A statement that may change any number of rows.
    pub(super) fn new(sql: &'static str, values: Vec<Value>) -> Self {
        Self { sql: SqlStr::from_static(sql), values, required: false }
    }

    /// A statement that must change at least one row, else the transaction is undone: with a
    /// set-once column in its WHERE, this is how one of two writers wins.
    pub(super) fn required(sql: &'static str, values: Vec<Value>) -> Self {
        Self { required: true, ..Self::new(sql, values) }
    }

    /// INSERT of several rows of the same width; `insert` ends in `VALUES`.
    pub(super) fn insert_rows(insert: &'static str, rows: Vec<Vec<Value>>) -> Self {
        let mut sql = insert.to_owned();
        let mut number = 0;
        for (index, row) in rows.iter().enumerate() {
            sql.push_str(if index == 0 { " (" } else { ", (" });
            for column in 0..row.len() {
                number += 1;
                sql.push_str(if column == 0 { "$" } else { ", $" });
                sql.push_str(&number.to_string());
            }
            sql.push(')');
        }
        let sql = AssertSqlSafe(sql).into_sql_str();
        Self { sql, values: rows.into_iter().flatten().collect(), required: false }
    }
}

/// How a transaction ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    Committed,
    /// A required statement changed nothing; nothing of the transaction was kept.
    Refused,
}

impl Done {
    fn of_required(changed: u64) -> Self {
        if changed == 0 { Self::Refused } else { Self::Committed }
    }
}

/// A row of either database; columns are read by position.
pub(super) enum Row {
    /// `None` is a value of a kind that is never stored.
    Sqlite(Vec<Option<Value>>),
    Postgres(PgRow),
}

macro_rules! column {
    ($name:ident, $optional:ident, $type:ty, $kind:ident) => {
        pub(super) fn $name(&self, index: usize) -> Result<$type, StoreError> {
            self.$optional(index)?.ok_or_else(|| unreadable(index, "nothing"))
        }

        pub(super) fn $optional(&self, index: usize) -> Result<Option<$type>, StoreError> {
            match self {
                Self::Postgres(row) => row.try_get(index).map_err(StoreError::from),
                Self::Sqlite(row) => match row.get(index) {
                    // SQLite's NULL is of no kind.
                    Some(Some(Value::Int(None))) => Ok(None),
                    Some(Some(Value::$kind(value))) => Ok(value.clone()),
                    _ => Err(unreadable(index, "a value of another kind")),
                },
            }
        }
    };
}

impl Row {
    column!(int, optional_int, i64, Int);
    column!(text, optional_text, String, Text);
    column!(blob, optional_blob, Vec<u8>, Blob);

    pub(super) fn time(&self, index: usize) -> Result<Timestamp, StoreError> {
        self.int(index).map(Timestamp::from_unix_ms)
    }

    pub(super) fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_int(index)?.map(Timestamp::from_unix_ms))
    }
}

fn unreadable(index: usize, found: &str) -> StoreError {
    let source = format!("it holds {found}").into();
    StoreError::Database(sqlx::Error::ColumnDecode { index: index.to_string(), source })
}

/// What came of statements: how they ended and, of a single one, its rows.
type Ran = Result<(Done, Vec<Row>), StoreError>;

/// An open database.
#[derive(Clone)]
pub(super) enum Db {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Db {
    /// Opens the database at `url`, which must begin with `sqlite:` or `postgres:`.
    pub(super) async fn open(
        url: &str,
        max_connections: u32,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            return Sqlite::open(url, metrics).await.map(Self::Sqlite);
        }
        Postgres::open(url, max_connections, metrics).await.map(Self::Postgres)
    }

    /// Brings the schema up to date; several instances may do so at once.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.migrate().await,
            Self::Postgres(postgres) => postgres.migrate().await,
        }
    }

    /// Waits until what was begun is written. SQLite's writer ends with the last handle to it, when
    /// it also brings the log back into the file.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.close().await,
        }
    }

    /// Runs a query that changes nothing and finds a few rows by their keys.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.reading(sql, values, false).await
    }

    /// Runs a query that changes nothing and may take long: nobody else waits for it.
    pub(super) async fn scan(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.reading(sql, values, true).await
    }

    async fn reading(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        long: bool,
    ) -> Result<Vec<Row>, StoreError> {
        let began = Instant::now();
        let span = tracing::trace_span!(
            target: traces::ONLY,
            "store read",
            otel.kind = "client",
            db.system.name = self.pick("sqlite", "postgresql"),
            db.query.text = sql,
        );
        let reading = async {
            match (self, long) {
                (Self::Sqlite(sqlite), false) => sqlite.read(sql, &values),
                (Self::Sqlite(sqlite), true) => sqlite.scan(sql, values).await,
                (Self::Postgres(postgres), false) => postgres.read(sql, values).await,
                (Self::Postgres(postgres), true) => postgres.scan(sql, values).await,
            }
        };
        let rows = reading.instrument(span).await;
        self.metrics().read(began.elapsed());
        rows.inspect_err(|error| self.metrics().error(error.kind()))
    }

    /// Runs all statements or none.
    pub(super) async fn transact(&self, statements: Vec<Statement>) -> Result<Done, StoreError> {
        self.run(statements).await.map(|(done, _)| done)
    }

    /// As [`Self::transact`], for what may take long: nobody else waits for it but, on SQLite, those
    /// who write.
    pub(super) async fn transact_long(
        &self,
        statements: Vec<Statement>,
    ) -> Result<Done, StoreError> {
        self.running(statements, true).await.map(|(done, _)| done)
    }

    /// Runs one statement that changes rows and returns some.
    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.run(vec![Statement::new(sql, values)]).await.map(|(_, rows)| rows)
    }

    async fn run(&self, statements: Vec<Statement>) -> Ran {
        self.running(statements, false).await
    }

    async fn running(&self, statements: Vec<Statement>, long: bool) -> Ran {
        let began = Instant::now();
        let span = tracing::trace_span!(
            target: traces::ONLY,
            "store write",
            otel.kind = "client",
            db.system.name = self.pick("sqlite", "postgresql"),
            db.operation.batch.size = statements.len(),
        );
        let running = async {
            match self {
                Self::Sqlite(sqlite) => sqlite.run(statements).await,
                Self::Postgres(postgres) if long => postgres.run_long(statements).await,
                Self::Postgres(postgres) => postgres.run(statements).await,
            }
        };
        let ran = running.instrument(span).await;
        self.metrics().wrote(began.elapsed());
        ran.inspect_err(|error| self.metrics().error(error.kind()))
    }

    /// Has the metrics show the connections as they are now.
    pub(super) fn show_pool(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.show_pool(),
            Self::Postgres(postgres) => postgres.show_pool(),
        }
    }

    fn metrics(&self) -> &StoreMetrics {
        match self {
            Self::Sqlite(sqlite) => &sqlite.metrics,
            Self::Postgres(postgres) => &postgres.metrics,
        }
    }

    /// Whether several processes may work on this database.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Chooses between the two where no SQL serves both.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }
}
