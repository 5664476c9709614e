//! Work that the instance which is asked for it does at once, without a claim.
//!
//! It is kept under a lease all the same: where the process dies, the lease lapses and another claims it,
//! or the next process does.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Instrument as _;

use super::Error;
use super::shares::{Share, Shares};
use crate::store::{Lease, PlannedCertificate, ToValidate};
use crate::x509::algorithm::PublicKey;

/// What flows hand to this instance's workers.
#[derive(Default)]
pub(crate) struct AtOnce {
    pub(crate) validations: Handover<ToValidate>,
    /// With the key of its CSR.
    pub(crate) issuances: Handover<(PlannedCertificate, PublicKey)>,
}

/// Leased work with what is known of it, as a worker would read it from the store.
pub(crate) struct Handed<K> {
    pub(crate) lease: Lease,
    pub(crate) known: K,
    /// Free again when this is dropped.
    pub(crate) place: (OwnedSemaphorePermit, Share),
}

/// The way to the workers of one kind; there is none before they have started.
pub(crate) struct Handover<K>(OnceLock<Way<K>>);

struct Way<K> {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
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
        let _ = self.0.set(Way { places, shares, sender });
        receiver
    }

    /// A place where a piece of work of an account can be done now, if one is free and the account has
    /// fewer than `most`.
    pub(crate) fn place(&self, account_id: &str, most: usize) -> Option<Place<K>> {
        let Way { places, shares, sender } = self.0.get()?;
        if sender.is_closed() {
            return None;
        }
        let permit = Arc::clone(places).try_acquire_owned().ok()?;
        let share = Share::take_below(shares, account_id, most)?;
        Some(Place { sender: sender.clone(), place: (permit, share) })
    }
}

/// Keeps work and hands it over, be it that the client goes away meanwhile: between the two
/// nobody else would do it before the lease lapses. `false` where it was not kept.
pub(super) async fn to_its_end(
    taking_on: impl Future<Output = Result<bool, Error>> + Send + 'static,
) -> Result<bool, Error> {
    tokio::spawn(taking_on.in_current_span())
        .await
        .map_err(|error| Error::Failed(error.to_string()))?
}

/// A place that is kept for one piece of work.
pub(crate) struct Place<K> {
    sender: mpsc::UnboundedSender<Handed<K>>,
    place: (OwnedSemaphorePermit, Share),
}

impl<K> Place<K> {
    /// Has the work done; the lease comes back where the workers have just stopped.
    pub(crate) fn hand_over(self, lease: Lease, known: K) -> Option<Lease> {
        let handed = Handed { lease, known, place: self.place };
        self.sender.send(handed).err().map(|refused| refused.0.lease)
    }
}
