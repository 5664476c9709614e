//! Certificates by their serials, and their revocations (RFC 5280 §5.3).

use std::time::Duration;

use super::db::{Done, Row, Statement, values};
use super::work::{self, WorkKind};
use super::{Store, StoreError};
use crate::acme::identifier::Identifier;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// An issued certificate, whoever it was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundCertificate {
    pub(crate) id: String,
    pub(crate) ca: String,
    /// `None` for kipuka's own, which nobody ordered.
    pub(crate) account_id: Option<String>,
    /// In lower-case hex.
    pub(crate) serial: String,
    pub(crate) certificate: Vec<u8>,
    pub(crate) issued_at: Timestamp,
    pub(crate) revocation: Option<Revocation>,
}

/// That a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    /// The number of the `CRLReason` (RFC 5280 §5.3.1).
    pub(crate) reason: i64,
    pub(crate) revoked_at: Timestamp,
    /// In words, for people.
    pub(crate) revoked_by: String,
}

/// A revocation to be kept.
#[derive(Clone, Debug)]
pub(crate) struct NewRevocation<'a> {
    pub(crate) certificate_id: &'a str,
    /// The hash of the name of the certificate's issuer.
    pub(crate) issuer: &'a str,
    pub(crate) serial: &'a str,
    pub(crate) reason: i64,
    pub(crate) revoked_at: Timestamp,
    pub(crate) revoked_by: &'a str,
    /// The last moment of the certificate's validity.
    pub(crate) not_after: Timestamp,
}

/// What a CRL tells of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevokedSerial {
    pub(crate) serial: String,
    pub(crate) reason: i64,
    pub(crate) revoked_at: Timestamp,
}

/// Before which certificate a page of the list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificatesCursor {
    pub(crate) issued_at: Timestamp,
    pub(crate) id: String,
}

impl FoundCertificate {
    /// Where the page behind this certificate begins.
    pub(crate) fn cursor(&self) -> CertificatesCursor {
        CertificatesCursor { issued_at: self.issued_at, id: self.id.clone() }
    }
}

/// SELECT of issued certificates with their revocations, from this on.
macro_rules! select_certificates {
    ($rest:literal) => {
        concat!(
            "SELECT c.id, c.ca, c.account_id, c.serial, c.certificate, c.issued_at, r.reason, ",
            "r.revoked_at, r.revoked_by FROM certificates c ",
            "LEFT JOIN revocations r ON r.certificate_id = c.id ",
            "WHERE c.certificate IS NOT NULL ",
            $rest
        )
    };
}

impl Store {
    /// The certificate that this CA issued with this serial (in lower-case hex), and whether it was
    /// revoked.
    pub(crate) async fn certificate_by_serial(
        &self,
        ca: &str,
        serial: &str,
    ) -> Result<Option<FoundCertificate>, StoreError> {
        let select = select_certificates!("AND c.ca = $1 AND c.serial = $2");
        self.db.read(select, values![ca, serial]).await?.first().map(found).transpose()
    }

    /// Every certificate with this serial: at most one of each CA.
    pub(crate) async fn certificates_by_serial(
        &self,
        serial: &str,
    ) -> Result<Vec<FoundCertificate>, StoreError> {
        let select = select_certificates!("AND c.serial = $1 ORDER BY c.ca");
        self.db.read(select, values![serial]).await?.iter().map(found).collect()
    }

    /// Certificates, newest first: of this CA, or of all.
    pub(crate) async fn certificates(
        &self,
        ca: Option<&str>,
        before: Option<CertificatesCursor>,
        limit: i64,
    ) -> Result<Vec<FoundCertificate>, StoreError> {
        let select = select_certificates!(
            "AND ($1 = '' OR c.ca = $1) \
             AND (c.issued_at < $2 OR (c.issued_at = $2 AND c.id < $3)) \
             ORDER BY c.issued_at DESC, c.id DESC LIMIT $4"
        );
        let before = before.unwrap_or(CertificatesCursor {
            issued_at: Timestamp::from_unix_ms(i64::MAX),
            id: String::new(),
        });
        let values = values![ca.unwrap_or_default(), before.issued_at, before.id, limit];
        self.db.scan(select, values).await?.iter().map(found).collect()
    }

    /// Whether the account holds a valid authorization with this CA for this very identifier; with
    /// `subdomains`, one for a domain above that stands for the names below it counts, too.
    pub(crate) async fn is_authorized(
        &self,
        ca: &str,
        account_id: &str,
        identifier: &Identifier,
        subdomains: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut names = vec![identifier.to_string()];
        if subdomains {
            names.extend(identifier.ancestors().map(str::to_owned));
        }
        let (ever, still) = (Timestamp::from_unix_ms(0), now.plus(Duration::from_millis(1)));
        let held = self.valid_authorizations(ca, account_id, &names, ever, still).await?;
        Ok(held.iter().any(|held| held.covers(identifier)))
    }

    /// Keeps a revocation, and asks for a CRL that tells of it. `false` where the certificate was
    /// revoked before; then nothing is written.
    pub(crate) async fn revoke(
        &self,
        revocation: NewRevocation<'_>,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let insert = "INSERT INTO revocations (certificate_id, issuer, serial, reason, revoked_at, \
                      revoked_by, not_after, audited) VALUES ($1, $2, $3, $4, $5, $6, $7, 1) \
                      ON CONFLICT (certificate_id) DO NOTHING";
        let (issuer, now) = (revocation.issuer, revocation.revoked_at);
        let done = self.db.transact(vec![
            Statement::required(
                insert,
                values![
                    revocation.certificate_id,
                    issuer,
                    revocation.serial,
                    revocation.reason,
                    now,
                    revocation.revoked_by,
                    revocation.not_after,
                ],
            ),
            work::ask(WorkKind::Crl, issuer, now),
            self.note(entry),
        ]);
        let revoked = done.await? == Done::Committed;
        if revoked {
            self.wakeups.work_is_due(WorkKind::Crl);
        }
        Ok(revoked)
    }

    /// What an issuer revoked, the oldest first, without what was over and done with before `since`:
    /// expired, and revoked.
    pub(crate) async fn revoked_by(
        &self,
        issuer: &str,
        since: Timestamp,
    ) -> Result<Vec<RevokedSerial>, StoreError> {
        let select = "SELECT serial, reason, revoked_at FROM revocations WHERE issuer = $1 \
                      AND (not_after >= $2 OR revoked_at >= $2) ORDER BY revoked_at, serial";
        let rows = self.db.scan(select, values![issuer, since]).await?;
        let revoked = rows.iter().map(|row| {
            let (serial, reason) = (row.text(0)?, row.int(1)?);
            Ok(RevokedSerial { serial, reason, revoked_at: row.time(2)? })
        });
        revoked.collect()
    }
}

fn found(row: &Row) -> Result<FoundCertificate, StoreError> {
    let revocation = match row.optional_int(6)? {
        None => None,
        Some(reason) => {
            Some(Revocation { reason, revoked_at: row.time(7)?, revoked_by: row.text(8)? })
        }
    };
    Ok(FoundCertificate {
        id: row.text(0)?,
        ca: row.text(1)?,
        account_id: row.optional_text(2)?,
        serial: row.text(3)?,
        certificate: row.blob(4)?,
        issued_at: row.time(5)?,
        revocation,
    })
}
