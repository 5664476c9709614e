//! Postgres: what many callers ask in the same moment goes there and back in one message.
//!
//! A lane ([`lane`]) has a connection of its own and takes whatever waits, as SQLite's writer does: one
//! lane for short reads, one for transactions. What may take long has the pool, and so has what waits for
//! a lock ([`aside`]).

mod aside;
mod lane;
mod message;

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Arguments as _, Connection as _, Transaction};
use tokio::time::timeout;

use self::aside::Aside;
use self::lane::Lane;
use super::{Done, Ran, Row, Statement, Value};
use crate::store::StoreError;
use crate::telemetry::metrics::StoreMetrics;

const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A transaction that has not ended by then is given up, with its connection: the network may be gone
/// without a word, and leases are longer than this.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A server that ends waits this long for connections to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The connections of the lanes; the pool has the others.
const LANES: u32 = 2;

/// An open database.
#[derive(Clone)]
pub(in crate::store) struct Postgres {
    reads: Lane,
    writes: Lane,
    pool: PgPool,
    pub(super) metrics: StoreMetrics,
}

impl Postgres {
    pub(super) async fn open(
        url: &str,
        max_connections: u32,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(StoreError::Url)?;
        let in_pool = max_connections.saturating_sub(LANES).max(1);
        let pool = PgPoolOptions::new()
            .max_connections(in_pool)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await?;
        let aside = Aside::new(pool.clone(), in_pool / 2, metrics.clone());
        Ok(Self {
            reads: Lane::start(options.clone(), aside.clone(), metrics.clone()),
            writes: Lane::start(options, aside, metrics.clone()),
            pool,
            metrics,
        })
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        Ok(crate::store::migrate::postgres().run(&self.pool).await?)
    }

    pub(super) async fn close(&self) {
        let closed =
            async { tokio::join!(self.reads.close(), self.writes.close(), self.pool.close()) };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }

    /// Runs a query that takes no longer than a few rows by their key do.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.reads.run(vec![Statement::new(sql, values)], false).await.map(|(_, rows)| rows)
    }

    /// Runs a query that may take long.
    pub(super) async fn scan(
        &self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        self.on_loan(vec![Statement::new(sql, values)], false).await.map(|(_, rows)| rows)
    }

    /// Runs all statements or none.
    pub(super) async fn run(&self, statements: Vec<Statement>) -> Ran {
        self.writes.run(statements, true).await
    }

    /// As [`Self::run`], for what may take long.
    pub(super) async fn run_long(&self, statements: Vec<Statement>) -> Ran {
        self.on_loan(statements, true).await
    }

    pub(super) fn show_pool(&self) {
        let max = self.pool.options().get_max_connections();
        let waiting = self.reads.waiting() + self.writes.waiting();
        self.metrics.pool(self.pool.size(), self.pool.num_idle(), max, waiting);
    }

    async fn on_loan(&self, statements: Vec<Statement>, writes: bool) -> Ran {
        let count = statements.len();
        // Several have a BEGIN and a COMMIT around them.
        let around = if count > 1 { 2 } else { 0 };
        let waiting = self.metrics.waiting();
        let mut loan = OnLoan { connection: self.pool.acquire().await?, ended: false };
        drop(waiting);
        self.metrics.asked(count + around, count);
        let result = timeout(TIMEOUT, transact(&mut loan.connection, statements))
            .await
            .map_err(|_| StoreError::Slow(TIMEOUT))?;
        loan.ended = true;
        if writes && result.is_ok() {
            self.metrics.committed();
        }
        result
    }
}

/// A connection that goes back to the pool only where what it was used for has ended:
/// the pool would wait for one that hangs, and have one less until then.
struct OnLoan {
    connection: PoolConnection<sqlx::Postgres>,
    ended: bool,
}

impl Drop for OnLoan {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

async fn transact(connection: &mut PgConnection, statements: Vec<Statement>) -> Ran {
    // One statement is a transaction of its own: it needs no BEGIN and COMMIT.
    if statements.len() == 1 {
        return apply(connection, statements).await;
    }
    let mut transaction = connection.begin().await?;
    let ran = apply(&mut transaction, statements).await?;
    end(transaction, ran).await
}

/// Runs statements up to the first that is refused.
async fn apply(connection: &mut PgConnection, statements: Vec<Statement>) -> Ran {
    let mut rows = Vec::new();
    let alone = statements.len() == 1;
    for statement in statements {
        let query = sqlx::query_with(statement.sql, arguments(statement.values)?);
        if alone && !statement.required {
            let found = query.fetch_all(&mut *connection).await?;
            rows = found.into_iter().map(Row::Postgres).collect();
        } else {
            let changed = query.execute(&mut *connection).await?.rows_affected();
            if statement.required && changed == 0 {
                return Ok((Done::Refused, Vec::new()));
            }
        }
    }
    Ok((Done::Committed, rows))
}

async fn end(transaction: Transaction<'_, sqlx::Postgres>, ran: (Done, Vec<Row>)) -> Ran {
    match ran.0 {
        Done::Committed => transaction.commit().await?,
        Done::Refused => transaction.rollback().await?,
    }
    Ok(ran)
}

fn arguments(values: Vec<Value>) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::{Db, values};

    #[tokio::test]
    async fn a_connection_that_was_given_up_takes_no_place() {
        let database = harness::Database::postgres();
        let db = Db::open(&database.url(), 1, StoreMetrics::default()).await.unwrap();
        let sleep = "SELECT pg_sleep(60)::TEXT";
        assert!(timeout(Duration::from_millis(200), db.read(sleep, Vec::new())).await.is_err());
        timeout(ACQUIRE_TIMEOUT, db.read("SELECT 1", Vec::new())).await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(200), db.scan(sleep, Vec::new())).await.is_err());
        timeout(ACQUIRE_TIMEOUT, db.scan("SELECT 1", Vec::new())).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn refusals_leave_no_prepared_statements_behind_without_end() {
        let database = harness::Database::postgres();
        let db = Db::open(&database.url(), 3, StoreMetrics::default()).await.unwrap();
        db.migrate().await.unwrap();
        for _ in 0..400 {
            let delete = "DELETE FROM shared_keys WHERE name = $1";
            let refused = || Statement::required(delete, values!["nobody"]);
            assert_eq!(db.transact(vec![refused(), refused()]).await.unwrap(), Done::Refused);
        }
        let count = "SELECT COUNT(*) FROM pg_prepared_statements";
        let rows = db.change(count, Vec::new()).await.unwrap();
        assert!(rows[0].int(0).unwrap() < 300);
    }
}
