//! Accounts (RFC 8555 §7.1.2).

use super::db::{Done, Row, Statement, values};
use super::{Store, StoreError};
use crate::acme::account::Account;
use crate::clock::Timestamp;

/// SELECT of whole accounts, with this condition.
macro_rules! select_accounts {
    ($condition:literal) => {
        concat!(
            "SELECT id, ca, jwk, thumbprint, contact, terms_agreed_at, created_at, ",
            "deactivated_at FROM accounts WHERE ",
            $condition
        )
    };
}

/// What became of a new account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    Created,
    /// The key has an account already; nothing was changed.
    Exists(Account),
}

impl Store {
    /// Keeps a new account unless its key has one with this CA.
    pub(crate) async fn register_account(
        &self,
        account: Account,
    ) -> Result<Registered, StoreError> {
        let insert = "INSERT INTO accounts (id, ca, jwk, thumbprint, contact, terms_agreed_at, \
                      created_at, deactivated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                      ON CONFLICT (ca, thumbprint) DO NOTHING";
        let values = values![
            account.id.clone(),
            account.ca.clone(),
            account.jwk.clone(),
            account.thumbprint.clone(),
            contact_text(&account.contact),
            account.terms_agreed_at,
            account.created_at,
            account.deactivated_at,
        ];
        if self.db.transact(vec![Statement::required(insert, values)]).await? == Done::Committed {
            return Ok(Registered::Created);
        }
        let corrupt = || StoreError::Corrupt { table: "accounts", id: account.thumbprint.clone() };
        self.account_by_key(&account.ca, &account.thumbprint)
            .await?
            .map(Registered::Exists)
            .ok_or_else(corrupt)
    }

    /// The account of a key with this CA, whatever its status.
    pub(crate) async fn account_by_key(
        &self,
        ca: &str,
        thumbprint: &str,
    ) -> Result<Option<Account>, StoreError> {
        let select = select_accounts!("ca = $1 AND thumbprint = $2");
        one(&self.db.read(select, values![ca, thumbprint]).await?)
    }

    /// The account with this id and CA, whatever its status.
    pub(crate) async fn account(&self, ca: &str, id: &str) -> Result<Option<Account>, StoreError> {
        one(&self.db.read(select_accounts!("ca = $1 AND id = $2"), values![ca, id]).await?)
    }

    /// Replaces an account's contacts and notes that it agreed to the terms, each where given.
    pub(crate) async fn update_account(
        &self,
        id: &str,
        contact: Option<&[String]>,
        terms_agreed_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let update = "UPDATE accounts SET contact = COALESCE($2, contact), \
                      terms_agreed_at = COALESCE($3, terms_agreed_at) \
                      WHERE id = $1 AND deactivated_at IS NULL";
        let values = values![id, contact.map(contact_text), terms_agreed_at];
        self.db.transact(vec![Statement::new(update, values)]).await.map(drop)
    }

    /// Deactivates an account for good (RFC 8555 §7.3.6).
    pub(crate) async fn deactivate_account(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update =
            "UPDATE accounts SET deactivated_at = $2 WHERE id = $1 AND deactivated_at IS NULL";
        self.db.transact(vec![Statement::new(update, values![id, now])]).await.map(drop)
    }
}

fn one(rows: &[Row]) -> Result<Option<Account>, StoreError> {
    rows.first().map(account_of).transpose()
}

fn account_of(row: &Row) -> Result<Account, StoreError> {
    let id = row.text(0)?;
    let Ok(contact) = serde_json::from_str(&row.text(4)?) else {
        return Err(StoreError::Corrupt { table: "accounts", id });
    };
    Ok(Account {
        id,
        ca: row.text(1)?,
        jwk: row.text(2)?,
        thumbprint: row.text(3)?,
        contact,
        terms_agreed_at: row.optional_time(5)?,
        created_at: row.time(6)?,
        deactivated_at: row.optional_time(7)?,
    })
}

fn contact_text(contact: &[String]) -> String {
    serde_json::Value::from(contact).to_string()
}
