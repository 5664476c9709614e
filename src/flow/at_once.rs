//! Work that the instance which is asked for it does at once, without a claim.
//!
//! A worker gets it with what the request knows of it, before anything is written, and writes that it is to be
//! done, with a lease, or that it is done: where the process dies under a lease, that lapses and another
//! claims the work, or the next process does. The request is told nothing before it is written.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Error;
use super::issue::Unplanned;
use super::shares::{Share, Shares};
use super::validate::Unbegun;
use crate::store::{Claim, StoreError};

/// What is done within this time has one answer, which says what came of it. A proof on the same network is
/// looked at in a few milliseconds, and few tokens take longer for a signature.
pub(super) const SOON: Duration = Duration::from_millis(50);

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

/// Has a worker begin; what it does not take any more comes back.
type Begin<K> = Box<dyn Fn(Handed<K>) -> Result<(), Handed<K>> + Send + Sync>;

/// Where the request waits: for whether it is written that the work is to be done, or is done by then.
pub(super) type Told = oneshot::Sender<Result<bool, Error>>;

/// The way to the workers of one kind; there is none before they have started.
pub(crate) struct Handover<K>(OnceLock<Way<K>>);

struct Way<K> {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    subjects: Arc<Shares>,
    begin: Begin<K>,
}

impl<K> Default for Handover<K> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K> Handover<K> {
    /// What is handed over from now on is begun in this way, as long as there are places for it.
    pub(crate) fn open(&self, places: Arc<Semaphore>, shares: Arc<Shares>, begin: Begin<K>) {
        // A second set of workers would claim its work from the list.
        let _ = self.0.set(Way { places, shares, subjects: Arc::default(), begin });
    }

    /// A place where an account's work on `subject` can be done now, if one is free, the account has fewer
    /// than `most`, and `subject` has none.
    pub(super) fn place(
        &self,
        subject: &str,
        account_id: &str,
        most: usize,
    ) -> Option<Place<'_, K>> {
        let Way { places, shares, subjects, begin } = self.0.get()?;
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        let share = Share::take_below(shares, account_id, most)?;
        let alone = Share::take_below(subjects, subject, 1)?;
        Some(Place { begin, place: (permit, share, alone) })
    }
}

/// A place that is kept for one piece of work.
pub(super) struct Place<'a, K> {
    begin: &'a Begin<K>,
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
        (self.begin)(handed).map_err(|refused| refused.known)?;
        // Without an answer it was cut off: what was written by then is handed back.
        Ok(answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into())))
    }
}

/// Does to its end what has been written down, and tells the request: with what came of it, if that is there
/// soon.
pub(super) async fn to_its_end<T>(mut working: Pin<&mut impl Future<Output = T>>, told: Told) -> T {
    let soon = tokio::time::timeout(SOON, &mut working).await;
    // The client may have gone.
    let _ = told.send(Ok(true));
    match soon {
        Ok(done) => done,
        Err(_) => working.await,
    }
}
