//! Spent nonces (RFC 8555 §6.5).
//!
//! Instances that share a database remember them there. A process that has its database to itself
//! remembers them in memory, under a key that no other process has: so those from before a restart are
//! refused, and clients take a new one, as they do for any nonce that is no longer good.

mod window;

use std::sync::{Arc, Mutex, PoisonError};

use super::account::contact_text;
use super::db::{Done, Statement, values};
use super::{Store, StoreError};
use crate::acme::account::Account;
use crate::acme::nonce::{self, Nonce};
use crate::clock::Timestamp;
use crate::entropy::Entropy;

/// Those of this process, where it needs no database for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Nonces(Arc<Mutex<window::Window>>);

impl Nonces {
    fn number(&self, now: Timestamp) -> u64 {
        self.window(|window| window.number(now, now.plus(nonce::LIFETIME)))
    }

    fn spend(&self, nonce: &Nonce) -> bool {
        let number = nonce.id.first_chunk().map(|number| u64::from_be_bytes(*number));
        number.is_some_and(|number| self.window(|window| window.spend(number)))
    }

    fn window<T>(&self, action: impl FnOnce(&mut window::Window) -> T) -> T {
        // Each of its steps leaves it whole.
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// The key of the nonces' MAC, of all instances on a database that they share.
    pub(crate) async fn nonce_key(&self, entropy: Entropy) -> Result<[u8; 32], StoreError> {
        if self.db.is_shared() {
            return self.shared_key("nonce", entropy).await;
        }
        Ok(entropy.bytes()?)
    }

    /// The id of a new nonce.
    pub(crate) fn nonce_id(
        &self,
        now: Timestamp,
        entropy: Entropy,
    ) -> Result<[u8; 16], StoreError> {
        if self.db.is_shared() {
            return Ok(entropy.bytes_of(now.unix_ms())?);
        }
        // What nobody can guess is its MAC.
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.nonces.number(now).to_be_bytes());
        Ok(id)
    }

    /// Spends a nonce; `false` where it was spent before, by any instance.
    pub(crate) async fn spend_nonce(&self, nonce: Nonce) -> Result<bool, StoreError> {
        if !self.db.is_shared() {
            return Ok(self.nonces.spend(&nonce));
        }
        let insert = "INSERT INTO spent_nonces (id, expires_at) VALUES ($1, $2) \
                      ON CONFLICT (id) DO NOTHING";
        let statement = Statement::required(insert, values![nonce.id, nonce.expires_at]);
        Ok(self.db.transact(vec![statement]).await? == Done::Committed)
    }

    /// Spends a nonce for an account; `false`, too, where the account is not the same any more: has another
    /// key, other contacts, agreed to other terms or was deactivated. So nothing that the old key signed
    /// is taken once a change of key is committed, and an account that was read earlier is as good as one
    /// that is read now.
    pub(crate) async fn spend_nonce_for(
        &self,
        nonce: Nonce,
        account: &Account,
    ) -> Result<bool, StoreError> {
        macro_rules! unchanged {
            ($first:literal) => {
                concat!(
                    $first,
                    " FROM accounts u WHERE u.id = $3 AND u.thumbprint = $4 \
                     AND u.deactivated_at IS NULL AND u.contact = $5 \
                     AND COALESCE(u.terms_agreed_at, 0) = $6 AND COALESCE(u.terms_agreed, '') = $7"
                )
            };
        }
        const INSERT: &str = concat!(
            unchanged!("INSERT INTO spent_nonces (id, expires_at) SELECT $1, $2"),
            " ON CONFLICT (id) DO NOTHING"
        );
        let terms = account.terms.as_ref();
        let values = values![
            nonce.id.as_slice(),
            nonce.expires_at,
            account.id.as_str(),
            account.thumbprint.as_str(),
            contact_text(&account.contact),
            terms.map_or(0, |terms| terms.at.unix_ms()),
            terms.and_then(|terms| terms.to.as_deref()).unwrap_or_default(),
        ];
        if !self.db.is_shared() {
            let found = self.db.read(unchanged!("SELECT 1"), values).await?;
            return Ok(!found.is_empty() && self.nonces.spend(&nonce));
        }
        let done = self.db.transact(vec![Statement::required(INSERT, values)]);
        Ok(done.await? == Done::Committed)
    }

    /// Forgets spent nonces that expired long ago: their expiry is reason enough to refuse them, also by the
    /// clock of an instance that is behind this one's, or of this one once it was set back a little.
    pub(crate) async fn forget_nonces(&self, now: Timestamp) -> Result<(), StoreError> {
        let long_ago = now.minus(nonce::LIFETIME);
        let delete = "DELETE FROM spent_nonces WHERE expires_at <= $1";
        self.db.transact_long(vec![Statement::new(delete, values![long_ago])]).await.map(drop)
    }
}
