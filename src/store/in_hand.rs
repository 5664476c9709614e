//! Work that this process has had in hand since it was there, on a database that it alone serves.
//!
//! It is not on the list: that has an index for each way to look for work, and nobody looks for this. Its row
//! is what is left of it where the process dies; then, or when its lease has lapsed, it goes on the list.
//! A database that several instances share has no such work: the others would not find it.

use super::db::{Statement, values};
use super::work::{Claim, WorkKind};
use super::{Store, StoreError};
use crate::clock::Timestamp;

/// Puts rows on the list, due at `$1` after so many attempts, and takes them out of the hand.
macro_rules! put_on_list {
    ($attempts:literal, $rows:literal) => {
        [
            concat!(
                "INSERT INTO work (kind, subject, due_at, attempts, account_id) \
                 SELECT kind, subject, $1, ",
                $attempts,
                ", account_id FROM work_in_hand WHERE ",
                $rows,
                // Whoever put it there has it done.
                " ON CONFLICT (kind, subject) DO NOTHING"
            ),
            concat!("DELETE FROM work_in_hand WHERE ", $rows),
        ]
    };
}

/// Takes work in hand that nobody else has.
pub(super) fn take(
    kind: WorkKind,
    subject: &str,
    account_id: &str,
    token: &str,
    until: Timestamp,
) -> Statement {
    let insert = "INSERT INTO work_in_hand (kind, subject, account_id, lease, due_at) \
                  VALUES ($1, $2, $3, $4, $5)";
    Statement::new(insert, values![kind.as_str(), subject, account_id, token, until])
}

/// Undoes the transaction where the work is in hand no longer.
pub(super) fn settle(kind: WorkKind, subject: &str, token: &str) -> Statement {
    let delete = "DELETE FROM work_in_hand WHERE kind = $1 AND subject = $2 AND lease = $3";
    Statement::required(delete, values![kind.as_str(), subject, token])
}

/// Puts work on the list, its first attempt done; undoes the transaction where it is in hand no longer.
pub(super) fn give_back(
    kind: WorkKind,
    subject: &str,
    token: &str,
    due_at: Timestamp,
) -> [Statement; 2] {
    put_on_list!("1", "kind = $2 AND subject = $3 AND lease = $4")
        .map(|sql| Statement::required(sql, values![due_at, kind.as_str(), subject, token]))
}

/// Puts work on the list as if nobody had begun it, if it still is in hand.
pub(super) fn hand_back(claim: &Claim, now: Timestamp) -> [Statement; 2] {
    put_on_list!("0", "kind = $2 AND subject = $3 AND lease = $4").map(|sql| {
        let (kind, subject, token) = (claim.kind.as_str(), claim.subject.as_str(), &*claim.token);
        Statement::new(sql, values![now, kind, subject, token])
    })
}

/// Puts on the list whatever is in hand: of a process before this one. The condition holds for all; without
/// one SQLite would take the ON CONFLICT for that of a join.
pub(super) fn give_all_back(now: Timestamp) -> [Statement; 2] {
    put_on_list!("1", "due_at IS NOT NULL").map(|sql| Statement::new(sql, values![now]))
}

impl Store {
    /// Puts on the list what has been in hand for longer than its lease.
    pub(super) async fn give_lapsed_back(
        &self,
        kind: WorkKind,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let select = "SELECT 1 FROM work_in_hand WHERE kind = $1 AND due_at <= $2";
        let values = values![kind.as_str(), now];
        if self.db.is_shared() || self.db.read(select, values).await?.is_empty() {
            return Ok(());
        }
        let statements = put_on_list!("1", "kind = $2 AND due_at <= $1")
            .map(|sql| Statement::new(sql, values![now, kind.as_str()]));
        self.db.transact(statements.into()).await.map(drop)
    }
}
