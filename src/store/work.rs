//! Work that outlives the process: claimed under a lease, settled once.
//!
//! Killed between claim and settlement, the lease lapses and the next claim takes the work again.
//! Whoever lost a lease can no longer settle: its token is not the one in the row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::Span;

use super::db::{Done, Statement, values};
use super::{Store, StoreError, in_hand};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::telemetry::metrics::WorkFigures;

/// When a waiter first looks for a settlement by another instance: later than those of this process
/// take for the most part, which it is told of. The pauses between further looks double.
const FIRST_LOOK: Duration = Duration::from_millis(100);
/// Between two looks, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Further ahead no work is due: leases and pauses are of minutes.
const FURTHEST: Duration = Duration::from_secs(3600);

/// What is to be done; the subject is the id of what it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WorkKind {
    /// Of a challenge.
    Validation,
    /// Of an order.
    Issuance,
    /// Of a CRL issuer, by the hash of its name.
    Crl,
}

impl WorkKind {
    pub(crate) const ALL: [Self; 3] = [Self::Validation, Self::Issuance, Self::Crl];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Issuance => "issuance",
            Self::Crl => "crl",
        }
    }
}

/// The right to settle one piece of work, for one attempt; consumed by settling it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) kind: WorkKind,
    pub(super) subject: String,
    /// Whose work it is; empty where it is no account's.
    account_id: String,
    token: String,
    attempt: u32,
    /// How often the work had been asked for anew when it was claimed.
    asked: i64,
    /// Whether the work is in hand and not on the list.
    in_hand: bool,
}

impl Lease {
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The account that the work is done for; empty where it is none.
    pub(crate) fn account_id(&self) -> &str {
        &self.account_id
    }

    /// What it takes to hand the work back, for whoever may have to cut it off.
    pub(crate) fn claim(&self) -> Claim {
        let (subject, token) = (self.subject.clone(), self.token.clone());
        Claim { kind: self.kind, subject, token, in_hand: self.in_hand }
    }

    /// 1 for the first.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether somebody asked for the work since it was put on the list, rather than the clock.
    pub(crate) fn was_asked_for(&self) -> bool {
        self.asked > 0
    }

    /// The work is done; undoes the transaction where the lease was lost.
    pub(super) fn settle(&self) -> Statement {
        if self.in_hand {
            return in_hand::settle(self.kind, &self.subject, &self.token);
        }
        let delete = "DELETE FROM work WHERE kind = $1 AND subject = $2 AND lease = $3";
        Statement::required(
            delete,
            values![self.kind.as_str(), self.subject.as_str(), self.token.as_str()],
        )
    }

    /// Has the work claimed again from `due_at` on; undoes the transaction where the lease was lost.
    pub(super) fn give_back(&self, due_at: Timestamp) -> Vec<Statement> {
        let (kind, subject, token) = (self.kind, self.subject.as_str(), self.token.as_str());
        if self.in_hand {
            return in_hand::give_back(kind, subject, token, due_at).into();
        }
        let update = "UPDATE work SET due_at = $4, lease = NULL \
                      WHERE kind = $1 AND subject = $2 AND lease = $3";
        vec![Statement::required(update, values![kind.as_str(), subject, token, due_at])]
    }

    /// Undoes the transaction where the lease was lost; else whoever asks for the work anew waits for
    /// the transaction's end.
    pub(super) fn hold(&self) -> Statement {
        let touch = "UPDATE work SET lease = $3 WHERE kind = $1 AND subject = $2 AND lease = $3";
        Statement::required(
            touch,
            values![self.kind.as_str(), self.subject.as_str(), self.token.as_str()],
        )
    }

    /// Takes the work off the list, unless it was asked for anew since it was claimed: then it is due
    /// again, now.
    pub(super) fn settle_unless_asked(&self, now: Timestamp) -> [Statement; 2] {
        let (kind, subject, token) =
            (self.kind.as_str(), self.subject.as_str(), self.token.as_str());
        let delete =
            "DELETE FROM work WHERE kind = $1 AND subject = $2 AND lease = $3 AND asked = $4";
        let again = "UPDATE work SET due_at = $4, lease = NULL, attempts = 0 \
                     WHERE kind = $1 AND subject = $2 AND lease = $3";
        [
            Statement::new(delete, values![kind, subject, token, self.asked]),
            Statement::new(again, values![kind, subject, token, now]),
        ]
    }
}

