//! SQLite: one task writes, a few connections read.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Arguments as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Done, Ran, Row, Statement, Value};
use crate::store::StoreError;
use crate::telemetry::metrics::StoreMetrics;

/// Transactions that may wait for the writer before callers wait in turn.
const WRITER_QUEUE: usize = 1024;
/// Transactions in one commit at most.
const GROUP: usize = 32;
const READERS: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before the file is opened again that another process is just making.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// An open file.
#[derive(Clone)]
pub(in crate::store) struct Sqlite {
    readers: SqlitePool,
    writer: mpsc::Sender<Request>,
    pub(super) metrics: StoreMetrics,
}

/// What the writer is asked to do.
struct Request {
    statements: Vec<Statement>,
    reply: oneshot::Sender<Ran>,
}

impl Sqlite {
    pub(super) async fn open(url: &str, metrics: StoreMetrics) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(StoreError::Url)?
            .journal_mode(SqliteJournalMode::Wal)
            // A CA must not forget what it signed, not even when the power fails.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let connection = open(&options.clone().create_if_missing(true)).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.read_only(true));
        let (writer, requests) = mpsc::channel(WRITER_QUEUE);
        tokio::spawn(write(connection, requests, metrics.clone()));
        Ok(Self { readers, writer, metrics })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let options = self.readers.connect_options().as_ref().clone().read_only(false);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        // SQLite's migrator takes no lock of its own: without one, two instances that start
        // at once would both make the first table.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        crate::store::migrate::sqlite().run(&mut *transaction).await?;
        transaction.commit().await?;
        connection.close().await?;
        Ok(())
    }

    pub(super) async fn close(&self) {
        // The writer answers in turn: what was asked before is written when it does.
        let _ = self.run(Vec::new()).await;
        self.readers.close().await;
    }

    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.metrics.asked(1, 1);
        let arguments = arguments(values)?;
        let waiting = self.metrics.waiting();
        let mut reader = self.readers.acquire().await?;
        drop(waiting);
        let rows = sqlx::query_with(sql, arguments).fetch_all(&mut *reader);
        Ok(rows.await?.into_iter().map(Row::Sqlite).collect())
    }

    pub(super) fn show_pool(&self) {
        let queue = self.writer.max_capacity() - self.writer.capacity();
        self.metrics.pool(self.readers.size(), self.readers.num_idle(), READERS, queue);
    }

    /// Has the writer run all statements or none.
    pub(super) async fn run(&self, statements: Vec<Statement>) -> Ran {
        self.metrics.asked(1, statements.len());
        let (reply, answer) = oneshot::channel();
        let request = Request { statements, reply };
        self.writer.send(request).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// Opens the file for writing. Whoever opens a new file switches it to the write-ahead log, for
/// which SQLite waits for nobody, whatever the busy timeout: so the waiting is done here.
async fn open(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
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

/// The one task that writes. What arrives while a commit is under way goes into the next
/// one together; each request stands or falls by itself.
async fn write(
    mut connection: SqliteConnection,
    mut requests: mpsc::Receiver<Request>,
    metrics: StoreMetrics,
) {
    let mut group = Vec::with_capacity(GROUP);
    while requests.recv_many(&mut group, GROUP).await > 0 {
        let (requests, replies): (Vec<_>, Vec<_>) =
            group.drain(..).map(|request| (request.statements, request.reply)).unzip();
        metrics.batch(requests.len());
        match commit_group(&mut connection, requests).await {
            Ok(results) => {
                metrics.committed();
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

type GroupResults = Vec<Ran>;

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
        let result = match run(connection, statements).await {
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

async fn run(connection: &mut SqliteConnection, statements: Vec<Statement>) -> Ran {
    let statements = match <[Statement; 1]>::try_from(statements) {
        Ok([only]) => {
            let query = sqlx::query_with(only.sql, arguments(only.values)?);
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
        let result = sqlx::query_with(statement.sql, arguments(statement.values)?)
            .execute(&mut *connection)
            .await?;
        if statement.required && result.rows_affected() == 0 {
            return Ok((Done::Refused, Vec::new()));
        }
    }
    Ok((Done::Committed, Vec::new()))
}

arguments!(SqliteArguments);

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::store::db::values;

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
}
