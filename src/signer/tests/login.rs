//! Calls in sessions and logins keep out of each other's way, and wait for none that hangs. No call is
//! made here: it is about who is let in.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::slot::Slot;

use super::backend::{library, token_tests};
use crate::signer::pkcs11::module::Module;
use crate::signer::pkcs11::traffic::{KEPT_OUT, UNDER_WAY};

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

token_tests! {
    fn calls_are_made_side_by_side_and_a_login_waits_for_all_of_them() {
        let module = Module::load(&library()).unwrap();
        let call = || module.enter_session(slot(1), 1).unwrap();
        thread::scope(|scope| {
            let (first, second) = (call(), call());
            let login = beside(scope, || drop(module.enter_login(slot(1), 1).unwrap()));
            drop(first);
            assert!(login.recv_timeout(SHORT).is_err());
            drop(second);
            login.recv().unwrap();
        });
    }

    fn calls_and_logins_wait_for_a_login_and_those_of_another_slot_do_not() {
        let module = Module::load(&library()).unwrap();
        let call = |id| drop(module.enter_session(slot(id), 1).unwrap());
        let log_in = |id| drop(module.enter_login(slot(id), 1).unwrap());
        thread::scope(|scope| {
            let login = module.enter_login(slot(1), 1).unwrap();
            call(2);
            log_in(2);
            drop(module.enter().unwrap());
            let waiting = [beside(scope, || call(1)), beside(scope, || log_in(1))];
            for one in &waiting {
                assert!(one.recv_timeout(SHORT).is_err());
            }
            drop(login);
            for one in waiting {
                one.recv().unwrap();
            }
        });
    }

    fn a_call_that_hangs_holds_up_one_login_for_a_while_and_a_login_that_hangs_the_calls() {
        let module = Module::load(&library()).unwrap();
        let begun = Instant::now();
        let hanging_call = module.enter_session(slot(1), 1).unwrap();
        let hanging_login = module.enter_login(slot(1), 1).unwrap();
        assert!(begun.elapsed() >= UNDER_WAY);
        drop(module.enter_session(slot(1), 1).unwrap());
        assert!(begun.elapsed() >= KEPT_OUT);
        // From here on nobody waits for either of them.
        let then = Instant::now();
        drop(module.enter_login(slot(1), 1).unwrap());
        drop(module.enter_session(slot(1), 1).unwrap());
        assert!(then.elapsed() < UNDER_WAY, "{:?}", then.elapsed());
        drop((hanging_login, hanging_call));
    }

    fn what_is_of_an_earlier_initialisation_is_not_let_in_and_waits_for_nobody() {
        let module = Module::load(&library()).unwrap();
        let login = module.enter_login(slot(1), 1).unwrap();
        let then = Instant::now();
        assert!(module.enter_session(slot(1), 0).is_err());
        assert!(module.enter_login(slot(1), 0).is_err());
        assert!(then.elapsed() < KEPT_OUT, "{:?}", then.elapsed());
        drop(login);
    }
}