/// A lease on work that is not there yet: it holds once it is written, in the transaction that begins the
/// work.
#[derive(Debug)]
pub(crate) struct NewLease(Lease);

impl NewLease {
    /// As [`Lease::claim`]; worth nothing before the lease is written.
    pub(crate) fn claim(&self) -> Claim {
        self.0.claim()
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.0.attempt
    }

    pub(super) fn subject(&self) -> &str {
        &self.0.subject
    }

    /// What writes the lease down, and the lease, which is worth nothing before: whoever has it does the work
    /// at once, and nobody else claims it before `until`.
    pub(super) fn into_statement(self, until: Timestamp) -> (Statement, Lease) {
        let lease = self.0;
        let (kind, subject) = (lease.kind, lease.subject.as_str());
        let (account_id, token) = (lease.account_id.as_str(), lease.token.as_str());
        let written = if lease.in_hand {
            in_hand::take(kind, subject, account_id, token, until)
        } else {
            let insert = "INSERT INTO work (kind, subject, due_at, attempts, lease, account_id) \
                          VALUES ($1, $2, $3, $4, $5, $6)";
            let attempts = i64::from(lease.attempt);
            Statement::new(
                insert,
                values![kind.as_str(), subject, until, attempts, token, account_id],
            )
        };
        (written, lease)
    }
}

/// A piece of work that is under a lease: it can be handed back with this, and not settled.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: WorkKind,
    pub(crate) subject: String,
    pub(super) token: String,
    in_hand: bool,
}

/// INSERT of an account's work. Its turn is after all that the account has on the list, and else after the
/// first that anybody has: so each account's line grows by itself, and the lines are served side by side.
macro_rules! enqueue_for {
    ($account:literal) => {
        concat!(
            "INSERT INTO work (kind, subject, due_at, attempts, account_id, turn) ",
            "SELECT $1, $2, $3, 0, t.account_id, 1 + MAX(t.turn) FROM (",
            "SELECT ",
            $account,
            " AS account_id, (SELECT MAX(w.turn) FROM work w WHERE w.kind = $1 AND w.account_id = ",
            $account,
            ") AS turn UNION ALL SELECT ",
            $account,
            ", (SELECT MIN(w.turn) FROM work w WHERE w.kind = $1) UNION ALL SELECT ",
            $account,
            ", 0) t GROUP BY t.account_id"
        )
    };
}

pub(super) const ENQUEUE: &str = enqueue_for!("$4");

/// Puts an account's work on the list, due now.
pub(super) fn enqueue(
    kind: WorkKind,
    subject: &str,
    account_id: &str,
    now: Timestamp,
) -> Statement {
    Statement::new(ENQUEUE, values![kind.as_str(), subject, now, account_id])
}

/// Puts the validation of a challenge on the list, due now, for the account that it belongs to.
pub(super) fn enqueue_validation(challenge_id: &str, now: Timestamp) -> Statement {
    let insert = enqueue_for!(
        "(SELECT a.account_id FROM challenges c \
         JOIN authorizations a ON a.id = c.authorization_id WHERE c.id = $2)"
    );
    Statement::new(insert, values![WorkKind::Validation.as_str(), challenge_id, now])
}

/// Puts work on the list, due now, unless it is there already.
pub(super) fn enqueue_once(kind: WorkKind, subject: &str, now: Timestamp) -> Statement {
    let insert = "INSERT INTO work (kind, subject, due_at, attempts) VALUES ($1, $2, $3, 0) \
                  ON CONFLICT (kind, subject) DO NOTHING";
    Statement::new(insert, values![kind.as_str(), subject, now])
}

/// Puts work on the list, due now. Where it is there already it is done once for all who ask: what is
/// under way goes on, and does not settle what was asked for after it began.
pub(super) fn ask(kind: WorkKind, subject: &str, now: Timestamp) -> Statement {
    let insert = "INSERT INTO work (kind, subject, due_at, attempts, asked) VALUES ($1, $2, $3, 0, 1) \
                  ON CONFLICT (kind, subject) DO UPDATE SET asked = work.asked + 1";
    Statement::new(insert, values![kind.as_str(), subject, now])
}

/// What a claim leaves on the list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Left<'a> {
    /// The work of these CAs, or CRL issuers.
    pub(crate) not_for: &'a [&'a str],
    /// The work of these accounts.
    pub(crate) not_now: &'a [&'a str],
}

/// What names a piece of work.
type Key = (WorkKind, String);

