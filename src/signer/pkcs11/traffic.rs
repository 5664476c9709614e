//! Who makes calls in a token's sessions, so that a login meets none of them.
//!
//! Calls in several sessions are made side by side, as PKCS#11 allows. `C_Login` changes all of the
//! token's sessions at once (PKCS#11 v3.1 §5.6.8), and there are libraries that lock themselves up
//! for ever where it meets a call in one of them. So it waits until those under way have ended, and
//! no further one begins before it has ended. Neither is waited for without end: a call may hang,
//! and who waits for it would hang as well. This keeps the books; [`Module`](super::module::Module)
//! does the waiting.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

/// How long a login waits for the calls that are under way.
pub(in crate::signer) const UNDER_WAY: Duration = Duration::from_secs(2);
/// How long a login is waited for, by each call and each other login.
pub(in crate::signer) const KEPT_OUT: Duration = Duration::from_secs(5);

/// The calls in the sessions of one initialisation of a library, by slot.
#[derive(Default)]
pub(super) struct Traffic(HashMap<Slot, Calls>);

#[derive(Default)]
struct Calls {
    under_way: usize,
    /// Counts how often those under way were given up. They are not waited for again.
    given_up: u64,
    /// By a login that waits or is under way.
    kept_out_until: Option<Instant>,
}

/// A call that was begun; to be ended.
pub(super) struct Call {
    slot: Slot,
    given_up: u64,
}

/// A login that keeps calls out; to be ended.
pub(super) struct Login {
    slot: Slot,
    until: Instant,
}

impl Traffic {
    /// Until when a login keeps calls out, and other logins, if one does.
    pub(super) fn kept_out_until(&self, slot: Slot, now: Instant) -> Option<Instant> {
        let until = self.0.get(&slot)?.kept_out_until;
        until.filter(|until| *until > now)
    }

    pub(super) fn begin(&mut self, slot: Slot) -> Call {
        let calls = self.0.entry(slot).or_default();
        calls.under_way += 1;
        Call { slot, given_up: calls.given_up }
    }

    pub(super) fn end(&mut self, call: &Call) {
        if let Some(calls) = self.0.get_mut(&call.slot)
            && calls.given_up == call.given_up
        {
            calls.under_way -= 1;
        }
    }

    pub(super) fn are_under_way(&self, slot: Slot) -> bool {
        self.0.get(&slot).is_some_and(|calls| calls.under_way > 0)
    }

    /// They hang: nobody waits for them any more.
    pub(super) fn give_up(&mut self, slot: Slot) {
        let calls = self.0.entry(slot).or_default();
        calls.under_way = 0;
        calls.given_up += 1;
    }

    /// No call begins from now on.
    pub(super) fn keep_out(&mut self, slot: Slot, now: Instant) -> Login {
        let until = now + KEPT_OUT;
        self.0.entry(slot).or_default().kept_out_until = Some(until);
        Login { slot, until }
    }

    /// Calls may begin, unless it took so long that another login keeps them out.
    pub(super) fn let_in(&mut self, login: &Login) {
        if let Some(calls) = self.0.get_mut(&login.slot) {
            calls.kept_out_until = calls.kept_out_until.filter(|until| *until != login.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(id: u64) -> Slot {
        Slot::try_from(id).unwrap()
    }

    #[test]
    fn calls_are_counted_for_each_slot_until_they_end_or_are_given_up() {
        let mut traffic = Traffic::default();
        let (first, second) = (traffic.begin(slot(1)), traffic.begin(slot(1)));
        assert!(!traffic.are_under_way(slot(2)));
        traffic.end(&first);
        assert!(traffic.are_under_way(slot(1)));
        traffic.give_up(slot(1));
        assert!(!traffic.are_under_way(slot(1)));
        let third = traffic.begin(slot(1));
        // It comes back late, and is not taken for the third.
        traffic.end(&second);
        assert!(traffic.are_under_way(slot(1)));
        traffic.end(&third);
        assert!(!traffic.are_under_way(slot(1)));
    }

    #[test]
    fn a_login_keeps_calls_of_its_slot_out_until_it_ends_or_its_time_is_over() {
        let (mut traffic, now) = (Traffic::default(), Instant::now());
        let login = traffic.keep_out(slot(1), now);
        assert_eq!(traffic.kept_out_until(slot(1), now), Some(now + KEPT_OUT));
        assert_eq!(traffic.kept_out_until(slot(2), now), None);
        let later = now + KEPT_OUT;
        assert_eq!(traffic.kept_out_until(slot(1), later), None);
        let other = traffic.keep_out(slot(1), later);
        traffic.let_in(&login);
        assert_eq!(traffic.kept_out_until(slot(1), later), Some(later + KEPT_OUT));
        traffic.let_in(&other);
        assert_eq!(traffic.kept_out_until(slot(1), later), None);
    }
}
