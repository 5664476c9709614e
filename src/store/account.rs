//! Accounts (RFC 8555 §7.1.2).

use super::db::{Done, Row, Statement, values};
use super::usage::{MadeFrom, window};
use super::{Store, StoreError, external_account};
use crate::acme::account::{Account, Agreement, Binding};
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// SELECT of whole accounts, from `WHERE` on.
macro_rules! select_accounts {
    ($condition:literal) => {
        concat!(
            "SELECT u.id, u.ca, u.jwk, u.thumbprint, u.contact, u.terms_agreed_at, ",
            "u.terms_agreed, u.created_at, u.deactivated_at, u.external_account_kid, ",
            "u.external_account_binding, e.allowed FROM accounts u ",
            "LEFT JOIN external_accounts e ON e.kid = u.external_account_kid ",
            $condition
        )
    };
}

pub(super) const INSERT_WITHIN_CAP: &str = "INSERT INTO accounts (id, ca, jwk, thumbprint, contact, terms_agreed_at, \
     terms_agreed, created_at, deactivated_at, external_account_kid, \
     external_account_binding, network) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 \
     WHERE ($13 = 0 OR (SELECT COUNT(*) FROM (SELECT 1 AS one FROM accounts n \
     WHERE n.network = $12 AND n.created_at > $14 LIMIT $13) n) < $13) \
     ON CONFLICT (ca, thumbprint) DO NOTHING";

/// An account to be kept.
#[derive(Debug)]
pub(crate) struct NewAccount {
    pub(crate) account: Account,
    /// Where its client is; `None` where that is not counted.
    pub(crate) from: Option<MadeFrom>,
}

impl From<Account> for NewAccount {
    fn from(account: Account) -> Self {
        Self { account, from: None }
    }
}

/// What became of a new account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    Created,
    /// From there as many were made as may be; nothing was changed.
    TooMany,
    /// The key has an account already; nothing was changed.
    Exists(Box<Account>),
    /// The key that binds it binds no more accounts; nothing was changed.
    NotBound,
}

/// What became of a change of key (RFC 8555 §7.3.5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyChanged {
    Done,
    /// The new key is that of the account with this id; nothing was changed.
    Taken(String),
    /// The account has another key than the old one by now, or was deactivated; nothing was changed.
    Stale,
}

impl Store {
    /// Keeps a new account unless its key has one with this CA; where it is bound, with one use of the
    /// key that binds it.
    pub(crate) async fn register_account(
        &self,
        new: impl Into<NewAccount>,
        entry: &Entry,
    ) -> Result<Registered, StoreError> {
        let NewAccount { account, from } = new.into();
        let (agreement, binding) = (account.terms.as_ref(), account.binding.as_ref());
        let values = values![
            account.id.clone(),
            account.ca.clone(),
            account.jwk.clone(),
            account.thumbprint.clone(),
            contact_text(&account.contact),
            agreement.map(|agreement| agreement.at),
            agreement.and_then(|agreement| agreement.to.clone()),
            account.created_at,
            account.deactivated_at,
            binding.map(|binding| binding.kid.clone()),
            binding.map(|binding| binding.jws.clone()),
            from.as_ref().map(|from| from.network.clone()),
            from.as_ref().map_or(0, |from| from.cap),
            window(account.created_at),
        ];
        let mut statements = vec![Statement::required(INSERT_WITHIN_CAP, values)];
        statements.extend(
            binding.map(|binding| {
                external_account::bind(&binding.kid, &account.ca, account.created_at)
            }),
        );
        statements.push(self.note(entry));
        if self.db.transact(statements).await? == Done::Committed {
            return Ok(Registered::Created);
        }
        let corrupt = || StoreError::Corrupt { table: "accounts", id: account.thumbprint.clone() };
        match self.account_by_key(&account.ca, &account.thumbprint).await? {
            Some(account) => Ok(Registered::Exists(Box::new(account))),
            None => {
                if let Some(MadeFrom { network, cap }) = &from
                    && self.accounts_made_from(network, account.created_at).await?.0 >= *cap
                {
                    return Ok(Registered::TooMany);
                }
                if binding.is_some() { Ok(Registered::NotBound) } else { Err(corrupt()) }
            }
        }
    }