/// Since when what was to be done is done; `None` where nothing was, or it failed: the store has the rest.
type Settled = Option<Timestamp>;

/// The call for those who wait for one piece of work, and how many they are.
type Waiting = (watch::Sender<Settled>, usize);

/// Calls for those who wait, within this process. Across processes there is the look at the table.
#[derive(Clone, Default)]
pub(super) struct Wakeups {
    due: Arc<[Notify; 3]>,
    settled: Arc<Mutex<HashMap<Key, Waiting>>>,
    /// The spans of the requests that wait, and so had the work put on the list.
    causes: Arc<Mutex<HashMap<Key, Span>>>,
}

impl Wakeups {
    fn causes(&self) -> MutexGuard<'_, HashMap<Key, Span>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, kind: WorkKind) -> &Notify {
        &self.due[match kind {
            WorkKind::Validation => 0,
            WorkKind::Issuance => 1,
            WorkKind::Crl => 2,
        }]
    }

    pub(super) fn work_is_due(&self, kind: WorkKind) {
        self.due(kind).notify_one();
    }

    pub(super) fn work_is_settled(&self, kind: WorkKind, subject: &str, settled: Settled) {
        let waiting = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((call, _)) = waiting.get(&(kind, subject.to_owned())) {
            call.send_replace(settled);
        }
    }
}

/// Somebody who waits for a piece of work to be settled; made before the work is put on the list,
/// so that no settlement is missed.
pub(crate) struct Waiter {
    store: Store,
    key: Key,
    /// Told of a settlement from the moment on in which the waiter was made.
    call: watch::Receiver<Settled>,
}

impl Waiter {
    /// Waits until the work is settled, but no longer than `hold`.
    pub(crate) async fn wait(self, hold: Duration) -> Result<(), StoreError> {
        if self.store.work_exists(self.key.0, &self.key.1).await? {
            self.wait_for_ours(hold).await?;
        }
        Ok(())
    }

    /// As [`Self::wait`], for work that was put on the list after the waiter was made: the list is looked at
    /// only where no call comes. Returns since when what was to be done is done, if this process did it: a
    /// challenge is proved then, and an order has the certificate that was planned for it.
    pub(crate) async fn wait_for_ours(
        mut self,
        hold: Duration,
    ) -> Result<Option<Timestamp>, StoreError> {
        let end = Instant::now() + hold;
        let mut pause = FIRST_LOOK;
        while Instant::now() < end {
            let look_at = end.min(Instant::now() + pause);
            if tokio::time::timeout_at(look_at, self.call.changed()).await.is_ok() {
                return Ok(*self.call.borrow());
            }
            if !self.store.work_exists(self.key.0, &self.key.1).await? {
                return Ok(None);
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(None)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.store.wakeups.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = waiting.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.key);
                self.store.wakeups.causes().remove(&self.key);
            }
        }
    }
}

/// By the plus no index on `due_at` is used: what is due is sorted by its turn, however much it is.
pub(super) const CLAIM_ON_SQLITE: &str = "UPDATE work SET lease = $1, due_at = $2, attempts = attempts + 1 \
     WHERE kind = $3 AND subject IN (SELECT subject FROM work \
     WHERE kind = $3 AND +due_at <= $4 AND ($6 = '' OR NOT EXISTS (SELECT 1 FROM orders \
     WHERE orders.id = work.subject AND $6 LIKE '%/' || orders.ca || '/%')) \
     AND NOT ($3 = 'crl' AND $6 LIKE '%/' || subject || '/%') \
     AND ($7 = '[]' OR account_id NOT IN (SELECT value FROM json_each($7))) \
     ORDER BY turn, due_at LIMIT $5) \
     RETURNING subject, attempts, asked, account_id";
/// With an array, which is made once: a subquery behind IN may be run for each row, and finds other rows each
/// time because it skips those it has updated already.
const CLAIM_ON_POSTGRES: &str = "UPDATE work SET lease = $1, due_at = $2, attempts = attempts + 1 \
     WHERE kind = $3 AND subject = ANY (ARRAY(SELECT subject FROM work \
     WHERE kind = $3 AND +due_at <= $4 AND ($6 = '' OR NOT EXISTS (SELECT 1 FROM orders \
     WHERE orders.id = work.subject AND $6 LIKE '%/' || orders.ca || '/%')) \
     AND NOT ($3 = 'crl' AND $6 LIKE '%/' || subject || '/%') \
     AND ($7 = '[]' OR account_id NOT IN (SELECT json_array_elements_text($7::json))) \
     ORDER BY turn, due_at LIMIT $5 FOR UPDATE SKIP LOCKED)) \
     RETURNING subject, attempts, asked, account_id";

