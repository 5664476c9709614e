//! SQLite: one thread writes; readers read where they are.
//!
//! A read takes some ten microseconds from the page cache, less than handing it to another thread and
//! back: so short ones run on the thread that asks, and long ones on a thread that may block.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, ffi};
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::{Done, Ran, Row, Statement, Value};
use crate::store::StoreError;
use crate::telemetry::metrics::StoreMetrics;

/// Transactions that may wait for the writer before callers wait in turn.
const WRITER_QUEUE: usize = 1024;
/// Transactions in one commit at most.
const GROUP: usize = 64;
/// Connections for short reads.
const READERS: usize = 4;
/// Connections for long ones, which are apart: a short read waits on the thread that asks.
const SCANNERS: usize = 2;
/// Pages of 4 KiB in the write-ahead log before they are copied into the file.
const LOG_PAGES: u32 = 4000;
/// How long a commit waits for others, if one or more are likely to come within it: to flush the file
/// costs as much as several transactions do.
const GATHERING: Duration = Duration::from_micros(400);
/// Pages of 4 KiB that a connection for reading keeps.
const READER_CACHE: u32 = 100;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before the file is opened again that another process is just making.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Prepared statements that a connection keeps: all that there are, and some of the lists.
const PREPARED: usize = 256;

/// An open file.
#[derive(Clone)]
pub(in crate::store) struct Sqlite {
    options: Arc<SqliteConnectOptions>,
    readers: Arc<Readers<READERS>>,
    scanners: Arc<Readers<SCANNERS>>,
    /// Who may scan; the others wait without a thread.
    scans: Arc<Semaphore>,
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
        let options = SqliteConnectOptions::from_str(url).map_err(StoreError::Url)?;
        let file = options.get_filename().to_owned();
        let connection = open(&file).await?;
        let (writer, requests) = mpsc::channel(WRITER_QUEUE);
        let counted = metrics.clone();
        std::thread::Builder::new()
            .name("kipuka-sqlite".to_owned())
            .spawn(move || write(&connection, requests, &counted))
            .map_err(|error| StoreError::Database(sqlx::Error::Io(error)))?;
        Ok(Self {
            options: Arc::new(options),
            readers: Arc::new(Readers::of(file.clone())),
            scanners: Arc::new(Readers::of(file)),
            scans: Arc::new(Semaphore::new(SCANNERS)),
            writer,
            metrics,
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let options = self.options.as_ref().clone().foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
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
        self.readers.close();
        self.scanners.close();
    }

    /// Runs a query that takes no longer than a few rows by their key do.
    pub(super) fn read(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.metrics.asked(1, 1);
        self.readers.read(sql, values)
    }

    /// Runs a query that may take long.
    pub(super) async fn scan(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.metrics.asked(1, 1);
        let permit = Arc::clone(&self.scans).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let scanners = Arc::clone(&self.scanners);
        let scan = move || {
            // Until the end, be it that nobody waits for it any more.
            let _permit = permit;
            scanners.read(sql, &values)
        };
        tokio::task::spawn_blocking(scan).await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn show_pool(&self) {
        let queue = self.writer.max_capacity() - self.writer.capacity();
        let (short, long) = (self.readers.figures(), self.scanners.figures());
        let (open, idle) = (short.0 + long.0, short.1 + long.1);
        self.metrics.pool(open, idle, (READERS + SCANNERS) as u32, queue);
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
async fn open(file: &Path) -> Result<Connection, StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match open_writer(file) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            result => return result.map_err(StoreError::from),
        }
    }
}

fn open_writer(file: &Path) -> rusqlite::Result<Connection> {
    let connection =
        connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A CA must not forget what it signed, not even when the power fails.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The pages that change most are copied out of the log once in a while, not after each few requests.
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // What a savepoint undoes; in a file of its own it would be written and never read.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    Ok(connection)
}

fn open_reader(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Each commit empties it; what is read again comes from the system's cache.
    connection.pragma_update(None, "cache_size", READER_CACHE)?;
    Ok(connection)
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Without it, a statement whose plan might depend on a value is planned anew for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    Ok(connection)
}

/// Connections that cannot write, each opened when it is first needed.
struct Readers<const N: usize> {
    file: PathBuf,
    connections: [Mutex<Option<Connection>>; N],
    /// Whose turn it is where all are busy.
    next: AtomicUsize,
}

impl<const N: usize> Readers<N> {
    fn of(file: PathBuf) -> Self {
        Self {
            file,
            connections: std::array::from_fn(|_| Mutex::default()),
            next: AtomicUsize::new(0),
        }
    }

