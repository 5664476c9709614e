//! Certificates and the chains below which they were issued.

use super::db::{Statement, values};
use super::{Store, StoreError};

/// An issued certificate with its chain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct IssuedCertificate {
    pub(crate) account_id: String,
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// PEM: the issuing CA and what a client needs above it.
    pub(crate) chain: String,
}

impl Store {
    /// Keeps a chain, and returns the id that plans name it by. Certificates are handed out with the
    /// chain they were issued below, also after the CA has moved on to another.
    pub(crate) async fn keep_issuer(&self, chain: &str) -> Result<String, StoreError> {
        let digest = openssl::sha::sha256(chain.as_bytes());
        let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let insert = "INSERT INTO issuers (id, chain) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        self.db.transact(vec![Statement::new(insert, values![id.as_str(), chain])]).await?;
        Ok(id)
    }

    /// The issued certificate with this id and CA.
    pub(crate) async fn certificate(
        &self,
        ca: &str,
        id: &str,
    ) -> Result<Option<IssuedCertificate>, StoreError> {
        let select = "SELECT c.account_id, c.certificate, i.chain FROM certificates c \
                      JOIN issuers i ON i.id = c.issuer_id \
                      WHERE c.ca = $1 AND c.id = $2 AND c.certificate IS NOT NULL";
        let rows = self.db.read(select, values![ca, id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(IssuedCertificate {
            account_id: row.text(0)?,
            certificate: row.blob(1)?,
            chain: row.text(2)?,
        }))
    }
}
