//! What the tables say was signed and revoked, to be compared with the audit trail.

use super::db::{Row, values};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ledger;

/// A certificate's row, as far as the trail must agree with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditedCertificate {
    pub(crate) id: String,
    pub(crate) ca: String,
    pub(crate) serial: String,
    pub(crate) tbs_sha256: String,
    /// Of the certificate, where it is issued.
    pub(crate) sha256: Option<String>,
    pub(crate) issued_at: Option<Timestamp>,
    /// Whether the trail must have an entry of the plan.
    pub(crate) plan_audited: bool,
    /// Whether the trail must have an entry of the certificate.
    pub(crate) issue_audited: bool,
}

/// A revocation's row, as far as the trail must agree with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditedRevocation {
    pub(crate) certificate_id: String,
    pub(crate) ca: String,
    pub(crate) serial: String,
    pub(crate) reason: i64,
    pub(crate) audited: bool,
}

/// The row of a CRL that is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditedCrl {
    pub(crate) issuer: String,
    pub(crate) number: i64,
    /// As long as its bytes are kept.
    pub(crate) sha256: Option<String>,
    pub(crate) audited: bool,
}

impl Store {
    /// Certificates behind an id, in the order of ids.
    pub(crate) async fn audited_certificates(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AuditedCertificate>, StoreError> {
        let select = "SELECT id, ca, serial, tbs, certificate, issued_at, audited \
                      FROM certificates WHERE id > $1 ORDER BY id LIMIT $2";
        let rows = self.db.read(select, values![after, limit]).await?;
        rows.iter().map(certificate_of).collect()
    }

    /// The one with this serial.
    pub(crate) async fn audited_certificate(
        &self,
        ca: &str,
        serial: &str,
    ) -> Result<Option<AuditedCertificate>, StoreError> {
        let select = "SELECT id, ca, serial, tbs, certificate, issued_at, audited \
                      FROM certificates WHERE ca = $1 AND serial = $2";
        let rows = self.db.read(select, values![ca, serial]).await?;
        rows.first().map(certificate_of).transpose()
    }

    /// Revocations behind the id of a certificate, in the order of ids.
    pub(crate) async fn audited_revocations(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<AuditedRevocation>, StoreError> {
        let select = "SELECT r.certificate_id, c.ca, r.serial, r.reason, r.audited \
                      FROM revocations r JOIN certificates c ON c.id = r.certificate_id \
                      WHERE r.certificate_id > $1 ORDER BY r.certificate_id LIMIT $2";
        let rows = self.db.read(select, values![after, limit]).await?;
        rows.iter().map(revocation_of).collect()
    }

    /// The revocation of the certificate with this serial.
    pub(crate) async fn audited_revocation(
        &self,
        ca: &str,
        serial: &str,
    ) -> Result<Option<AuditedRevocation>, StoreError> {
        let select = "SELECT r.certificate_id, c.ca, r.serial, r.reason, r.audited \
                      FROM certificates c JOIN revocations r ON r.certificate_id = c.id \
                      WHERE c.ca = $1 AND c.serial = $2";
        let rows = self.db.read(select, values![ca, serial]).await?;
        rows.first().map(revocation_of).transpose()
    }

    /// Signed CRLs behind one, in the order of issuers and numbers.
    pub(crate) async fn audited_crls(
        &self,
        (issuer, number): (&str, i64),
        limit: i64,
    ) -> Result<Vec<AuditedCrl>, StoreError> {
        let select = "SELECT issuer, number, crl, audited FROM crls \
                      WHERE signed_at IS NOT NULL AND (issuer > $1 OR (issuer = $1 AND number > $2)) \
                      ORDER BY issuer, number LIMIT $3";
        let rows = self.db.read(select, values![issuer, number, limit]).await?;
        rows.iter().map(crl_of).collect()
    }

    /// The signed CRL of this issuer with this number.
    pub(crate) async fn audited_crl(
        &self,
        issuer: &str,
        number: i64,
    ) -> Result<Option<AuditedCrl>, StoreError> {
        let select = "SELECT issuer, number, crl, audited FROM crls \
                      WHERE issuer = $1 AND number = $2 AND signed_at IS NOT NULL";
        let rows = self.db.read(select, values![issuer, number]).await?;
        rows.first().map(crl_of).transpose()
    }
}

fn certificate_of(row: &Row) -> Result<AuditedCertificate, StoreError> {
    let (certificate, audited) = (row.optional_blob(4)?, row.int(6)?);
    Ok(AuditedCertificate {
        id: row.text(0)?,
        ca: row.text(1)?,
        serial: row.text(2)?,
        tbs_sha256: ledger::digest(&row.blob(3)?),
        sha256: certificate.as_deref().map(ledger::digest),
        issued_at: row.optional_time(5)?,
        plan_audited: audited & 1 != 0,
        issue_audited: audited & 2 != 0,
    })
}

fn revocation_of(row: &Row) -> Result<AuditedRevocation, StoreError> {
    Ok(AuditedRevocation {
        certificate_id: row.text(0)?,
        ca: row.text(1)?,
        serial: row.text(2)?,
        reason: row.int(3)?,
        audited: row.int(4)? != 0,
    })
}

fn crl_of(row: &Row) -> Result<AuditedCrl, StoreError> {
    Ok(AuditedCrl {
        issuer: row.text(0)?,
        number: row.int(1)?,
        sha256: row.optional_blob(2)?.as_deref().map(ledger::digest),
        audited: row.int(3)? != 0,
    })
}
