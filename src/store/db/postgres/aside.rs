//! Where a request goes that met a lock of somebody else's: an operator's session, an index that is built,
//! another instance. It waits on a connection of the pool, and nobody behind it.

use std::sync::Arc;

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection as _, query};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{OnLoan, Ran, Statement, TIMEOUT, apply, end};
use crate::store::StoreError;
use crate::telemetry::metrics::StoreMetrics;

/// So long a lock is waited for.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout='5s'";

#[derive(Clone)]
pub(super) struct Aside {
    pool: PgPool,
    /// Whoever finds no place fails at once: a lock must not take the pool from all others.
    places: Arc<Semaphore>,
    metrics: StoreMetrics,
}

impl Aside {
    pub(super) fn new(pool: PgPool, places: u32, metrics: StoreMetrics) -> Self {
        let places = Arc::new(Semaphore::new(places.max(1) as usize));
        Self { pool, places, metrics }
    }

    /// Runs again what `error` stopped, of which nothing was kept, and answers.
    pub(super) fn take(
        &self,
        statements: Vec<Statement>,
        writes: bool,
        error: sqlx::Error,
        reply: oneshot::Sender<Ran>,
    ) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let _ = reply.send(Err(error.into()));
            return;
        };
        let aside = self.clone();
        tokio::spawn(async move {
            let ran = aside.run(statements, writes).await;
            drop(place);
            let _ = reply.send(ran);
        });
    }

    async fn run(&self, statements: Vec<Statement>, writes: bool) -> Ran {
        let waiting = self.metrics.waiting();
        let mut loan = OnLoan { connection: self.pool.acquire().await?, ended: false };
        drop(waiting);
        let count = statements.len();
        // BEGIN, the timeout, COMMIT.
        self.metrics.asked(count + 3, count);
        let ran = timeout(TIMEOUT, patiently(&mut loan.connection, statements))
            .await
            .map_err(|_| StoreError::Slow(TIMEOUT))?;
        loan.ended = true;
        if writes && ran.is_ok() {
            self.metrics.committed();
        }
        ran
    }
}

async fn patiently(connection: &mut PgConnection, statements: Vec<Statement>) -> Ran {
    let mut transaction = connection.begin().await?;
    query(LOCK_TIMEOUT).execute(&mut *transaction).await?;
    let ran = apply(&mut transaction, statements).await?;
    end(transaction, ran).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::store::db::postgres::message::is_blocked;
    use crate::store::db::{Db, Done, values};

    fn insert(name: &str) -> Vec<Statement> {
        let sql = "INSERT INTO shared_keys (name, value) VALUES ($1, $2)";
        vec![Statement::new(sql, values![name, name.as_bytes()])]
    }

    fn update(name: &str) -> Vec<Statement> {
        let sql = "UPDATE shared_keys SET value = $2 WHERE name = $1";
        let required = || Statement::required(sql, values![name, &b"new"[..]]);
        vec![required(), required()]
    }

    #[tokio::test]
    async fn a_lock_of_somebody_else_holds_up_only_who_needs_it() {
        let database = harness::Database::postgres();
        // One place aside.
        let db = Db::open(&database.url(), 1, StoreMetrics::default()).await.unwrap();
        db.migrate().await.unwrap();
        db.transact(insert("held")).await.unwrap();
        let mut other = PgConnection::connect(&database.url()).await.unwrap();
        let mut holder = other.begin().await.unwrap();
        let hold = "UPDATE shared_keys SET value = 'old' WHERE name = 'held'";
        query(hold).execute(&mut *holder).await.unwrap();

        let blocked = tokio::spawn({
            let db = db.clone();
            async move { db.transact(update("held")).await }
        });
        let others: Vec<_> = (0..40).map(|number| insert(&format!("free-{number}"))).collect();
        let others = join_all(others.into_iter().map(|statements| db.transact(statements)));
        for done in timeout(Duration::from_secs(4), others).await.unwrap() {
            assert_eq!(done.unwrap(), Done::Committed);
        }
        // The place is taken: who comes next is told at once to come again.
        let next = timeout(Duration::from_secs(4), db.transact(update("held"))).await.unwrap();
        assert!(matches!(&next, Err(StoreError::Database(error)) if is_blocked(error)), "{next:?}");
        assert!(!blocked.is_finished());

        holder.commit().await.unwrap();
        assert_eq!(blocked.await.unwrap().unwrap(), Done::Committed);
        assert_eq!(db.transact(update("held")).await.unwrap(), Done::Committed);
    }

    #[tokio::test]
    async fn who_waits_for_a_lock_in_vain_is_told_and_leaves_nothing() {
        let database = harness::Database::postgres();
        let db = Db::open(&database.url(), 3, StoreMetrics::default()).await.unwrap();
        db.migrate().await.unwrap();
        db.transact(insert("held")).await.unwrap();
        let mut other = PgConnection::connect(&database.url()).await.unwrap();
        let mut holder = other.begin().await.unwrap();
        let hold = "DELETE FROM shared_keys WHERE name = 'held'";
        query(hold).execute(&mut *holder).await.unwrap();

        let mut statements = insert("before");
        statements.extend(update("held"));
        let ended = db.transact(statements).await;
        assert!(
            matches!(&ended, Err(StoreError::Database(error)) if is_blocked(error)),
            "{ended:?}"
        );
        holder.commit().await.unwrap();
        assert_eq!(db.transact(insert("before")).await.unwrap(), Done::Committed);
        assert_eq!(db.transact(update("held")).await.unwrap(), Done::Refused);
    }
}
