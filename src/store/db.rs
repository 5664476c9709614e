//! The only file that knows that there are two databases.
//!
//! A transaction is data, a list of statements, and not code: so nobody can hold the database
//! while waiting for something else, a caller that goes away leaves nothing half-done, and SQLite
//! can put the transactions of many callers into one commit.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, Postgres,
};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _, SqlStr,
    SqliteConnection,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::StoreError;
use crate::clock::Timestamp;

/// Transactions that may wait for SQLite's writer before callers wait in turn.
const WRITER_QUEUE: usize = 1024;
/// Transactions in one commit of SQLite's writer at most.
const GROUP: usize = 32;
const SQLITE_READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A transaction of Postgres that has not ended by then is given up, with its connection: the network
/// may be gone without a word, and leases are longer than this.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that ends waits this long for connections to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before SQLite's file is opened again that another process is just making.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

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
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($name:ident, $type:ty) => {
        pub(super) fn $name(&self, index: usize) -> Result<$type, StoreError> {
            match self {
                Self::Sqlite(row) => row.try_get(index),
                Self::Postgres(row) => row.try_get(index),
            }
            .map_err(StoreError::from)
        }
    };
}

impl Row {
    column!(int, i64);
    column!(optional_int, Option<i64>);
    column!(text, String);
    column!(optional_text, Option<String>);
    column!(blob, Vec<u8>);
    column!(optional_blob, Option<Vec<u8>>);

    pub(super) fn time(&self, index: usize) -> Result<Timestamp, StoreError> {
        self.int(index).map(Timestamp::from_unix_ms)
    }

    pub(super) fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_int(index)?.map(Timestamp::from_unix_ms))
    }
}

/// An open database.
#[derive(Clone)]
pub(super) enum Db {
    Sqlite { readers: SqlitePool, writer: mpsc::Sender<Request> },
    Postgres(PgPool),
}

/// What SQLite's writer is asked to do.
pub(super) struct Request {
    statements: Vec<Statement>,
    reply: oneshot::Sender<Result<(Done, Vec<Row>), StoreError>>,
}

impl Db {
    /// Opens the database at `url`, which must begin with `sqlite:` or `postgres:`.
    pub(super) async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url)
                .map_err(StoreError::Url)?
                .journal_mode(SqliteJournalMode::Wal)
                // A CA must not forget what it signed, not even when the power fails.
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT);
            let connection = open_sqlite(&options.clone().create_if_missing(true)).await?;
            let readers = SqlitePoolOptions::new()
                .max_connections(SQLITE_READERS)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .connect_lazy_with(options.read_only(true));
            let (writer, requests) = mpsc::channel(WRITER_QUEUE);
            tokio::spawn(write_to_sqlite(connection, requests));
            return Ok(Self::Sqlite { readers, writer });
        }
        let options = PgConnectOptions::from_str(url).map_err(StoreError::Url)?;
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await?;
        Ok(Self::Postgres(pool))
    }

    /// Brings the schema up to date; several instances may do so at once.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { readers, .. } => {
                let options = readers.connect_options().as_ref().clone().read_only(false);
                let mut connection = SqliteConnection::connect_with(&options).await?;
                // SQLite's migrator takes no lock of its own: without one, two instances that start
                // at once would both make the first table.
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                super::migrate::sqlite().run(&mut *transaction).await?;
                transaction.commit().await?;
                connection.close().await?;
            }
            Self::Postgres(pool) => super::migrate::postgres().run(pool).await?,
        }
        Ok(())
    }

    /// Waits until what was begun is written. SQLite's writer ends with the last handle to it, when
    /// it also brings the log back into the file.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { readers, .. } => {
                // The writer answers in turn: what was asked before is written when it does.
                let _ = self.run(Vec::new()).await;
                readers.close().await;
            }
            Self::Postgres(pool) => {
                let _ = timeout(CLOSE_TIMEOUT, pool.close()).await;
            }
        }
    }

    /// Runs a query that changes nothing.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite { readers, .. } => {
                let rows = sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(readers);
                Ok(rows.await?.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool) => {
                let statement =
                    Statement { sql: SqlStr::from_static(sql), values, required: false };
                run_on_postgres(pool, vec![statement]).await.map(|(_, rows)| rows)
            }
        }
    }

    /// Runs all statements or none.
    pub(super) async fn transact(&self, statements: Vec<Statement>) -> Result<Done, StoreError> {
        self.run(statements).await.map(|(done, _)| done)
    }

    /// Runs one statement that changes rows and returns some.
    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.run(vec![Statement::new(sql, values)]).await.map(|(_, rows)| rows)
    }

    async fn run(&self, statements: Vec<Statement>) -> Result<(Done, Vec<Row>), StoreError> {
        match self {
            Self::Sqlite { writer, .. } => {
                let (reply, answer) = oneshot::channel();
                let request = Request { statements, reply };
                writer.send(request).await.map_err(|_| StoreError::Closed)?;
                answer.await.map_err(|_| StoreError::Closed)?
            }
            Self::Postgres(pool) => run_on_postgres(pool, statements).await,
        }
    }

    /// Whether several processes may work on this database.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Chooses between the two where no SQL serves both.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite { .. } => sqlite,
            Self::Postgres(_) => postgres,
        }
    }
}

