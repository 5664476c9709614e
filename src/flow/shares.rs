//! Each account gets its share of the places where work is done, and no more. What is worked on counts in the
//! same way: it has one place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// How many places each account, or each subject of work, has.
#[derive(Default)]
pub(crate) struct Shares {
    taken: Mutex<Taken>,
    /// Called where a place is given back and work was left for the want of it.
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    by_holder: HashMap<String, usize>,
    /// Whether the last claim left the work of an account.
    left_some: bool,
}

impl Shares {
    /// How many of `places` a claim may fill so that no account gets more than `most`, and which accounts
    /// have that many already.
    pub(crate) fn left(&self, most: usize, places: usize) -> (usize, Vec<String>) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut largest, mut full) = (0, Vec::new());
        for (account, count) in &taken.by_holder {
            if *count >= most {
                full.push(account.clone());
            } else {
                largest = largest.max(*count);
            }
        }
        taken.left_some = !full.is_empty();
        (places.min(most - largest), full)
    }

    /// Whether the holder has a place.
    pub(super) fn holds(&self, holder: &str) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.by_holder.contains_key(holder)
    }

    /// Returns when a place was given back for the want of which work was left.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }
}

/// One of the holder's places, until this is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    holder: String,
}

impl Share {
    pub(crate) fn take(shares: &Arc<Shares>, account_id: &str) -> Self {
        let mut taken = shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken.by_holder.entry(account_id.to_owned()).or_default() += 1;
        Self::of(shares, account_id)
    }

    /// One of the holder's places, if it has fewer than `most`.
    pub(super) fn take_below(shares: &Arc<Shares>, holder: &str, most: usize) -> Option<Self> {
        let mut taken = shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.by_holder.get(holder).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.by_holder.insert(holder.to_owned(), count + 1);
        Some(Self::of(shares, holder))
    }

    fn of(shares: &Arc<Shares>, holder: &str) -> Self {
        Self { shares: Arc::clone(shares), holder: holder.to_owned() }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.by_holder.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.by_holder.remove(&self.holder);
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
