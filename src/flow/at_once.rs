//! Work that the instance which is asked for it does at once, without a claim.
//!
//! A certificate is planned under a lease all the same: where the process dies, the lease lapses and another
//! claims it, or the next process does. Of a validation nothing is written, and nobody told, before it has
//! ended or has taken its time; then there is a lease, too.

use std::sync::{Arc, OnceLock};

use super::issue::Planned;
use super::shares::{Share, Shares};
use super::validate::Unbegun;
use crate::store::Claim;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What flows hand to this instance's workers.
#[derive(Default)]
pub(crate) struct AtOnce {
    pub(crate) validations: Handover<Unbegun>,
    pub(crate) issuances: Handover<Planned>,
}

/// Work with what is known of it, as a worker would read it from the store.
pub(crate) struct Handed<K> {
    pub(crate) known: K,
    /// By which it is handed back where it is cut off.
    pub(crate) claim: Claim,
    /// Free again when this is dropped.
    pub(crate) place: Taken,
}

/// A place, one of an account's, and the only one of the work's subject.
type Taken = (OwnedSemaphorePermit, Share, Share);

/// The way to the workers of one kind; there is none before they have started.
pub(crate) struct Handover<K>(OnceLock<Way<K>>);

struct Way<K> {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    subjects: Arc<Shares>,
    sender: mpsc::UnboundedSender<Handed<K>>,
}

impl<K> Default for Handover<K> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K> Handover<K> {
    /// What is handed over from now on comes out here, as long as there are places for it.
    pub(crate) fn open(
        &self,
        places: Arc<Semaphore>,
        shares: Arc<Shares>,
    ) -> mpsc::UnboundedReceiver<Handed<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // A second set of workers would claim its work from the list.
        let _ = self.0.set(Way { places, shares, subjects: Arc::default(), sender });
        receiver
    }

    /// A place where an account's work on `subject` can be done now, if one is free, the account has fewer
    /// than `most`, and `subject` has none.
    pub(super) fn place(&self, subject: &str, account_id: &str, most: usize) -> Option<Place<K>> {
        let Way { places, shares, subjects, sender } = self.0.get()?;
        if sender.is_closed() {
            return None;
        }
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        let share = Share::take_below(shares, account_id, most)?;
        let alone = Share::take_below(subjects, subject, 1)?;
        Some(Place { sender: sender.clone(), place: (permit, share, alone) })
    }
}

/// A place that is kept for one piece of work.
pub(crate) struct Place<K> {
    sender: mpsc::UnboundedSender<Handed<K>>,
    place: Taken,
}

impl<K> Place<K> {
    /// Has the work done; it comes back where the workers have just stopped.
    pub(crate) fn hand_over(self, claim: Claim, known: K) -> Result<(), K> {
        let handed = Handed { known, claim, place: self.place };
        self.sender.send(handed).map_err(|refused| refused.0.known)
    }
}