/// Opens SQLite's file for writing. Whoever opens a new file switches it to the write-ahead log, for
/// which SQLite waits for nobody, whatever the busy timeout: so the waiting is done here.
async fn open_sqlite(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match SqliteConnection::connect_with(options).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Whether SQLite said that another process has the file (`SQLITE_BUSY`).
fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(5)
}

/// SQLite's result code: the lowest byte of its extended codes.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

/// A connection to Postgres that goes back to the pool only where what it was used for has ended:
/// the pool would wait for one that hangs, and have one less until then.
struct OnLoan {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Drop for OnLoan {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

async fn run_on_postgres(
    pool: &PgPool,
    statements: Vec<Statement>,
) -> Result<(Done, Vec<Row>), StoreError> {
    let mut loan = OnLoan { connection: pool.acquire().await?, ended: false };
    let result = timeout(POSTGRES_TIMEOUT, run_on_connection(&mut loan.connection, statements))
        .await
        .map_err(|_| StoreError::Slow(POSTGRES_TIMEOUT))?;
    loan.ended = true;
    result
}

async fn run_on_connection(
    connection: &mut PgConnection,
    statements: Vec<Statement>,
) -> Result<(Done, Vec<Row>), StoreError> {
    // One statement is a transaction of its own: it needs no BEGIN and COMMIT.
    let statements = match <[Statement; 1]>::try_from(statements) {
        Ok([only]) => {
            let query = sqlx::query_with(only.sql, postgres_arguments(only.values)?);
            if only.required {
                let changed = query.execute(connection).await?.rows_affected();
                return Ok((Done::of_required(changed), Vec::new()));
            }
            let rows = query.fetch_all(connection).await?;
            return Ok((Done::Committed, rows.into_iter().map(Row::Postgres).collect()));
        }
        Err(several) => several,
    };
    let mut transaction = connection.begin().await?;
    for statement in statements {
        let result = sqlx::query_with(statement.sql, postgres_arguments(statement.values)?)
            .execute(&mut *transaction)
            .await?;
        if statement.required && result.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok((Done::Refused, Vec::new()));
        }
    }
    transaction.commit().await?;
    Ok((Done::Committed, Vec::new()))
}

/// The one task that writes to SQLite. What arrives while a commit is under way goes into the next
/// one together; each request stands or falls by itself.
async fn write_to_sqlite(mut connection: SqliteConnection, mut requests: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(GROUP);
    while requests.recv_many(&mut group, GROUP).await > 0 {
        let (requests, replies): (Vec<_>, Vec<_>) =
            group.drain(..).map(|request| (request.statements, request.reply)).unzip();
        match commit_group(&mut connection, requests).await {
            Ok(results) => {
                for (reply, result) in replies.into_iter().zip(results) {
                    // A caller that went away has its answer in the database.
                    let _ = reply.send(result);
                }
            }
            Err(error) => {
                let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
                let text = error.to_string();
                for reply in replies {
                    let _ = reply.send(Err(StoreError::Group(text.clone())));
                }
            }
        }
    }
    let _ = connection.close().await;
}

type GroupResults = Vec<Result<(Done, Vec<Row>), StoreError>>;

async fn commit_group(
    connection: &mut SqliteConnection,
    requests: Vec<Vec<Statement>>,
) -> Result<GroupResults, sqlx::Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let mut results = Vec::with_capacity(requests.len());
    for statements in requests {
        // A single statement that breaks a constraint is undone by SQLite itself.
        let several = statements.len() > 1;
        if several {
            sqlx::query("SAVEPOINT request").execute(&mut *connection).await?;
        }
        let result = match run_on_sqlite(connection, statements).await {
            // The disk is full, or worse. SQLite may have undone the whole transaction, and what
            // came now would be committed by itself.
            Err(StoreError::Database(error)) if !is_its_own_fault(&error) => return Err(error),
            result => result,
        };
        if several {
            if !matches!(result, Ok((Done::Committed, _))) {
                sqlx::query("ROLLBACK TO request").execute(&mut *connection).await?;
            }
            sqlx::query("RELEASE request").execute(&mut *connection).await?;
        }
        results.push(result);
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(results)
}

/// Whether a statement failed by what it says, which touches no other statement: it cannot be read
/// (`SQLITE_ERROR`), is too large (`SQLITE_TOOBIG`), breaks a constraint (`SQLITE_CONSTRAINT`) or has a value
/// of a wrong kind (`SQLITE_MISMATCH`, `SQLITE_RANGE`).
fn is_its_own_fault(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(1 | 18 | 19 | 20 | 25))
        || matches!(error, sqlx::Error::Encode(_))
}

