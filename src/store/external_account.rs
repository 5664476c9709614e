//! External accounts (RFC 8555 §7.3.4): the keys that bind new accounts.
//!
//! A MAC key must be known to be used, so it is stored as it is, but only for as long as it may bind
//! another account: its last use erases it, and so does its revocation.

use super::db::{Done, Row, Statement, values};
use super::{Store, StoreError};
use crate::acme::external_account::ExternalAccount;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// SELECT of whole external accounts, from `WHERE` on.
macro_rules! select_external_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT e.kid, e.ca, e.name, e.algorithm, e.mac_key, e.allowed, e.reusable, ",
            "e.created_at, e.expires_at, e.revoked_at, ",
            "(SELECT COUNT(*) FROM accounts u WHERE u.external_account_kid = e.kid) ",
            "FROM external_accounts e ",
            $rest
        )
    };
}

impl Store {
    /// Keeps a new external account.
    pub(crate) async fn create_external_account(
        &self,
        new: &ExternalAccount,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO external_accounts (kid, ca, name, algorithm, mac_key, allowed, \
                      reusable, created_at, expires_at, revoked_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let values = values![
            new.kid.as_str(),
            new.ca.as_str(),
            new.name.clone(),
            new.algorithm.as_str(),
            new.mac_key.clone(),
            serde_json::Value::from(new.allowed.as_slice()).to_string(),
            i64::from(new.reusable),
            new.created_at,
            new.expires_at,
            new.revoked_at,
        ];
        let statements = vec![Statement::new(insert, values), self.note(entry)];
        self.db.transact(statements).await.map(drop)
    }

    /// The external account with this key identifier, of any CA and in any state.
    pub(crate) async fn external_account(
        &self,
        kid: &str,
    ) -> Result<Option<ExternalAccount>, StoreError> {
        let select = select_external_accounts!("WHERE e.kid = $1");
        self.db.read(select, values![kid]).await?.first().map(external_account_of).transpose()
    }

    /// External accounts in the order of their creation, after that one; of one CA where one is named.
    pub(crate) async fn external_accounts(
        &self,
        ca: Option<&str>,
        after: Option<&ExternalAccount>,
        limit: i64,
    ) -> Result<Vec<ExternalAccount>, StoreError> {
        let select = select_external_accounts!(
            "WHERE ($1 = '' OR e.ca = $1) \
             AND (e.created_at > $2 OR (e.created_at = $2 AND e.kid > $3)) \
             ORDER BY e.created_at, e.kid LIMIT $4"
        );
        let (since, kid) = after.map_or((Timestamp::from_unix_ms(i64::MIN), ""), |last| {
            (last.created_at, last.kid.as_str())
        });
        let rows = self.db.scan(select, values![ca.unwrap_or(""), since, kid, limit]).await?;
        rows.iter().map(external_account_of).collect()
    }

    /// Revokes an external account: its key binds no more accounts. `false` where there is none, or
    /// it was revoked before.
    pub(crate) async fn revoke_external_account(
        &self,
        kid: &str,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let update = "UPDATE external_accounts SET revoked_at = $2, mac_key = NULL \
                      WHERE kid = $1 AND revoked_at IS NULL";
        let statements = vec![Statement::required(update, values![kid, now]), self.note(entry)];
        let done = self.db.transact(statements);
        Ok(done.await? == Done::Committed)
    }

    /// The ids of the accounts that an external account has bound and that are not deactivated.
    pub(crate) async fn accounts_bound_by(&self, kid: &str) -> Result<Vec<String>, StoreError> {
        let select = "SELECT id FROM accounts WHERE external_account_kid = $1 \
                      AND deactivated_at IS NULL ORDER BY created_at, id";
        self.db.scan(select, values![kid]).await?.iter().map(|row| row.text(0)).collect()
    }
}

/// Uses a key to bind an account; undoes the transaction where it may bind none. A key that is good
/// for one account is erased, so of two that come together one finds it gone.
pub(super) fn bind(kid: &str, ca: &str, now: Timestamp) -> Statement {
    let update = "UPDATE external_accounts \
                  SET mac_key = CASE reusable WHEN 1 THEN mac_key ELSE NULL END \
                  WHERE kid = $1 AND ca = $2 AND mac_key IS NOT NULL AND revoked_at IS NULL \
                  AND (expires_at IS NULL OR expires_at > $3)";
    Statement::required(update, values![kid, ca, now])
}

fn external_account_of(row: &Row) -> Result<ExternalAccount, StoreError> {
    let kid = row.text(0)?;
    let Ok(allowed) = serde_json::from_str(&row.text(5)?) else {
        return Err(StoreError::Corrupt { table: "external_accounts", id: kid });
    };
    Ok(ExternalAccount {
        kid,
        ca: row.text(1)?,
        name: row.optional_text(2)?,
        algorithm: row.text(3)?,
        mac_key: row.optional_blob(4)?,
        allowed,
        reusable: row.int(6)? != 0,
        created_at: row.time(7)?,
        expires_at: row.optional_time(8)?,
        revoked_at: row.optional_time(9)?,
        accounts: row.int(10)?,
    })
}
