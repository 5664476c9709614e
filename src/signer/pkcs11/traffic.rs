//! Who makes calls in a token's sessions, so that a login meets none of them.
//!
//! Calls in several sessions are made side by side, as PKCS#11 allows. `C_Login` changes all of the
//! token's sessions at once (PKCS#11 v3.1 §5.6.8), and there are libraries that lock themselves up
//! for ever where it meets a call in one of them. So it waits until those under way have ended, and
//! no further one begins before it has ended. Neither is waited for without end: a call may hang,
//! and who waits for it would hang as well.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

use super::module::lock;

/// How long a login waits for the calls that are under way.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// How long a login keeps calls out, its own wait included.
const KEPT_OUT: Duration = Duration::from_secs(5);

/// The calls in the sessions of one library, by slot.
#[derive(Default)]
pub(super) struct Traffic {
    slots: Mutex<HashMap<Slot, Calls>>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Calls {
    under_way: usize,
    /// By a login that waits or is under way.
    kept_out_until: Option<Instant>,
}

/// A call in a session, until it is dropped.
pub(super) struct Call<'t> {
    traffic: &'t Traffic,
    slot: Slot,
}

/// `C_Login`, until it is dropped.
pub(super) struct Login<'t> {
    traffic: &'t Traffic,
    slot: Slot,
    until: Instant,
}

impl Traffic {
    /// Leave for a call in a session. Blocks while a login is to be alone.
    pub(super) fn call(&self, slot: Slot) -> Call<'_> {
        let mut slots = self.let_in(slot);
        slots.entry(slot).or_default().under_way += 1;
        Call { traffic: self, slot }
    }

    /// Leave for `C_Login`. Blocks while there are calls under way, and another login. Not to be asked
    /// for inside a call: it would wait for itself.
    pub(super) fn login(&self, slot: Slot) -> Login<'_> {
        let mut slots = self.let_in(slot);
        let until = Instant::now() + KEPT_OUT;
        slots.entry(slot).or_default().kept_out_until = Some(until);
        let waited = self.changed.wait_timeout_while(slots, UNDER_WAY, |slots| {
            slots.get(&slot).is_some_and(|calls| calls.under_way > 0)
        });
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::warn!(slot = slot.id(), "a call to the token hangs; the login does not wait");
        }
        Login { traffic: self, slot, until }
    }

    /// Once no login keeps calls out.
    fn let_in(&self, slot: Slot) -> MutexGuard<'_, HashMap<Slot, Calls>> {
        let mut slots = lock(&self.slots);
        loop {
            let until = slots.get(&slot).and_then(|calls| calls.kept_out_until);
            let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else { return slots };
            let waited = self.changed.wait_timeout(slots, left);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, slot: Slot, change: impl FnOnce(&mut Calls)) {
        let mut slots = lock(&self.slots);
        let Some(calls) = slots.get_mut(&slot) else { return };
        let waited_for = calls.kept_out_until.is_some();
        change(calls);
        if *calls == Calls::default() {
            slots.remove(&slot);
        }
        if waited_for {
            self.changed.notify_all();
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.traffic.change(self.slot, |calls| calls.under_way -= 1);
    }
}

impl Drop for Login<'_> {
    fn drop(&mut self) {
        // Where it took too long, another may keep calls out by now.
        self.traffic.change(self.slot, |calls| {
            calls.kept_out_until = calls.kept_out_until.filter(|until| *until != self.until);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn slot(id: u64) -> Slot {
        Slot::try_from(id).unwrap()
    }

    /// Does `waits` on a thread, and says when it is done.
    fn beside<'scope>(
        scope: &'scope thread::Scope<'scope, '_>,
        waits: impl FnOnce() + Send + 'scope,
    ) -> mpsc::Receiver<()> {
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || {
            waits();
            // Who waits for it may have given up.
            let _ = done.send(());
        });
        is_done
    }

    #[test]
    fn calls_are_made_side_by_side_and_a_login_waits_for_all_of_them() {
        let traffic = Traffic::default();
        thread::scope(|scope| {
            let (first, second) = (traffic.call(slot(1)), traffic.call(slot(1)));
            let login = beside(scope, || drop(traffic.login(slot(1))));
            drop(first);
            assert!(login.recv_timeout(SHORT).is_err());
            drop(second);
            login.recv().unwrap();
        });
        assert!(lock(&traffic.slots).is_empty());
    }

    #[test]
    fn calls_and_logins_wait_for_a_login_and_those_of_another_slot_do_not() {
        let traffic = Traffic::default();
        thread::scope(|scope| {
            let login = traffic.login(slot(1));
            drop(traffic.call(slot(2)));
            drop(traffic.login(slot(2)));
            let call = beside(scope, || drop(traffic.call(slot(1))));
            let other = beside(scope, || drop(traffic.login(slot(1))));
            assert!(call.recv_timeout(SHORT).is_err());
            assert!(other.recv_timeout(SHORT).is_err());
            drop(login);
            call.recv().unwrap();
            other.recv().unwrap();
        });
        assert!(lock(&traffic.slots).is_empty());
    }

    #[test]
    fn a_call_that_hangs_holds_up_a_login_for_a_while_and_a_login_that_hangs_the_calls() {
        let traffic = Traffic::default();
        let hanging = traffic.call(slot(1));
        let begun = Instant::now();
        let login = traffic.login(slot(1));
        assert!(begun.elapsed() >= UNDER_WAY);
        drop(traffic.call(slot(1)));
        assert!(begun.elapsed() >= KEPT_OUT);
        drop(hanging);
        // Its time is over: nobody waits any more.
        let later = traffic.login(slot(1));
        drop(login);
        let kept_out = lock(&traffic.slots)[&slot(1)].kept_out_until;
        assert_eq!(kept_out, Some(later.until));
        drop(later);
        assert!(lock(&traffic.slots).is_empty());
    }
}