async fn run_on_sqlite(
    connection: &mut SqliteConnection,
    statements: Vec<Statement>,
) -> Result<(Done, Vec<Row>), StoreError> {
    let statements = match <[Statement; 1]>::try_from(statements) {
        Ok([only]) => {
            let query = sqlx::query_with(only.sql, sqlite_arguments(only.values)?);
            if only.required {
                let changed = query.execute(&mut *connection).await?.rows_affected();
                return Ok((Done::of_required(changed), Vec::new()));
            }
            let rows = query.fetch_all(&mut *connection).await?;
            return Ok((Done::Committed, rows.into_iter().map(Row::Sqlite).collect()));
        }
        Err(several) => several,
    };
    for statement in statements {
        let result = sqlx::query_with(statement.sql, sqlite_arguments(statement.values)?)
            .execute(&mut *connection)
            .await?;
        if statement.required && result.rows_affected() == 0 {
            return Ok((Done::Refused, Vec::new()));
        }
    }
    Ok((Done::Committed, Vec::new()))
}

macro_rules! arguments {
    ($name:ident, $arguments:ty) => {
        fn $name(values: Vec<Value>) -> Result<$arguments, StoreError> {
            let mut arguments = <$arguments>::default();
            for value in values {
                match value {
                    Value::Int(value) => arguments.add(value),
                    Value::Text(value) => arguments.add(value),
                    Value::Blob(value) => arguments.add(value),
                }
                .map_err(|error| StoreError::Database(sqlx::Error::Encode(error)))?;
            }
            Ok(arguments)
        }
    };
}

arguments!(sqlite_arguments, SqliteArguments);
arguments!(postgres_arguments, PgArguments);

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite undoes the whole transaction where the disk is full.
    #[tokio::test]
    async fn nothing_of_a_group_is_kept_after_the_disk_was_full() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for sql in ["CREATE TABLE t (v BLOB)", "PRAGMA max_page_count = 4"] {
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        let insert =
            |size: usize| vec![Statement::new("INSERT INTO t VALUES ($1)", values![vec![0; size]])];
        let group = vec![insert(1), insert(1_000_000), insert(2)];
        assert!(commit_group(&mut connection, group).await.is_err());
        let _ = sqlx::query("ROLLBACK").execute(&mut connection).await;
        let count = sqlx::query("SELECT COUNT(*) FROM t").fetch_one(&mut connection).await.unwrap();
        assert_eq!(count.get::<i64, _>(0), 0);
        let results = commit_group(&mut connection, vec![insert(3)]).await.unwrap();
        assert!(matches!(results[..], [Ok((Done::Committed, _))]));
    }

    #[tokio::test]
    async fn a_connection_to_postgres_that_was_given_up_takes_no_place_in_the_pool() {
        let database = harness::Database::postgres();
        let db = Db::open(&database.url(), 1).await.unwrap();
        let slow = db.read("SELECT pg_sleep(60)::TEXT", Vec::new());
        assert!(timeout(Duration::from_millis(200), slow).await.is_err());
        timeout(ACQUIRE_TIMEOUT, db.read("SELECT 1", Vec::new())).await.unwrap().unwrap();
    }
}
