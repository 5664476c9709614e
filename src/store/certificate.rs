//! Certificates and the chains below which they were issued.

use data_encoding::HEXLOWER;

use super::db::{Statement, values};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// An issued certificate with its chain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IssuedCertificate {
    pub(crate) account_id: String,
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// PEM: the issuing CA and what a client needs above it.
    pub(crate) chain: String,
}

/// The id under which [`Store::keep_issuers`] keeps a chain: the SHA-256 of its text, in hex.
pub(crate) fn issuer_id(chain: &str) -> String {
    HEXLOWER.encode(&openssl::sha::sha256(chain.as_bytes()))
}

impl Store {
    /// Keeps chains by the ids that plans name them by. Certificates are handed out with the chain they
    /// were issued below, also after the CA has moved on to another.
    pub(crate) async fn keep_issuers(
        &self,
        chains: impl IntoIterator<Item = String>,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO issuers (id, chain) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        let of = |chain: String| Statement::new(insert, values![issuer_id(&chain), chain]);
        self.db.transact(chains.into_iter().map(of).collect()).await.map(drop)
    }

    #[cfg(test)]
    pub(crate) async fn keep_issuer(&self, chain: &str) -> Result<String, StoreError> {
        self.keep_issuers([chain.to_owned()]).await?;
        Ok(issuer_id(chain))
    }

    /// The issued certificate with this id and CA.
    pub(crate) async fn certificate(
        &self,
        ca: &str,
        id: &str,
    ) -> Result<Option<IssuedCertificate>, StoreError> {
        let select = "SELECT c.account_id, c.certificate, i.chain FROM certificates c \
                      JOIN issuers i ON i.id = c.issuer_id \
                      WHERE c.ca = $1 AND c.id = $2 AND c.certificate IS NOT NULL \
                      AND c.account_id IS NOT NULL";
        let rows = self.db.read(select, values![ca, id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(IssuedCertificate {
            account_id: row.text(0)?,
            certificate: row.blob(1)?,
            chain: row.text(2)?,
        }))
    }

    /// Keeps the plan of a certificate that nobody ordered: kipuka's own.
    pub(crate) async fn plan_own_certificate(
        &self,
        plan: OwnPlan<'_>,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let insert = "INSERT INTO certificates (id, ca, issuer_id, serial, tbs, planned_at, \
                      audited) VALUES ($1, $2, $3, $4, $5, $6, 1)";
        let values = values![plan.id, plan.ca, plan.issuer_id, plan.serial, plan.tbs, plan.now];
        let statements = vec![Statement::new(insert, values), self.note(entry)];
        self.db.transact(statements).await.map(drop)
    }

    /// Keeps the signed certificate of such a plan.
    pub(crate) async fn complete_own_certificate(
        &self,
        id: &str,
        certificate: &[u8],
        now: Timestamp,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let update = "UPDATE certificates SET certificate = $2, issued_at = $3, \
                      audited = audited + 2 \
                      WHERE id = $1 AND order_id IS NULL AND certificate IS NULL";
        let keep = Statement::required(update, values![id, certificate, now]);
        self.db.transact(vec![keep, self.note(entry)]).await.map(drop)
    }
}

/// The plan of a certificate that nobody ordered.
#[derive(Debug)]
pub(crate) struct OwnPlan<'a> {
    pub(crate) id: &'a str,
    pub(crate) ca: &'a str,
    pub(crate) issuer_id: &'a str,
    /// In lower-case hex.
    pub(crate) serial: &'a str,
    /// The DER of the TBSCertificate.
    pub(crate) tbs: &'a [u8],
    pub(crate) now: Timestamp,
}