impl Store {
    /// Claims up to `limit` pieces of work that are due, each until `lease` has passed: every account's
    /// first piece before anybody's second.
    ///
    /// Issuance for the CAs of `not_for`, and CRLs of the issuers in it, are left to those who can do
    /// them; other work is not asked whose it is. The accounts of `not_now` get nothing.
    pub(crate) async fn claim(
        &self,
        kind: WorkKind,
        now: Timestamp,
        lease: Duration,
        limit: i64,
        Left { not_for, not_now }: Left<'_>,
        entropy: Entropy,
    ) -> Result<Vec<Lease>, StoreError> {
        self.give_lapsed_back(kind, now).await?;
        let update = self.db.pick(CLAIM_ON_SQLITE, CLAIM_ON_POSTGRES);
        let token = entropy.id()?;
        // One text for any number of CAs. Their ids hold neither the slash nor what LIKE reads, and the
        // hashes of issuers' names do not either.
        let not_for = match not_for {
            [] => String::new(),
            cas => format!("/{}/", cas.join("/")),
        };
        let not_now = serde_json::json!(not_now).to_string();
        let values =
            values![token.as_str(), now.plus(lease), kind.as_str(), now, limit, not_for, not_now];
        let rows = self.db.change(update, values).await?;
        rows.iter()
            .map(|row| {
                let attempt = u32::try_from(row.int(1)?).unwrap_or(u32::MAX);
                Ok(Lease {
                    kind,
                    subject: row.text(0)?,
                    account_id: row.text(3)?,
                    token: token.clone(),
                    attempt,
                    asked: row.int(2)?,
                    in_hand: false,
                })
            })
            .collect()
    }

    /// For an account's work that is to be begun and done at once.
    pub(crate) fn new_lease(
        &self,
        kind: WorkKind,
        subject: &str,
        account_id: &str,
        entropy: Entropy,
    ) -> Result<NewLease, StoreError> {
        Ok(NewLease(Lease {
            kind,
            subject: subject.to_owned(),
            account_id: account_id.to_owned(),
            token: entropy.id()?,
            attempt: 1,
            asked: 0,
            in_hand: !self.db.is_shared(),
        }))
    }

    /// When the next piece of work is due, if there is any.
    pub(crate) async fn next_due(&self, kind: WorkKind) -> Result<Option<Timestamp>, StoreError> {
        let select = "SELECT MIN(due_at) FROM (SELECT MIN(due_at) AS due_at FROM work \
                      WHERE kind = $1 UNION ALL SELECT due_at FROM work_in_hand WHERE kind = $1) w";
        let rows = self.db.read(select, values![kind.as_str()]).await?;
        rows.first().map(|row| row.optional_time(0)).transpose().map(Option::flatten)
    }

    /// What there is to do, by kind: by the index, and counted to a limit only, since it is asked for
    /// again and again.
    pub(crate) async fn work_figures(
        &self,
        now: Timestamp,
    ) -> Result<Vec<WorkFigures>, StoreError> {
        let select = "SELECT \
             (SELECT COUNT(*) FROM (SELECT 1 FROM work \
             WHERE kind = $1 AND due_at <= $2 LIMIT 10000) d), \
             (SELECT COUNT(*) FROM (SELECT 1 FROM work \
             WHERE kind = $1 AND due_at > $2 AND lease IS NOT NULL LIMIT 10000) l) \
             + (SELECT COUNT(*) FROM work_in_hand WHERE kind = $1), \
             (SELECT COUNT(*) FROM (SELECT 1 FROM work \
             WHERE kind = $1 AND due_at > $2 AND lease IS NULL LIMIT 10000) s), \
             (SELECT MIN(due_at) FROM work WHERE kind = $1 AND due_at <= $2)";
        let mut all = Vec::new();
        for kind in WorkKind::ALL {
            let rows = self.db.read(select, values![kind.as_str(), now]).await?;
            let Some(row) = rows.first() else { continue };
            all.push(WorkFigures {
                kind: kind.as_str(),
                due: row.int(0)?,
                leased: row.int(1)?,
                scheduled: row.int(2)?,
                oldest_due: row.optional_time(3)?.map_or(Duration::ZERO, |due| now.since(due)),
            });
        }
        Ok(all)
    }