    fn read(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut place = self.place();
        let connection = match &mut *place {
            Some(connection) => connection,
            empty => empty.insert(open_reader(&self.file)?),
        };
        Ok(rows(connection, sql, values)?)
    }

    fn place(&self) -> MutexGuard<'_, Option<Connection>> {
        if let Some(free) = self.connections.iter().find_map(|place| place.try_lock().ok()) {
            return free;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % N;
        // A panic between two calls of SQLite leaves the connection as it was.
        self.connections[next].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are open, and how many of those are in use by nobody.
    fn figures(&self) -> (u32, usize) {
        let idle = self
            .connections
            .iter()
            .filter(|place| place.try_lock().is_ok_and(|connection| connection.is_some()));
        let idle = idle.count();
        let busy = self.connections.iter().filter(|place| place.try_lock().is_err()).count();
        (u32::try_from(idle + busy).unwrap_or(u32::MAX), idle)
    }

    fn close(&self) {
        for place in &self.connections {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// Runs one statement to its end.
fn rows(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    // To SQLite `$2` is a name, and not the second value.
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix('$'));
        let number = name.and_then(|number| number.parse::<usize>().ok());
        let value = number.and_then(|number| values.get(number.checked_sub(1)?));
        // What is not given is NULL, as it is where nothing is bound: for EXPLAIN.
        if let Some(value) = value {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let value = |index| Ok(value_of(row.get_ref(index)?));
        found.push(Row::Sqlite((0..columns).map(value).collect::<rusqlite::Result<_>>()?));
    }
    Ok(found)
}

/// A value as SQLite has it; `None` where it is of a kind that is never stored.
fn value_of(value: ValueRef<'_>) -> Option<Value> {
    match value {
        ValueRef::Null => Some(Value::Int(None)),
        ValueRef::Integer(number) => Some(Value::Int(Some(number))),
        ValueRef::Text(bytes) => {
            std::str::from_utf8(bytes).ok().map(|text| Value::Text(Some(text.to_owned())))
        }
        ValueRef::Blob(bytes) => Some(Value::Blob(Some(bytes.to_vec()))),
        ValueRef::Real(_) => None,
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Int(Some(number)) => ValueRef::Integer(*number),
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Blob(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Int(None) | Self::Text(None) | Self::Blob(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// The one thread that writes. What arrives while a commit is under way goes into the next
/// one together; each request stands or falls by itself.
fn write(connection: &Connection, mut requests: mpsc::Receiver<Request>, metrics: &StoreMetrics) {
    let mut group = Vec::with_capacity(GROUP);
    let (mut before, mut came) = (Instant::now(), 0);
    let mut undoing = Undoing::All;
    while requests.blocking_recv_many(&mut group, GROUP) > 0 {
        let now = Instant::now();
        if group.len() < GROUP && another_is_likely(now - before, came) {
            std::thread::sleep(GATHERING);
            while group.len() < GROUP
                && let Ok(request) = requests.try_recv()
            {
                group.push(request);
            }
        }
        (before, came) = (now, u32::try_from(group.len()).unwrap_or(u32::MAX));
        let (requests, replies): (Vec<_>, Vec<_>) =
            group.drain(..).map(|request| (request.statements, request.reply)).unzip();
        metrics.batch(requests.len());
        match commit_group(connection, &requests, undoing) {
            Ok(results) => {
                metrics.committed();
                undoing = Undoing::for_those_after(&results);
                for (reply, result) in replies.into_iter().zip(results) {
                    // A caller that went away has its answer in the database.
                    let _ = reply.send(result);
                }
            }
            Err(error) => {
                let _ = execute(connection, "ROLLBACK");
                let text = error.to_string();
                for reply in replies {
                    let _ = reply.send(Err(StoreError::Group(text.clone())));
                }
            }
        }
    }
}

/// Whether, at the rate of so many in the time since, one or more will come within [`GATHERING`].
fn another_is_likely(since: Duration, came: u32) -> bool {
    since < GATHERING * came
}

/// How a request that is refused is undone, in a group whose others stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undoing {
    /// All of the group is, and then done again with savepoints.
    All,
    /// Each has a savepoint, for which SQLite copies every page that the request changes.
    Each,
}

impl Undoing {
    /// Few are refused, and where one was there may be more.
    fn for_those_after(results: &[Ran]) -> Self {
        match results.iter().all(was_done) {
            true => Self::All,
            false => Self::Each,
        }
    }
}

fn was_done(result: &Ran) -> bool {
    matches!(result, Ok((Done::Committed, _)))
}

fn commit_group(
    connection: &Connection,
    requests: &[Vec<Statement>],
    undoing: Undoing,
) -> rusqlite::Result<Vec<Ran>> {
    if undoing == Undoing::All {
        execute(connection, "BEGIN IMMEDIATE")?;
        if let Some(results) = run_all(connection, requests)? {
            execute(connection, "COMMIT")?;
            return Ok(results);
        }
        execute(connection, "ROLLBACK")?;
    }
    execute(connection, "BEGIN IMMEDIATE")?;
    let mut results = Vec::with_capacity(requests.len());
    for statements in requests {
        execute(connection, "SAVEPOINT request")?;
        let result = run(connection, statements)?;
        if !was_done(&result) {
            execute(connection, "ROLLBACK TO request")?;
        }
        execute(connection, "RELEASE request")?;
        results.push(result);
    }
    execute(connection, "COMMIT")?;
    Ok(results)
}

/// Runs requests of which none has to be undone; `None` where one has.
fn run_all(
    connection: &Connection,
    requests: &[Vec<Statement>],
) -> rusqlite::Result<Option<Vec<Ran>>> {
    let mut results = Vec::with_capacity(requests.len());
    for statements in requests {
        let result = run(connection, statements)?;
        // A single statement that breaks a constraint, or changes nothing, is undone by SQLite itself.
        if !was_done(&result) && statements.len() > 1 {
            return Ok(None);
        }
        results.push(result);
    }
    Ok(Some(results))
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Runs the statements of a request until one refuses or fails. An error is one that is not its own: the disk
/// is full, or worse. SQLite may have undone the whole transaction then, and what came after it would be
/// committed by itself.
fn run(connection: &Connection, statements: &[Statement]) -> rusqlite::Result<Ran> {
    let mut found = Vec::new();
    for statement in statements {
        found = match rows(connection, statement.sql.as_str(), &statement.values) {
            Ok(found) => found,
            Err(error) if is_its_own_fault(&error) => return Ok(Err(error.into())),
            Err(error) => return Err(error),
        };
        if statement.required && connection.changes() == 0 {
            return Ok(Ok((Done::Refused, Vec::new())));
        }
    }
    if statements.len() > 1 {
        found.clear();
    }
    Ok(Ok((Done::Committed, found)))
}

/// SQLite's result code: the lowest byte of its extended codes.
fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

/// Whether SQLite said that another process has the file.
fn is_busy(error: &rusqlite::Error) -> bool {
    primary_code(error) == Some(ffi::SQLITE_BUSY)
}

/// Whether a statement failed by what it says, which touches no other statement: it cannot be read,
/// is too large, breaks a constraint or has a value of a wrong kind.
fn is_its_own_fault(error: &rusqlite::Error) -> bool {
    match primary_code(error) {
        Some(code) => matches!(
            code,
            ffi::SQLITE_ERROR
                | ffi::SQLITE_TOOBIG
                | ffi::SQLITE_CONSTRAINT
                | ffi::SQLITE_MISMATCH
                | ffi::SQLITE_RANGE
        ),
        // What the driver found before SQLite was asked, such as a wrong number of values.
        None => true,
    }
}

/// An error of SQLite in the form that errors of both databases have.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SqliteError(rusqlite::Error);

impl DatabaseError for SqliteError {
    fn message(&self) -> &str {
        match &self.0 {
            rusqlite::Error::SqliteFailure(_, Some(message)) => message,
            _ => "SQLite failed",
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.0.sqlite_error().map(|error| error.extended_code.to_string().into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        match self.0.sqlite_error().map(|error| error.extended_code) {
            Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => {
                ErrorKind::UniqueViolation
            }
            Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => ErrorKind::ForeignKeyViolation,
            Some(ffi::SQLITE_CONSTRAINT_NOTNULL) => ErrorKind::NotNullViolation,
            Some(ffi::SQLITE_CONSTRAINT_CHECK) => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        sqlx::Error::Database(Box::new(SqliteError(error))).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::values;

    #[tokio::test]
    async fn a_short_read_never_waits_for_long_ones() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("db").display());
        let sqlite = Sqlite::open(&url, StoreMetrics::default()).await.unwrap();
        // Far longer than a few short ones take.
        let long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                    WHERE i < 1000000) SELECT COUNT(*) FROM n";
        let scans: Vec<_> = (0..2 * (READERS + SCANNERS))
            .map(|_| {
                let sqlite = sqlite.clone();
                tokio::spawn(async move { sqlite.scan(long, Vec::new()).await })
            })
            .collect();
        while sqlite.scanners.figures() != (SCANNERS as u32, 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..2 * READERS {
            assert_eq!(sqlite.read("SELECT 1", &[]).unwrap()[0].int(0).unwrap(), 1);
        }
        assert!(scans.iter().all(|scan| !scan.is_finished()));
        for scan in &scans[1..] {
            scan.abort();
        }
        let counted = scans.into_iter().next().unwrap().await.unwrap().unwrap();
        assert_eq!(counted[0].int(0).unwrap(), 1_000_000);
    }

    #[test]
    fn a_commit_waits_only_where_others_are_likely_to_come_in_time() {
        assert!(!another_is_likely(Duration::from_secs(1), 1));
        assert!(!another_is_likely(GATHERING, 1));
        assert!(another_is_likely(GATHERING / 2, 1));
        assert!(!another_is_likely(GATHERING * 5, 4));
        assert!(another_is_likely(GATHERING * 3, 4));
    }

    /// SQLite undoes the whole transaction where the disk is full.
    #[test]
    fn nothing_of_a_group_is_kept_after_the_disk_was_full() {
        let connection = Connection::open_in_memory().unwrap();
        for sql in ["CREATE TABLE t (v BLOB)", "PRAGMA max_page_count = 4"] {
            rows(&connection, sql, &[]).unwrap();
        }
        let insert =
            |size: usize| vec![Statement::new("INSERT INTO t VALUES ($1)", values![vec![0; size]])];
        let group = [insert(1), insert(1_000_000), insert(2)];
        for undoing in [Undoing::All, Undoing::Each] {
            assert!(commit_group(&connection, &group, undoing).is_err());
            let _ = execute(&connection, "ROLLBACK");
            let count = rows(&connection, "SELECT COUNT(*) FROM t", &[]).unwrap();
            assert_eq!(count[0].int(0).unwrap(), 0);
        }
        let results = commit_group(&connection, &[insert(3)], Undoing::All).unwrap();
        assert!(matches!(results[..], [Ok((Done::Committed, _))]));
    }

    #[test]
    fn of_a_group_only_what_was_refused_is_undone_with_savepoints_and_without() {
        let insert = |value: i64| Statement::new("INSERT INTO t VALUES ($1)", values![value]);
        let refused = || Statement::required("UPDATE t SET v = 0 WHERE v = -1", Vec::new());
        for undoing in [Undoing::All, Undoing::Each] {
            let connection = Connection::open_in_memory().unwrap();
            rows(&connection, "CREATE TABLE t (v INTEGER PRIMARY KEY)", &[]).unwrap();
            let group = [
                vec![insert(1), insert(2)],
                vec![insert(3), refused()],
                vec![insert(4), insert(1)],
                vec![insert(5)],
            ];
            let results = commit_group(&connection, &group, undoing).unwrap();
            assert!(matches!(results[0], Ok((Done::Committed, _))));
            assert!(matches!(results[1], Ok((Done::Refused, _))));
            assert!(matches!(results[2], Err(StoreError::Conflict(_))));
            assert!(matches!(results[3], Ok((Done::Committed, _))));
            assert_eq!(Undoing::for_those_after(&results), Undoing::Each);
            let left = rows(&connection, "SELECT v FROM t ORDER BY v", &[]).unwrap();
            let left: Vec<_> = left.iter().map(|row| row.int(0).unwrap()).collect();
            assert_eq!(left, [1, 2, 5], "{undoing:?}");
        }
    }
}