    /// Gives the account another key in the place of this one.
    pub(crate) async fn change_key(
        &self,
        account: &Account,
        new_jwk: &str,
        new_thumbprint: &str,
        entry: &Entry,
    ) -> Result<KeyChanged, StoreError> {
        let update = "UPDATE accounts SET jwk = $3, thumbprint = $4 WHERE id = $1 \
                      AND thumbprint = $2 AND deactivated_at IS NULL AND NOT EXISTS (\
                      SELECT 1 FROM accounts o WHERE o.ca = accounts.ca AND o.thumbprint = $4)";
        let values =
            values![account.id.as_str(), account.thumbprint.as_str(), new_jwk, new_thumbprint];
        let statements = vec![Statement::required(update, values), self.note(entry)];
        match self.db.transact(statements).await {
            Ok(Done::Committed) => return Ok(KeyChanged::Done),
            // Another account took the key in this very moment.
            Ok(Done::Refused) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        let holder = self.account_by_key(&account.ca, new_thumbprint).await?;
        Ok(holder.map_or(KeyChanged::Stale, |holder| KeyChanged::Taken(holder.id)))
    }

    /// The account of a key with this CA, whatever its status.
    pub(crate) async fn account_by_key(
        &self,
        ca: &str,
        thumbprint: &str,
    ) -> Result<Option<Account>, StoreError> {
        let select = select_accounts!("WHERE u.ca = $1 AND u.thumbprint = $2");
        one(&self.db.read(select, values![ca, thumbprint]).await?)
    }

    /// The account with this id and CA, whatever its status.
    pub(crate) async fn account(&self, ca: &str, id: &str) -> Result<Option<Account>, StoreError> {
        let select = select_accounts!("WHERE u.ca = $1 AND u.id = $2");
        one(&self.db.read(select, values![ca, id]).await?)
    }

    /// The account with this id, of whichever CA: for the operator, who is above all of them.
    pub(crate) async fn account_of_any_ca(&self, id: &str) -> Result<Option<Account>, StoreError> {
        one(&self.db.read(select_accounts!("WHERE u.id = $1"), values![id]).await?)
    }

    /// Accounts in the order in which they were made, after that one; of one CA where one is named.
    pub(crate) async fn accounts(
        &self,
        ca: Option<&str>,
        after: Option<&Account>,
        limit: i64,
    ) -> Result<Vec<Account>, StoreError> {
        let select = select_accounts!(
            "WHERE ($1 = '' OR u.ca = $1) \
             AND (u.created_at > $2 OR (u.created_at = $2 AND u.id > $3)) \
             ORDER BY u.created_at, u.id LIMIT $4"
        );
        let (since, id) = after.map_or((Timestamp::from_unix_ms(i64::MIN), ""), |last| {
            (last.created_at, last.id.as_str())
        });
        let rows = self.db.scan(select, values![ca.unwrap_or(""), since, id, limit]).await?;
        rows.iter().map(account_of).collect()
    }

    /// Replaces an account's contacts and its agreement to terms, each where given.
    pub(crate) async fn update_account(
        &self,
        id: &str,
        contact: Option<&[String]>,
        agreement: Option<&Agreement>,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let update = "UPDATE accounts SET contact = COALESCE($2, contact), \
                      terms_agreed = CASE WHEN $3 IS NULL THEN terms_agreed ELSE $4 END, \
                      terms_agreed_at = COALESCE($3, terms_agreed_at) \
                      WHERE id = $1 AND deactivated_at IS NULL";
        let values = values![
            id,
            contact.map(contact_text),
            agreement.map(|agreement| agreement.at),
            agreement.and_then(|agreement| agreement.to.clone()),
        ];
        let statements = vec![Statement::required(update, values), self.note(entry)];
        self.db.transact(statements).await.map(drop)
    }

    /// Deactivates an account for good (RFC 8555 §7.3.6), and takes what was to be done for it off the
    /// list. What is under way finds its lease gone, so its result is not kept. `false` where the
    /// account was deactivated before.
    pub(crate) async fn deactivate_account(
        &self,
        id: &str,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let update =
            "UPDATE accounts SET deactivated_at = $2 WHERE id = $1 AND deactivated_at IS NULL";
        let work = "DELETE FROM work WHERE kind IN ('validation', 'issuance') AND account_id = $1";
        let in_hand = "DELETE FROM work_in_hand WHERE account_id = $1";
        let done = self.db.transact_long(vec![
            Statement::required(update, values![id, now]),
            Statement::new(work, values![id]),
            Statement::new(in_hand, values![id]),
            self.note(entry),
        ]);
        Ok(done.await? == Done::Committed)
    }
}

fn one(rows: &[Row]) -> Result<Option<Account>, StoreError> {
    rows.first().map(account_of).transpose()
}

fn account_of(row: &Row) -> Result<Account, StoreError> {
    let id = row.text(0)?;
    let corrupt = |id: &str| StoreError::Corrupt { table: "accounts", id: id.to_owned() };
    let Ok(contact) = serde_json::from_str(&row.text(4)?) else { return Err(corrupt(&id)) };
    let to = row.optional_text(6)?;
    let terms = row.optional_time(5)?.map(|at| Agreement { at, to });
    let binding = match (row.optional_text(9)?, row.optional_text(10)?, row.optional_text(11)?) {
        (None, None, None) => None,
        (Some(kid), Some(jws), Some(allowed)) => {
            let allowed = serde_json::from_str(&allowed)
                .map_err(|_| StoreError::Corrupt { table: "external_accounts", id: kid.clone() })?;
            Some(Binding { kid, jws, allowed })
        }
        _ => return Err(corrupt(&id)),
    };
    Ok(Account {
        id,
        ca: row.text(1)?,
        jwk: row.text(2)?,
        thumbprint: row.text(3)?,
        contact,
        terms,
        binding,
        created_at: row.time(7)?,
        deactivated_at: row.optional_time(8)?,
    })
}

/// Contacts as they are kept.
pub(super) fn contact_text(contact: &[String]) -> String {
    serde_json::Value::from(contact).to_string()
}
