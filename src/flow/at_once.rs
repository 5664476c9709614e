//! Work that the instance which is asked for it does at once, without a claim.
//!
//! A worker gets it with what the request knows of it, before anything is written, and writes that it is to be
//! done, with a lease, or that it is done: where the process dies under a lease, that lapses and another
//! claims the work, or the next process does. The request is told nothing before it is written.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::Error;
use super::issue::Unplanned;
use super::shares::{Share, Shares};
use super::validate::Unbegun;
use crate::store::{Claim, StoreError};

/// How long nothing is done at once after something could not be written: what goes by the list writes
/// first, so that nobody has kipuka look for proofs of which nothing is kept.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at whether a subject is free again.
const LOOK: Duration = Duration::from_millis(10);

/// What flows hand to this instance's workers.
#[derive(Default)]
pub(crate) struct AtOnce {
    pub(crate) validations: Handover<Unbegun>,
    pub(crate) issuances: Handover<Unplanned>,
}

/// Work with what is known of it.
pub(crate) struct Handed<K> {
    pub(crate) known: K,
    /// By which it is handed back where it is cut off.
    pub(crate) claim: Claim,
    /// Free again when this is dropped.
    pub(crate) place: Taken,
}

/// A place, one of an account's, and the only one of the work's subject.
type Taken = (OwnedSemaphorePermit, Share, Share);

/// How a worker takes what is handed over; what it does not take any more comes back.
type Take<K> = Box<dyn Fn(Handed<K>) -> Option<Handed<K>> + Send + Sync>;

/// Where the request waits: for whether it is written that the work is to be done, or is done by then.
pub(super) type Told = oneshot::Sender<Result<bool, Error>>;

/// The way to the workers of one kind; there is none before they have started.
pub(crate) struct Handover<K> {
    way: OnceLock<Way<K>>,
    paused_until: Mutex<Option<Instant>>,
}

struct Way<K> {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    subjects: Arc<Shares>,
    take: Take<K>,
}

/// Why there is no place.
pub(super) enum NoPlace {
    /// This very work is being done.
    Busy,
    /// For this or that reason it goes on the list.
    List,
}

impl<K> Default for Handover<K> {
    fn default() -> Self {
        Self { way: OnceLock::new(), paused_until: Mutex::default() }
    }
}

impl<K> Handover<K> {
    /// What is handed over from now on is taken in this way, as long as there are places for it.
    pub(crate) fn open(&self, places: Arc<Semaphore>, shares: Arc<Shares>, take: Take<K>) {
        // A second set of workers would claim its work from the list.
        let _ = self.way.set(Way { places, shares, subjects: Arc::default(), take });
    }

    /// A place where an account's work on `subject` can be done now, if one is free, the account has fewer
    /// than `most`, and `subject` has none.
    pub(super) fn place(
        &self,
        subject: &str,
        account_id: &str,
        most: usize,
    ) -> Result<Place<'_, K>, NoPlace> {
        let Way { places, shares, subjects, take } = self.way.get().ok_or(NoPlace::List)?;
        if self.paused_until().is_some_and(|until| Instant::now() < until) {
            return Err(NoPlace::List);
        }
        let alone = Share::take_below(subjects, subject, 1).ok_or(NoPlace::Busy)?;
        let permit = Arc::clone(places).try_acquire_owned().map_err(|_| NoPlace::List)?;
        let share = Share::take_below(shares, account_id, most).ok_or(NoPlace::List)?;
        Ok(Place { take, place: (permit, share, alone) })
    }

    /// Waits until `subject` is free again, but no longer than `most`.
    pub(super) async fn until_free(&self, subject: &str, most: Duration) {
        let end = Instant::now() + most;
        while Instant::now() < end {
            let busy = self.way.get().is_some_and(|way| way.subjects.holds(subject));
            if !busy {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Something could not be written.
    pub(super) fn pause(&self) {
        *self.paused_until() = Some(Instant::now() + PAUSE);
    }

    fn paused_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is kept for one piece of work.
pub(super) struct Place<'a, K> {
    take: &'a Take<K>,
    place: Taken,
}

impl<K> Place<'_, K> {
    /// Has the work done, be it that the request goes away meanwhile. Returns whether it is written that it
    /// is to be done, or gives it back where the workers have just stopped.
    pub(super) async fn hand_over(
        self,
        claim: Claim,
        known: impl FnOnce(Told) -> K,
    ) -> Result<Result<bool, Error>, K> {
        let (told, answer) = oneshot::channel();
        let handed = Handed { known: known(told), claim, place: self.place };
        if let Some(refused) = (self.take)(handed) {
            return Err(refused.known);
        }
        // Cut off: what was written of it is handed back, and done by whoever claims it.
        Ok(answer.await.unwrap_or(Err(Error::CutOff)))
    }
}

/// Does to its end what has been written down, and tells the request: with what came of it, if that is there
/// soon.
pub(super) async fn to_its_end<T>(
    mut working: Pin<&mut impl Future<Output = T>>,
    soon: Duration,
    told: Told,
) -> T {
    let written = Written(Some(told));
    let early = tokio::time::timeout(soon, &mut working).await;
    drop(written);
    match early {
        Ok(done) => done,
        Err(_) => working.await,
    }
}

/// Whatever becomes of the work, it is written.
struct Written(Option<Told>);

impl Drop for Written {
    fn drop(&mut self) {
        // The client may have gone.
        let _ = self.0.take().map(|told| told.send(Ok(true)));
    }
}

/// Tells the request why nothing was written. The work has failed all the same, which is counted; who asked
/// may have gone.
pub(super) fn nothing_written(told: Told, error: StoreError) -> Error {
    let failed = Error::Failed(format!("nothing was written: {error}"));
    let _ = told.send(Err(error.into()));
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 2;

    fn open() -> Handover<()> {
        let handover = Handover::default();
        let places = Arc::new(Semaphore::new(ALL));
        handover.open(places, Arc::default(), Box::new(|_| None));
        handover
    }

    #[test]
    fn nothing_is_done_at_once_for_a_while_after_something_could_not_be_written() {
        let handover = open();
        assert!(handover.place("subject", "account", ALL).is_ok());
        handover.pause();
        assert!(matches!(handover.place("subject", "account", ALL), Err(NoPlace::List)));
        assert!(handover.paused_until().is_some_and(|until| until > Instant::now() + PAUSE / 2));
        *handover.paused_until() = Some(Instant::now());
        assert!(handover.place("subject", "account", ALL).is_ok());
    }

    #[tokio::test]
    async fn a_subject_has_one_place_at_a_time_and_an_account_so_many() {
        let handover = open();
        let first = handover.place("one", "account", 1);
        assert!(matches!(handover.place("one", "another", 1), Err(NoPlace::Busy)));
        assert!(matches!(handover.place("two", "account", 1), Err(NoPlace::List)));
        let second = handover.place("two", "another", 1);
        assert!(
            matches!(handover.place("three", "a third", 1), Err(NoPlace::List)),
            "no more places"
        );
        // It is not free, and nobody waits for ever.
        handover.until_free("one", LOOK).await;
        let free = handover.until_free("one", Duration::from_secs(3600));
        tokio::join!(free, async { drop((first, second)) });
        for subject in ["one", "two", "three"] {
            assert!(handover.place(subject, "account", 1).is_ok(), "{subject}");
        }
    }
}