    /// Has what is due in a future that no pause and no lease reaches done now: it was put there by a
    /// clock that has been set back since.
    pub(crate) async fn pull_work_back(&self, now: Timestamp) -> Result<(), StoreError> {
        let statements = [
            "UPDATE work SET due_at = $1, lease = NULL WHERE due_at > $2",
            "UPDATE work_in_hand SET due_at = $1 WHERE due_at > $2",
        ];
        let pull = |sql| Statement::new(sql, values![now, now.plus(FURTHEST)]);
        self.db.transact(statements.map(pull).into()).await.map(drop)
    }

    /// Returns when work was put on the list by this process, or after `at_most`.
    pub(crate) async fn work_or_timeout(&self, kind: WorkKind, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.wakeups.due(kind).notified()).await;
    }

    /// Lapses every lease that a process before this one left behind, where there can be no other:
    /// one process at a time works on a SQLite file. On Postgres leases lapse by themselves.
    pub(crate) async fn lapse_leases(&self, now: Timestamp) -> Result<(), StoreError> {
        if self.db.is_shared() {
            return Ok(());
        }
        let update = "UPDATE work SET due_at = $1, lease = NULL WHERE lease IS NOT NULL";
        let seal = "UPDATE audit_head SET sealer = '', sealer_until = 0";
        let mut statements = vec![Statement::new(update, values![now])];
        statements.extend(in_hand::give_all_back(now));
        statements.push(Statement::new(seal, values![]));
        self.db.transact(statements).await.map(drop)
    }

    /// Gives the work back, to be claimed again from `due_at` on.
    pub(crate) async fn postpone(&self, lease: Lease, due_at: Timestamp) -> Result<(), StoreError> {
        let done = self.db.transact(lease.give_back(due_at)).await?;
        self.was_kept(&lease, &done);
        Ok(())
    }

    /// Whether what a worker wrote was kept, which is counted where it was not.
    pub(super) fn was_kept(&self, lease: &Lease, done: &Done) -> bool {
        let kept = *done == Done::Committed;
        if !kept {
            self.metrics.lease_lost(lease.kind.as_str());
        }
        kept
    }

    /// Hands work back as it was before it was claimed: due now, and the attempt does not count. What
    /// was settled or put off meanwhile, or is somebody else's by now, stays as it is.
    pub(crate) async fn hand_back(
        &self,
        claims: impl IntoIterator<Item = Claim>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update = "UPDATE work SET due_at = $4, lease = NULL, attempts = attempts - 1 \
                      WHERE kind = $1 AND subject = $2 AND lease = $3";
        let mut statements = Vec::new();
        for claim in claims {
            if claim.in_hand {
                statements.extend(in_hand::hand_back(&claim, now));
            } else {
                let Claim { kind, subject, token, .. } = claim;
                statements
                    .push(Statement::new(update, values![kind.as_str(), subject, token, now]));
            }
        }
        self.db.transact(statements).await.map(drop)
    }

    /// Drops work that has become pointless.
    pub(crate) async fn discard(&self, lease: Lease) -> Result<(), StoreError> {
        self.db.transact(vec![lease.settle()]).await?;
        self.wakeups.work_is_settled(lease.kind, &lease.subject, None);
        Ok(())
    }

    /// A waiter for this piece of work.
    pub(crate) fn waiter(&self, kind: WorkKind, subject: &str) -> Waiter {
        let key = (kind, subject.to_owned());
        let mut waiting = self.wakeups.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let (call, count) =
            waiting.entry(key.clone()).or_insert_with(|| (watch::Sender::new(None), 0));
        *count += 1;
        let call = call.subscribe();
        self.wakeups.causes().entry(key.clone()).or_insert_with(Span::current);
        Waiter { store: self.clone(), key, call }
    }

    /// The span of the request that waits for this piece of work here, if one does.
    pub(crate) fn cause(&self, claim: &Claim) -> Option<Span> {
        self.wakeups.causes().get(&(claim.kind, claim.subject.clone())).cloned()
    }

    pub(super) async fn work_exists(
        &self,
        kind: WorkKind,
        subject: &str,
    ) -> Result<bool, StoreError> {
        let select = "SELECT 1 FROM work WHERE kind = $1 AND subject = $2 \
                      UNION ALL SELECT 1 FROM work_in_hand WHERE kind = $1 AND subject = $2";
        Ok(!self.db.read(select, values![kind.as_str(), subject]).await?.is_empty())
    }
}
