//! Claim, run, settle: the loop that every kind of work goes through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::Span;
use tracing::field::Empty;

use super::running::Running;
use super::{Stop, goes_on};
use crate::flow::{Context, Error, Share, SharedContext, Shares};
use crate::store::{Claim, Lease, Left, StoreError, WorkKind};

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
    /// Of which one account has so many at most: the others need not wait until its work is done, however
    /// long that takes. `None` for work that is no account's.
    pub(super) at_once_for_one: fn(&Context) -> Option<usize>,
    /// The CAs whose work had better be left to another instance, or to later.
    pub(super) not_for: fn(&Context) -> Vec<String>,
}

/// Runs `work` for each piece of work until the end is told; then what was claimed is finished, or handed
/// back, so that nobody waits for its lease to lapse.
pub(super) async fn run<F>(
    context: SharedContext,
    mut stop: Stop,
    terms: Terms,
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    work: impl Fn(SharedContext, Lease) -> F,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut running = Running::default();
    while goes_on(&stop) {
        running.forget_ended();
        // A place is free first, so that nothing is claimed that would have to wait under its lease.
        let first = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            _ = stop.changed() => continue,
        };
        let Ok(first) = first else { break };
        let free = places.available_permits() + 1;
        let leases = match claim(&context, terms, free, &shares).await {
            Ok(Claimed::Leases(leases)) => leases,
            Ok(Claimed::NothingFor(sleep)) => {
                drop(first);
                tokio::select! {
                    () = context.store.work_or_timeout(terms.kind, sleep) => {}
                    () = shares.freed() => {}
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
            let share = Share::take(&shares, lease.account_id());
            let claim = lease.claim();
            let span = span(&context, &claim, lease.attempt());
            let done = work(Arc::clone(&context), lease);
            running.begin(&context, terms.kind, span, claim, (place.ok(), share), done);
        }
    }
    running.end(&context, terms.kind, stop).await;
}

/// Inside that of the request which waits for the work, where one does.
pub(super) fn span(context: &Context, claim: &Claim, attempt: u32) -> Span {
    let (kind, cause) = (claim.kind, context.store.cause(claim));
    let span = tracing::error_span!(
        parent: cause.as_ref().and_then(Span::id),
        "work",
        work = kind.as_str(),
        attempt,
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
    span.record(subject, &*claim.subject);
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
    shares: &Shares,
) -> Result<Claimed, StoreError> {
    let store = &context.store;
    let now = context.clock.now();
    let not_for = (terms.not_for)(context);
    let not_for: Vec<&str> = not_for.iter().map(String::as_str).collect();
    let (places, not_now) = match (terms.at_once_for_one)(context) {
        None => (places, Vec::new()),
        Some(most) => shares.left(most, places),
    };
    let not_now: Vec<&str> = not_now.iter().map(String::as_str).collect();
    let left = Left { not_for: &not_for, not_now: &not_now };
    let limit = i64::try_from(places).unwrap_or(i64::MAX);
    // While there is work, nothing is asked but for work.
    let leases =
        store.claim(terms.kind, now, (terms.lease)(context), limit, left, context.entropy).await?;
    if !leases.is_empty() {
        return Ok(Claimed::Leases(leases));
    }
    Ok(Claimed::NothingFor(match store.next_due(terms.kind).await? {
        // What came in this very moment is not among what could have been claimed.
        Some(due) if due < now => NOT_NOW,
        due => due.map_or(LONGEST_SLEEP, |due| due.since(now).min(LONGEST_SLEEP)),
    }))
}
