//! A connection that takes whatever waits for it as one message.
//!
//! What arrives while one message is under way goes with the next. Where anything in a message is
//! refused or fails, nothing of it was kept, and each request goes by itself: so none has a result that is
//! not its own. Whoever meets a lock of somebody else's steps aside.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Either};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::message::{Answer, Message, Prepared, is_blocked, is_refusal};
use super::{ACQUIRE_TIMEOUT, Aside, Done, Ran, Row, Statement, TIMEOUT};
use crate::store::StoreError;
use crate::telemetry::metrics::StoreMetrics;

/// Requests that may wait before callers wait in turn.
const QUEUE: usize = 1024;
/// Requests in one message at most.
const GROUP: usize = 64;
/// After so long without use a connection is looked at before it is trusted.
const IDLE: Duration = Duration::from_secs(1);

/// What nobody waits for any more is still given this long: to make a connection anew costs more.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Lane(mpsc::Sender<Request>);

struct Request {
    statements: Vec<Statement>,
    writes: bool,
    reply: oneshot::Sender<Ran>,
}

impl Lane {
    /// The connection is made when it is first needed.
    pub(super) fn start(options: PgConnectOptions, aside: Aside, metrics: StoreMetrics) -> Self {
        let (sender, requests) = mpsc::channel(QUEUE);
        let courier = Courier { options, aside, metrics, open: None };
        tokio::spawn(courier.serve(requests));
        Self(sender)
    }

    /// Runs all statements or none; `writes` where they change something.
    pub(super) async fn run(&self, statements: Vec<Statement>, writes: bool) -> Ran {
        let (reply, answer) = oneshot::channel();
        let request = Request { statements, writes, reply };
        self.0.send(request).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// How many requests wait for a message to take them.
    pub(super) fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    /// Waits until what was asked before has its answer.
    pub(super) async fn close(&self) {
        let _ = self.run(Vec::new(), false).await;
    }
}

/// What a request asks for.
struct Asked {
    statements: Vec<Statement>,
    writes: bool,
}

struct Courier {
    options: PgConnectOptions,
    aside: Aside,
    metrics: StoreMetrics,
    open: Option<Open>,
}

/// A connection, and what is prepared on it.
struct Open {
    connection: PgConnection,
    prepared: Prepared,
    used_at: Instant,
}

impl Courier {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group: Vec<Request> = Vec::with_capacity(GROUP);
        while requests.recv_many(&mut group, GROUP).await > 0 {
            // Nothing is asked: the answer is that it is their turn.
            while let Some(idle) = group.iter().position(|request| request.statements.is_empty()) {
                let _ = group.remove(idle).reply.send(Ok((Done::Committed, Vec::new())));
            }
            if group.is_empty() {
                continue;
            }
            let (asked, replies) = group
                .drain(..)
                .map(|request| {
                    (
                        Asked { statements: request.statements, writes: request.writes },
                        request.reply,
                    )
                })
                .unzip();
            self.attend(asked, replies).await;
        }
        if let Some(open) = self.open {
            let _ = open.connection.close().await;
        }
    }

    async fn attend(&mut self, asked: Vec<Asked>, mut replies: Vec<oneshot::Sender<Ran>>) {
        if asked.len() > 1 {
            let results = match self.send_in_time(&asked, &mut replies).await {
                Ok(results) => results,
                // Something in it did not go through, and so nothing did.
                Err(error) if is_of_database(&error) => {
                    return self.one_by_one(asked, replies).await;
                }
                // Whether it did is not known.
                Err(StoreError::Slow(time)) => {
                    asked.iter().map(|_| Err(StoreError::Slow(time))).collect()
                }
                Err(error) => {
                    let text = error.to_string();
                    asked.iter().map(|_| Err(StoreError::Group(text.clone()))).collect()
                }
            };
            for (reply, result) in replies.into_iter().zip(results) {
                let _ = reply.send(result);
            }
        } else {
            self.one_by_one(asked, replies).await;
        }
    }

