//! Claim, run, settle: the loop that every kind of work goes through.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::{Phase, Stop, goes_on};
use crate::flow::{Context, Error, SharedContext};
use crate::store::{Claim, Lease, StoreError, WorkKind};

/// How long to sleep at most: another instance may have put work on the list.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long to wait where what is due cannot be done now. It bounds how late issuance goes on once a
/// token is back.
const NOT_NOW: Duration = Duration::from_millis(200);
/// How long to leave a database alone that just failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How a kind of work is done.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) kind: WorkKind,
    /// Longer than one attempt can take: after this, another worker may take the work.
    pub(super) lease: fn(&Context) -> Duration,
    pub(super) at_once: usize,
    /// The CAs whose work had better be left to another instance, or to later.
    pub(super) not_for: fn(&Context) -> Vec<String>,
}

/// Runs `work` for each piece of work until the end is told; then what was claimed is finished, or handed
/// back, so that nobody waits for its lease to lapse.
pub(super) async fn run<F>(
    context: SharedContext,
    mut stop: Stop,
    terms: Terms,
    work: impl Fn(SharedContext, Lease) -> F,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(terms.at_once));
    let mut running = Running::default();
    while goes_on(&stop) {
        while let Some(ended) = running.tasks.try_join_next_with_id() {
            running.forget(&ended);
        }
        // A place is free first, so that nothing is claimed that would have to wait under its lease.
        let first = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.changed() => continue,
        };
        let Ok(first) = first else { break };
        let leases = match claim(&context, terms, places.available_permits() + 1).await {
            Ok(Claimed::Leases(leases)) => leases,
            Ok(Claimed::NothingFor(sleep)) => {
                drop(first);
                tokio::select! {
                    () = context.store.work_or_timeout(terms.kind, sleep) => {}
                    _ = stop.changed() => {}
                }
                continue;
            }
            Err(error) => {
                tracing::error!(work = terms.kind.as_str(), %error, "work cannot be claimed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let mut first = Some(first);
        for lease in leases {
            let place = match first.take() {
                Some(place) => Ok(place),
                None => Arc::clone(&places).acquire_owned().await,
            };
            let span = span(&context, terms.kind, &lease);
            let claim = lease.claim();
            let done = work(Arc::clone(&context), lease);
            let counted = Arc::clone(&context);
            let run = async move {
                let began = Instant::now();
                let done = done.await;
                let kind = terms.kind.as_str();
                let elapsed = began.elapsed();
                counted.metrics.work.attempted(kind, elapsed, done.is_err());
                let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(failed = done.is_err(), elapsed_ms, "work ended");
                if let Err(error) = done {
                    // The lease lapses, and the work is claimed again.
                    tracing::error!(%error, "work failed");
                }
                drop(place);
            };
            let task = running.tasks.spawn(run.instrument(span));
            running.claims.insert(task.id(), claim);
        }
    }
    tokio::select! {
        () = running.finish() => return,
        _ = stop.wait_for(|phase| *phase == Phase::Ending) => {}
    }
    running.tasks.shutdown().await;
    if running.claims.is_empty() {
        return;
    }
    let (kind, left) = (terms.kind.as_str(), running.claims.len());
    match context.store.hand_back(running.claims.into_values(), context.clock.now()).await {
        Ok(()) => tracing::warn!(work = kind, left, "work was cut off and handed back"),
        Err(error) => {
            tracing::error!(work = kind, left, %error, "work was cut off; its leases will lapse");
        }
    }
}

/// What is under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    claims: HashMap<Id, Claim>,
}

impl Running {
    fn forget(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.claims.remove(&id);
    }

    async fn finish(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.forget(&ended);
        }
    }
}

/// Inside that of the request which waits for the work, where one does.
fn span(context: &Context, kind: WorkKind, lease: &Lease) -> Span {
    let cause = context.store.cause(lease);
    let span = tracing::error_span!(
        parent: cause.as_ref().and_then(Span::id),
        "work",
        work = kind.as_str(),
        attempt = lease.attempt(),
        ca.id = Empty,
        account.id = Empty,
        order.id = Empty,
        authorization.id = Empty,
        challenge.id = Empty,
        issuer = Empty,
        serial = Empty,
        otel.name = kind.as_str(),
    );
    let subject = match kind {
        WorkKind::Validation => "challenge.id",
        WorkKind::Issuance => "order.id",
        WorkKind::Crl => "issuer",
    };
    span.record(subject, lease.subject());
    span
}

/// What a look at the list came to.
enum Claimed {
    Leases(Vec<Lease>),
    /// Nothing is due for this long, unless new work comes.
    NothingFor(Duration),
}

async fn claim(
    context: &SharedContext,
    terms: Terms,
    places: usize,
) -> Result<Claimed, StoreError> {
    let store = &context.store;
    let now = context.clock.now();
    let not_for = (terms.not_for)(context);
    let not_for: Vec<&str> = not_for.iter().map(String::as_str).collect();
    let limit = i64::try_from(places).unwrap_or(i64::MAX);
    // While there is work, nothing is asked but for work.
    let leases = store
        .claim(terms.kind, now, (terms.lease)(context), limit, &not_for, context.entropy)
        .await?;
    if !leases.is_empty() {
        return Ok(Claimed::Leases(leases));
    }
    Ok(Claimed::NothingFor(match store.next_due(terms.kind).await? {
        // What came in this very moment is not among what could have been claimed.
        Some(due) if due < now => NOT_NOW,
        due => due.map_or(LONGEST_SLEEP, |due| due.since(now).min(LONGEST_SLEEP)),
    }))
}
