//! How often an account may change what it has: each change is an entry in the audit trail for good, and
//! costs the client nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Context;
use crate::acme::problem::{Problem, ProblemType};
use crate::clock::Timestamp;

const WINDOW: Duration = Duration::from_secs(3600);
/// Accounts that are remembered at most.
const MAX_ACCOUNTS: usize = 100_000;

/// What an account changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Change {
    /// Its contacts, its agreement, its key.
    Account,
    /// That it holds an authorization. Clients give up all that they have for an order that failed.
    Authorization,
}

impl Change {
    fn most(self) -> u32 {
        match self {
            Self::Account => 60,
            Self::Authorization => 2000,
        }
    }
}

/// What was changed within the hour, in this instance.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Timestamp>,
    counts: HashMap<(Change, String), u32>,
}

impl Changes {
    /// Counts a change; how long until the next one where that was one too many.
    fn take(&self, change: Change, account: &str, now: Timestamp) -> Result<(), Duration> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back ends it, too.
        let over = window.began.is_some_and(|began| now.since(began) >= WINDOW || now < began);
        if over || window.counts.len() >= MAX_ACCOUNTS {
            *window = Window::default();
        }
        let ends = window.began.get_or_insert(now).plus(WINDOW);
        let count = window.counts.entry((change, account.to_owned())).or_default();
        if *count >= change.most() {
            return Err(ends.since(now));
        }
        *count += 1;
        Ok(())
    }
}

/// Counts a change that is about to be made.
///
/// # Errors
/// The account has made as many as it may.
pub(super) fn count_change(
    context: &Context,
    change: Change,
    account: &str,
) -> Result<(), Problem> {
    context.changes.take(change, account, context.clock.now()).map_err(|wait| {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX);
        let most = change.most();
        let detail = format!(
            "the account has made {most} such changes within an hour, and that is the limit here; \
             try again in {seconds} s"
        );
        Problem { retry_after_s: Some(seconds), ..Problem::new(ProblemType::RateLimited, detail) }
    })
}
