//! What was over long ago is forgotten, a bounded part of it at a time.
//!
//! A certificate stays, and so does an order whose certificate was planned and is not there: the token may have
//! signed it. An authorization goes when no order names it any more.

use super::db::{Row, Statement, values};
use super::usage::list;
use super::{Store, StoreError};
use crate::clock::Timestamp;

/// Rows that one step looks at.
const STEP: i64 = 500;

/// How far a sweep has come: the end of what it looked at last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    expires_at: i64,
    id: String,
}

/// Statements that end in a column, for all rows whose column is in a list.
macro_rules! for_each_of {
    ($db:expr, $list:expr, $($sql:literal),+ $(,)?) => {
        vec![$(Statement::new(
            $db.pick(
                concat!($sql, " IN (SELECT value FROM json_each($1))"),
                concat!($sql, " IN (SELECT json_array_elements_text($1::json))"),
            ),
            vec![list(&$list)],
        )),+]
    };
}

impl Store {
    /// Forgets orders: those without a certificate that ended before `unfinished_before`, and those with
    /// one that ended before `finished_before`, which must be the earlier. Returns where to go on; `None`
    /// at the end.
    pub(crate) async fn forget_orders(
        &self,
        from: &Swept,
        unfinished_before: Timestamp,
        finished_before: Timestamp,
    ) -> Result<Option<Swept>, StoreError> {
        self.forget_orders_in_steps(from, unfinished_before, finished_before, STEP).await
    }

    pub(super) async fn forget_orders_in_steps(
        &self,
        from: &Swept,
        unfinished_before: Timestamp,
        finished_before: Timestamp,
        step: i64,
    ) -> Result<Option<Swept>, StoreError> {
        let select = "SELECT o.expires_at, o.id, CAST(CASE \
                      WHEN o.certificate_id IS NULL AND NOT EXISTS (\
                      SELECT 1 FROM certificates c WHERE c.order_id = o.id) THEN 1 \
                      WHEN o.certificate_id IS NOT NULL AND o.expires_at < $4 THEN 1 ELSE 0 END AS BIGINT) \
                      FROM orders o WHERE o.expires_at < $3 \
                      AND (o.expires_at > $1 OR (o.expires_at = $1 AND o.id > $2)) \
                      ORDER BY o.expires_at, o.id LIMIT $5";
        let (at, id) = (from.expires_at, from.id.as_str());
        let values = values![at, id, unfinished_before, finished_before, step];
        let rows = self.db.read(select, values).await?;
        let (forgotten, next) = passed(&rows, step)?;
        if !forgotten.is_empty() {
            let statements = for_each_of!(
                self.db,
                forgotten,
                "UPDATE certificates SET order_id = NULL WHERE order_id",
                "DELETE FROM work WHERE kind = 'issuance' AND subject",
                "DELETE FROM order_authorizations WHERE order_id",
                "DELETE FROM orders WHERE id",
            );
            self.db.transact(statements).await?;
        }
        Ok(next)
    }

    /// Forgets authorizations that ended before then and that no order names, with their challenges;
    /// returns as [`Self::forget_orders`].
    pub(crate) async fn forget_authorizations(
        &self,
        from: &Swept,
        before: Timestamp,
    ) -> Result<Option<Swept>, StoreError> {
        let select = "SELECT a.expires_at, a.id, CAST(CASE WHEN EXISTS (SELECT 1 FROM \
                      order_authorizations p WHERE p.authorization_id = a.id) THEN 0 ELSE 1 END AS BIGINT) \
                      FROM authorizations a WHERE a.expires_at < $3 \
                      AND (a.expires_at > $1 OR (a.expires_at = $1 AND a.id > $2)) \
                      ORDER BY a.expires_at, a.id LIMIT $4";
        let values = values![from.expires_at, from.id.as_str(), before, STEP];
        let rows = self.db.read(select, values).await?;
        let (forgotten, next) = passed(&rows, STEP)?;
        if !forgotten.is_empty() {
            // Work that is left over finds no challenge, and is dropped.
            let statements = for_each_of!(
                self.db,
                forgotten,
                "DELETE FROM challenges WHERE authorization_id",
                "DELETE FROM authorizations WHERE id",
            );
            self.db.transact(statements).await?;
        }
        Ok(next)
    }

    /// Forgets what CAA records said before then; `true` where there is more of it.
    pub(crate) async fn forget_caa_checks(&self, before: Timestamp) -> Result<bool, StoreError> {
        let delete = "DELETE FROM caa_checks WHERE id IN (SELECT k.id FROM caa_checks k \
                      WHERE k.checked_at < $1 ORDER BY k.checked_at LIMIT $2) RETURNING 1";
        let gone = self.db.change(delete, values![before, STEP]).await?;
        Ok(i64::try_from(gone.len()).unwrap_or(i64::MAX) >= STEP)
    }
}

/// Of rows with an end, an id and whether to forget it: the ids to forget, and where to go on.
fn passed(rows: &[Row], step: i64) -> Result<(Vec<String>, Option<Swept>), StoreError> {
    let mut forgotten = Vec::new();
    for row in rows {
        if row.int(2)? != 0 {
            forgotten.push(row.text(1)?);
        }
    }
    let full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= step;
    let next = match rows.last().filter(|_| full) {
        Some(row) => Some(Swept { expires_at: row.int(0)?, id: row.text(1)? }),
        None => None,
    };
    Ok((forgotten, next))
}
