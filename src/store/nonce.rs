//! Spent nonces (RFC 8555 §6.5).

use super::account::contact_text;
use super::db::{Done, Statement, values};
use super::{Store, StoreError};
use crate::acme::account::Account;
use crate::acme::nonce::{self, Nonce};
use crate::clock::Timestamp;

impl Store {
    /// Spends a nonce; `false` where it was spent before, by any instance.
    pub(crate) async fn spend_nonce(&self, nonce: Nonce) -> Result<bool, StoreError> {
        let insert = "INSERT INTO spent_nonces (id, expires_at) VALUES ($1, $2) \
                      ON CONFLICT (id) DO NOTHING";
        let statement = Statement::required(insert, values![nonce.id, nonce.expires_at]);
        Ok(self.db.transact(vec![statement]).await? == Done::Committed)
    }

    /// Spends a nonce for an account; `false`, too, where the account is not the same any more: has another
    /// key, other contacts, agreed to other terms or was deactivated. So nothing that the old key signed
    /// begins once a change of key is committed, and an account that was read earlier is as good as one
    /// that is read now.
    pub(crate) async fn spend_nonce_for(
        &self,
        nonce: Nonce,
        account: &Account,
    ) -> Result<bool, StoreError> {
        let insert = "INSERT INTO spent_nonces (id, expires_at) SELECT $1, $2 FROM accounts u \
                      WHERE u.id = $3 AND u.thumbprint = $4 AND u.deactivated_at IS NULL \
                      AND u.contact = $5 AND COALESCE(u.terms_agreed_at, 0) = $6 \
                      AND COALESCE(u.terms_agreed, '') = $7 \
                      ON CONFLICT (id) DO NOTHING";
        let terms = account.terms.as_ref();
        let values = values![
            nonce.id,
            nonce.expires_at,
            account.id.as_str(),
            account.thumbprint.as_str(),
            contact_text(&account.contact),
            terms.map_or(0, |terms| terms.at.unix_ms()),
            terms.and_then(|terms| terms.to.as_deref()).unwrap_or_default(),
        ];
        let done = self.db.transact(vec![Statement::required(insert, values)]);
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