    /// Each has its own time, and its answer as soon as it has ended.
    async fn one_by_one(&mut self, asked: Vec<Asked>, replies: Vec<oneshot::Sender<Ran>>) {
        let mut away: Option<String> = None;
        for (asked, mut reply) in asked.into_iter().zip(replies) {
            // Each of them would wait in vain for as long.
            if let Some(text) = &away {
                let _ = reply.send(Err(StoreError::Group(text.clone())));
                continue;
            }
            let replies = std::slice::from_mut(&mut reply);
            match self.send_in_time(std::slice::from_ref(&asked), replies).await {
                Ok(results) => {
                    let result = results.into_iter().next().unwrap_or(Err(StoreError::Closed));
                    let _ = reply.send(result);
                }
                Err(StoreError::Database(error)) if is_refusal(&error) => {
                    let _ = reply.send(Ok((Done::Refused, Vec::new())));
                }
                Err(StoreError::Database(error)) if is_blocked(&error) => {
                    self.aside.take(asked.statements, asked.writes, error, reply);
                }
                Err(error) => {
                    // That nobody waits for one says nothing of the others.
                    if !is_of_database(&error) && !reply.is_closed() {
                        away = Some(error.to_string());
                    }
                    let _ = reply.send(Err(error));
                }
            }
        }
    }

    /// What hangs is given up with its connection: it would have whoever comes next wait, too.
    async fn send_in_time(
        &mut self,
        asked: &[Asked],
        replies: &mut [oneshot::Sender<Ran>],
    ) -> Result<Vec<Ran>, StoreError> {
        tokio::select! {
            sent = timeout(TIMEOUT, self.send(asked)) => {
                sent.unwrap_or(Err(StoreError::Slow(TIMEOUT)))
            }
            () = abandoned(replies) => Err(StoreError::Slow(GRACE)),
        }
    }

    /// Sends requests as one message. On an error nothing was kept, but where the connection broke.
    async fn send(&mut self, group: &[Asked]) -> Result<Vec<Ran>, StoreError> {
        let mut open = self.connected().await?;
        let message =
            open.prepared.message(group.iter().map(|request| request.statements.as_slice()));
        let statements = group.iter().map(|request| request.statements.len()).sum();
        self.metrics.asked(1, statements);
        let answered = exchange(&mut open.connection, &message).await;
        open.prepared.sent(&message, answered.is_ok());
        open.used_at = Instant::now();
        match answered {
            Ok(answers) => {
                self.open = Some(open);
                if group.iter().any(|request| request.writes) {
                    self.metrics.committed();
                }
                Ok(message.results(answers))
            }
            Err(error) => {
                // Anything else leaves the connection in a state that nobody knows.
                if error.as_database_error().is_some_and(|error| !ends_connection(error)) {
                    self.open = Some(open);
                }
                Err(error.into())
            }
        }
    }

    /// The connection, which is put back once it has proved to be well.
    async fn connected(&mut self) -> Result<Open, StoreError> {
        if let Some(mut open) = self.open.take() {
            if open.used_at.elapsed() < IDLE {
                return Ok(open);
            }
            self.metrics.asked(1, 0);
            if open.connection.ping().await.is_ok() {
                return Ok(open);
            }
        }
        let connecting = PgConnection::connect_with(&self.options);
        let connection = timeout(ACQUIRE_TIMEOUT, connecting)
            .await
            .map_err(|_| StoreError::Database(sqlx::Error::PoolTimedOut))??;
        Ok(Open { connection, prepared: Prepared::default(), used_at: Instant::now() })
    }
}

/// Whether the database itself said so, and so kept nothing.
fn is_of_database(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Database(error) | StoreError::Conflict(error) if error.as_database_error().is_some()
    )
}

/// Whether the server said so and ends the connection: an administrator's command, a shutdown.
fn ends_connection(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
}

async fn exchange(
    connection: &mut PgConnection,
    message: &Message,
) -> Result<Vec<Answer>, sqlx::Error> {
    // Texts of statements are constants, and values are digits.
    let sql = AssertSqlSafe(message.sql.clone());
    let mut stream = sqlx::raw_sql(sql).fetch_many(connection);
    let (mut answers, mut answer) = (Vec::new(), Answer::default());
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Right(row) => answer.rows.push(Row::Postgres(row)),
            Either::Left(done) => {
                answer.changed = done.rows_affected();
                answers.push(std::mem::take(&mut answer));
            }
        }
    }
    Ok(answers)
}

/// Returns some time after the last of those who wait for the answers has gone.
async fn abandoned(replies: &mut [oneshot::Sender<Ran>]) {
    poll_fn(|context| {
        let mut waiting = false;
        for reply in replies.iter_mut() {
            waiting |= reply.poll_closed(context).is_pending();
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    tokio::time::sleep(GRACE).await;
}
