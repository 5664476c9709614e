//! Claim, run, settle: the loop that every kind of work goes through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::{Phase, Stop, goes_on};
use crate::flow::{Context, Error, SharedContext};
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
    pub(super) at_once: usize,
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
    work: impl Fn(SharedContext, Lease) -> F,
) where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(terms.at_once));
    let shares = Arc::new(Shares::default());
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
        let free = places.available_permits() + 1;
        let leases = match claim(&context, terms, free, &shares).await {
            Ok(Claimed::Leases(leases)) => leases,
            Ok(Claimed::NothingFor(sleep)) => {
                drop(first);
                tokio::select! {
                    () = context.store.work_or_timeout(terms.kind, sleep) => {}
                    () = shares.freed.notified() => {}
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
                drop((place, share));
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

/// How many places each account has.
#[derive(Default)]
struct Shares {
    taken: Mutex<Taken>,
    /// Called where a place is given back and work was left for the want of it.
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    by_account: HashMap<String, usize>,
    /// Whether the last claim left the work of an account.
    left_some: bool,
}

impl Shares {
    /// How many of `places` a claim may fill so that no account gets more than `most`, and which accounts
    /// have that many already.
    fn left(&self, most: usize, places: usize) -> (usize, Vec<String>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut largest, mut full) = (0, Vec::new());
        for (account, count) in &taken.by_account {
            if *count >= most {
                full.push(account.clone());
            } else {
                largest = largest.max(*count);
            }
        }
        taken.left_some = !full.is_empty();
        (places.min(most - largest), full)
    }
}

/// One of an account's places, until this is dropped.
struct Share {
    shares: Arc<Shares>,
    account_id: String,
}

impl Share {
    fn take(shares: &Arc<Shares>, account_id: &str) -> Self {
        let mut taken = shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken.by_account.entry(account_id.to_owned()).or_default() += 1;
        Self { shares: Arc::clone(shares), account_id: account_id.to_owned() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.by_account.get_mut(&self.account_id) {
            *count -= 1;
            if *count == 0 {
                taken.by_account.remove(&self.account_id);
            }
        }
        if std::mem::take(&mut taken.left_some) {
            self.shares.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_gets_more_places_than_its_share() {
        let shares = Arc::new(Shares::default());
        assert_eq!(shares.left(3, 10), (3, Vec::new()));
        let one: Vec<_> = (0..2).map(|_| Share::take(&shares, "one")).collect();
        assert_eq!(shares.left(3, 10), (1, Vec::new()));
        let more = Share::take(&shares, "one");
        assert_eq!(shares.left(3, 10), (3, vec!["one".to_owned()]));
        let _two = Share::take(&shares, "two");
        assert_eq!(shares.left(3, 10), (2, vec!["one".to_owned()]));
        assert_eq!(shares.left(3, 1), (1, vec!["one".to_owned()]));
        drop((one, more));
        assert_eq!(shares.left(3, 10), (2, Vec::new()));
        // By a reload they may have fewer than they have already.
        assert_eq!(shares.left(1, 10), (1, vec!["two".to_owned()]));
    }
}
