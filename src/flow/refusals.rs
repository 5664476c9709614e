//! That a client was refused is noted in the audit trail, too; but what decides nothing else costs the
//! client nothing either, so only so much of it is noted one by one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::{Context, Error};
use crate::acme::problem::{Problem, ProblemType};
use crate::clock::Timestamp;
use crate::ledger::{Actor, Entry, Kind};

/// What is counted together.
const WINDOW: Duration = Duration::from_secs(600);
/// Of all clients together, so many are noted in a window,
const NOTED: u64 = 60;
/// and of one account, or of all who have none, so many.
const NOTED_OF_ONE: u64 = 10;

/// What was refused lately.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Timestamp>,
    noted: u64,
    /// At most as many as are noted.
    by_actor: HashMap<String, u64>,
    left_out: u64,
}

impl Refusals {
    /// Whether this one is noted; and how many of a window that is over were not.
    fn admit(&self, actor: &str, now: Timestamp) -> (bool, u64) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = window.end_if_over(now);
        window.began.get_or_insert(now);
        let of_one = window.by_actor.get(actor).copied().unwrap_or(0);
        let admitted = window.noted < NOTED && of_one < NOTED_OF_ONE;
        if admitted {
            window.noted += 1;
            *window.by_actor.entry(actor.to_owned()).or_default() += 1;
        } else {
            window.left_out += 1;
        }
        (admitted, left_out)
    }

    fn over(&self, now: Timestamp) -> u64 {
        self.window.lock().unwrap_or_else(PoisonError::into_inner).end_if_over(now)
    }
}

impl Window {
    fn end_if_over(&mut self, now: Timestamp) -> u64 {
        // A clock that was set back ends it, too.
        let over = self.began.is_some_and(|began| now.since(began) >= WINDOW || now < began);
        if !over {
            return 0;
        }
        std::mem::take(self).left_out
    }
}

/// Passes on what became of a request, and notes it where the client was refused what it may not have.
pub(crate) async fn noting_refusal<T>(
    context: &Context,
    ca: &str,
    actor: Actor,
    asked: &'static str,
    done: Result<T, Error>,
) -> Result<T, Error> {
    if let Err(Error::Refused(problem)) = &done
        && is_decision(problem.kind)
        && let Err(error) = note(context, ca, actor, asked, problem).await
    {
        // Nothing was allowed, so nothing is without its entry that matters more than the answer.
        tracing::error!(%error, "a refusal could not be noted in the audit trail");
    }
    done
}

/// Notes how many refusals of a time that is over were left out.
pub(crate) async fn note_refusals_left_out(context: &Context) -> Result<(), Error> {
    let now = context.clock.now();
    note_left_out(context, context.refusals.over(now), now).await
}

async fn note_left_out(context: &Context, left_out: u64, now: Timestamp) -> Result<(), Error> {
    if left_out == 0 {
        return Ok(());
    }
    let entry =
        Entry::new(Kind::RequestsRefused, Actor::Kipuka, "left out", now).with("count", left_out);
    Ok(context.store.note_alone(&entry).await?)
}

async fn note(
    context: &Context,
    ca: &str,
    actor: Actor,
    asked: &'static str,
    problem: &Problem,
) -> Result<(), Error> {
    let now = context.clock.now();
    let (admitted, left_out) = context.refusals.admit(&actor.to_string(), now);
    note_left_out(context, left_out, now).await?;
    if !admitted {
        return Ok(());
    }
    let identifiers = problem.subproblems.iter().map(|one| one.identifier.value.clone());
    let identifiers: Vec<_> = identifiers.collect();
    let entry = Entry::new(Kind::RequestRefused, actor, asked, now)
        .ca(ca)
        .with("problem", json!(problem.kind))
        .with("detail", problem.detail.as_str())
        .with("identifiers", (!identifiers.is_empty()).then_some(identifiers));
    Ok(context.store.note_alone(&entry).await?)
}

/// Whether the problem says that somebody may not, rather than that a request was wrong.
fn is_decision(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::Unauthorized
            | ProblemType::RejectedIdentifier
            | ProblemType::ExternalAccountRequired
            | ProblemType::BadCsr
            | ProblemType::BadPublicKey
            | ProblemType::Compound
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);

    #[test]
    fn neither_one_nor_all_together_fill_the_trail() {
        let refusals = Refusals::default();
        let noted = |actor: &str, times: u64| {
            (0..times).filter(|_| refusals.admit(actor, NOW).0).count() as u64
        };
        assert_eq!(noted("account 0", 1000), NOTED_OF_ONE);
        let all: u64 = (1..1000).map(|number| noted(&format!("account {number}"), 5)).sum();
        assert_eq!(all, NOTED - NOTED_OF_ONE);
        let later = NOW.plus(WINDOW);
        let left_out = 1000 + 999 * 5 - NOTED;
        assert_eq!(refusals.admit("account 0", later), (true, left_out));
        assert_eq!(refusals.over(later), 0);
        assert_eq!(refusals.over(later.plus(WINDOW)), 0, "none was left out");
    }
}
