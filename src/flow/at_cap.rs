//! Who was refused by a cap of `[limits]` lately.
//!
//! A cap is checked by the statement that would add to what it counts, which costs no round trip. On Postgres a
//! transaction that is refused so is an error in its log, and has those that were sent with it sent again, each by
//! itself. So whoever was refused is looked up by a read before the next attempt.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// How long after the last refusal; one failed transaction in that time does no harm.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Of a hundred bytes each.
const MOST: usize = 10_000;

/// Accounts by their id, and networks as they are written; no text is both.
#[derive(Default)]
pub(crate) struct AtCap(Mutex<HashMap<String, Timestamp>>);

impl AtCap {
    /// Whether this one was refused within the last minute.
    pub(super) fn was_refused(&self, who: &str, now: Timestamp) -> bool {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = refused.get(who) else { return false };
        let lately = now.since(*at) < REMEMBERED;
        if !lately {
            refused.remove(who);
        }
        lately
    }

    pub(super) fn refused(&self, who: &str, now: Timestamp) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= MOST && !refused.contains_key(who) {
            // Whichever it is: it will be remembered again at its next attempt.
            if let Some(any) = refused.keys().next().cloned() {
                refused.remove(&any);
            }
        }
        refused.insert(who.to_owned(), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_for_a_while_and_of_a_bounded_number() {
        let (at_cap, start) = (AtCap::default(), Timestamp::from_unix_s(1_800_000_000));
        at_cap.refused("one", start);
        assert!(at_cap.was_refused("one", start.plus(REMEMBERED / 2)));
        assert!(!at_cap.was_refused("two", start));
        assert!(!at_cap.was_refused("one", start.plus(REMEMBERED)));
        for number in 0..2 * MOST {
            at_cap.refused(&number.to_string(), start);
            assert!(at_cap.was_refused(&number.to_string(), start));
        }
        assert_eq!(at_cap.0.lock().unwrap().len(), MOST);
    }
}
