//! What the limits count (RFC 8555 §6.6): in the database, so that they hold for all instances together.
//!
//! Each count is made within the statement that would add to it, so it costs no round trip; only where it
//! stood in the way is it looked up once more, for words. None reads more rows than its limit.

use super::db::{Value, values};
use super::{Store, StoreError};
use crate::acme::usage::{FailedName, Usage, WINDOW};
use crate::clock::Timestamp;

/// What an account may have; 0 is any number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Caps {
    pub(crate) orders: i64,
    pub(crate) pending_orders: i64,
    pub(crate) pending_authorizations: i64,
    pub(crate) failed_validations: i64,
}

/// From where accounts are made, and how many may be within the window.
#[derive(Clone, Debug)]
pub(crate) struct MadeFrom {
    pub(crate) network: String,
    pub(crate) cap: i64,
}

/// Since when the past counts.
pub(super) fn window(now: Timestamp) -> Timestamp {
    now.minus(WINDOW)
}

/// The orders of an account since a moment, by the first and last number of them.
macro_rules! orders_since {
    ($account:literal, $since:literal) => {
        concat!(
            "COALESCE((SELECT MAX(n.number) FROM orders n WHERE n.account_id = ",
            $account,
            " AND n.created_at >= (SELECT MAX(m.created_at) FROM orders m WHERE m.account_id = ",
            $account,
            ")) - (SELECT MIN(f.number) FROM orders f WHERE f.account_id = ",
            $account,
            " AND f.created_at = (SELECT MIN(g.created_at) FROM orders g WHERE g.account_id = ",
            $account,
            " AND g.created_at > ",
            $since,
            ")) + 1, 0)"
        )
    };
}
pub(super) use orders_since;

/// The orders of an account that may still become valid and are not, up to a number.
macro_rules! pending_orders {
    ($account:literal, $now:literal, $most:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM (SELECT 1 AS one FROM orders q WHERE q.account_id = ",
            $account,
            " AND q.expires_at > ",
            $now,
            " AND q.certificate_id IS NULL AND q.error IS NULL AND q.failed_at IS NULL LIMIT ",
            $most,
            ") q)"
        )
    };
}
pub(super) use pending_orders;

/// The pending authorizations of an account, up to a number.
macro_rules! pending_authorizations {
    ($account:literal, $now:literal, $most:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM (SELECT 1 AS one FROM authorizations b WHERE b.account_id = ",
            $account,
            " AND b.expires_at > ",
            $now,
            " AND b.concluded_by IS NULL AND b.deactivated_at IS NULL LIMIT ",
            $most,
            ") b)"
        )
    };
}
pub(super) use pending_authorizations;

/// How often the validation of a name failed for an account since a moment.
macro_rules! failures_since {
    ($account:literal, $identifier:literal, $since:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM authorizations d WHERE d.account_id = ",
            $account,
            " AND d.identifier = ",
            $identifier,
            " AND d.failed_at > ",
            $since,
            ")"
        )
    };
}
pub(super) use failures_since;

pub(super) const COUNTS: &str = concat!(
    "SELECT ",
    orders_since!("$1", "$3"),
    ", (SELECT MIN(g.created_at) FROM orders g WHERE g.account_id = $1 AND g.created_at > $3), ",
    pending_orders!("$1", "$2", "$4"),
    ", ",
    pending_authorizations!("$1", "$2", "$4")
);

impl Store {
    /// What an account has, of the kinds that are limited; of failures, those of these names.
    pub(crate) async fn usage(
        &self,
        account_id: &str,
        identifiers: &[String],
        now: Timestamp,
    ) -> Result<Usage, StoreError> {
        let since = window(now);
        let rows = self.db.read(COUNTS, values![account_id, now, since, MOST_COUNTED]).await?;
        let Some(row) = rows.first() else { return Ok(Usage::default()) };
        let failures = self.db.pick(
            "SELECT d.identifier, COUNT(*), MIN(d.failed_at) FROM authorizations d \
             WHERE d.account_id = $1 AND d.failed_at > $2 \
             AND d.identifier IN (SELECT value FROM json_each($3)) GROUP BY d.identifier",
            "SELECT d.identifier, COUNT(*), MIN(d.failed_at) FROM authorizations d \
             WHERE d.account_id = $1 AND d.failed_at > $2 \
             AND d.identifier IN (SELECT json_array_elements_text($3::json)) GROUP BY d.identifier",
        );
        let names = list(identifiers);
        let failed = self.db.read(failures, vec![account_id.into(), since.into(), names]).await?;
        let failed = failed.iter().map(|row| {
            let (identifier, times, first_at) = (row.text(0)?, row.int(1)?, row.time(2)?);
            Ok(FailedName { identifier, times, first_at })
        });
        Ok(Usage {
            orders: row.int(0)?,
            first_order_at: row.optional_time(1)?,
            pending_orders: row.int(2)?,
            pending_authorizations: row.int(3)?,
            failed: failed.collect::<Result<_, StoreError>>()?,
        })
    }

    /// How many accounts were made from a network within the window, and when the first of them was.
    pub(crate) async fn accounts_made_from(
        &self,
        network: &str,
        now: Timestamp,
    ) -> Result<(i64, Option<Timestamp>), StoreError> {
        let select = "SELECT COUNT(*), MIN(created_at) FROM accounts \
                      WHERE network = $1 AND created_at > $2";
        let rows = self.db.read(select, values![network, window(now)]).await?;
        let Some(row) = rows.first() else { return Ok((0, None)) };
        Ok((row.int(0)?, row.optional_time(1)?))
    }
}

/// More than any cap can be.
const MOST_COUNTED: i64 = 1_000_000;

/// A list in one value: neither database takes one otherwise.
pub(super) fn list(texts: &[String]) -> Value {
    serde_json::json!(texts).to_string().into()
}
