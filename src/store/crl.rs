//! CRLs: planned before they are signed, completed once, numbered upwards for ever.
//!
//! Plans of one issuer are made under the lease of its work alone, and after the lease was taken: so of
//! two lists the one with the higher number knows of every revocation that the other knew of.

use super::db::{Row, Statement, values};
use super::work::{self, Lease, WorkKind};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// CRLs whose bytes are kept behind the newest of an issuer.
const KEPT: i64 = 10;

/// A CRL to be signed.
#[derive(Clone, Debug)]
pub(crate) struct CrlPlan {
    pub(crate) number: i64,
    /// The SHA-256 of the key that is to sign, in hex.
    pub(crate) signing_key: String,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    /// The DER of the `TBSCertList`.
    pub(crate) tbs: Vec<u8>,
}

/// A plan that was not signed, the newest of its issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedCrl {
    pub(crate) number: i64,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) tbs: Vec<u8>,
}

/// The newest signed CRL of an issuer, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedCrl {
    pub(crate) number: i64,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    pub(crate) signed_at: Timestamp,
}

impl Store {
    /// The newest CRL of this issuer that is signed with this key.
    pub(crate) async fn published_crl(
        &self,
        issuer: &str,
        signing_key: &str,
    ) -> Result<Option<PublishedCrl>, StoreError> {
        let select = "SELECT number, this_update, next_update, signed_at FROM crls \
                      WHERE issuer = $1 AND signing_key = $2 AND signed_at IS NOT NULL \
                      ORDER BY number DESC LIMIT 1";
        let rows = self.db.read(select, values![issuer, signing_key]).await?;
        let published = |row: &Row| {
            Ok(PublishedCrl {
                number: row.int(0)?,
                this_update: row.time(1)?,
                next_update: row.time(2)?,
                signed_at: row.time(3)?,
            })
        };
        rows.first().map(published).transpose()
    }

    /// The length of a signed CRL's DER, without reading it; none where it is long superseded.
    pub(crate) async fn crl_bytes(
        &self,
        issuer: &str,
        number: i64,
    ) -> Result<Option<i64>, StoreError> {
        let length = self.db.pick(
            "SELECT LENGTH(crl) FROM crls WHERE issuer = $1 AND number = $2",
            "SELECT OCTET_LENGTH(crl)::BIGINT FROM crls WHERE issuer = $1 AND number = $2",
        );
        let rows = self.db.read(length, values![issuer, number]).await?;
        rows.first().map(|row| row.optional_int(0)).transpose().map(Option::flatten)
    }

    /// The DER of a signed CRL; none where it is long superseded.
    pub(crate) async fn crl(
        &self,
        issuer: &str,
        number: i64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let select = "SELECT crl FROM crls WHERE issuer = $1 AND number = $2";
        let rows = self.db.read(select, values![issuer, number]).await?;
        rows.first().map(|row| row.optional_blob(0)).transpose().map(Option::flatten)
    }

    /// The highest number that was given to a CRL of this issuer, signed or not, with whatever key.
    pub(crate) async fn highest_crl_number(&self, issuer: &str) -> Result<i64, StoreError> {
        let select = "SELECT MAX(number) FROM crls WHERE issuer = $1";
        let rows = self.db.read(select, values![issuer]).await?;
        let highest = rows.first().map(|row| row.optional_int(0)).transpose()?.flatten();
        Ok(highest.unwrap_or(0))
    }

    /// The plan with the issuer's highest number for this key, unless that is signed.
    pub(crate) async fn planned_crl(
        &self,
        issuer: &str,
        signing_key: &str,
    ) -> Result<Option<PlannedCrl>, StoreError> {
        let select = "SELECT number, this_update, next_update, tbs FROM crls \
                      WHERE issuer = $1 AND signing_key = $2 ORDER BY number DESC LIMIT 1";
        let rows = self.db.read(select, values![issuer, signing_key]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let Some(tbs) = row.optional_blob(3)? else { return Ok(None) };
        Ok(Some(PlannedCrl {
            number: row.int(0)?,
            this_update: row.time(1)?,
            next_update: row.time(2)?,
            tbs,
        }))
    }

    /// Keeps a plan. `false` where the lease was lost; then nothing is written.
    pub(crate) async fn plan_crl(
        &self,
        lease: &Lease,
        plan: CrlPlan,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let insert = "INSERT INTO crls (issuer, number, signing_key, this_update, next_update, tbs) \
                      VALUES ($1, $2, $3, $4, $5, $6)";
        let values = values![
            lease.subject.as_str(),
            plan.number,
            plan.signing_key,
            plan.this_update,
            plan.next_update,
            plan.tbs,
        ];
        let keep = Statement::new(insert, values);
        let done = self.db.transact(vec![lease.hold(), keep, self.note(entry)]).await?;
        Ok(self.was_kept(lease, &done))
    }

    /// Stores the signed CRL of a plan: from here on every instance serves it. `false` where the lease
    /// was lost or the plan is signed already; then nothing is written.
    pub(crate) async fn publish_crl(
        &self,
        lease: &Lease,
        number: i64,
        crl: Vec<u8>,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let issuer = lease.subject.as_str();
        let keep = "UPDATE crls SET crl = $3, signed_at = $4, tbs = NULL, audited = 1 \
                    WHERE issuer = $1 AND number = $2 AND signed_at IS NULL";
        let forget = "UPDATE crls SET crl = NULL, tbs = NULL WHERE issuer = $1 AND number <= $2 \
                      AND (crl IS NOT NULL OR tbs IS NOT NULL) \
                      AND number < (SELECT MAX(n.number) FROM crls n WHERE n.issuer = crls.issuer \
                      AND n.signing_key = crls.signing_key AND n.signed_at IS NOT NULL)";
        let done = self.db.transact(vec![
            lease.hold(),
            Statement::required(keep, values![issuer, number, crl, now]),
            Statement::new(forget, values![issuer, number - KEPT]),
            self.note(entry),
        ]);
        Ok(self.was_kept(lease, &done.await?))
    }

    /// Takes the work off the list, unless a CRL was asked for anew meanwhile: then it is due again, at
    /// `again_at`.
    pub(crate) async fn settle_crl(
        &self,
        lease: Lease,
        again_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut statements = vec![lease.hold()];
        statements.extend(lease.settle_unless_asked(again_at));
        let done = self.db.transact(statements).await?;
        self.was_kept(&lease, &done);
        Ok(())
    }

    /// Puts a CRL of this issuer on the list, because it is time for one.
    pub(crate) async fn schedule_crl(
        &self,
        issuer: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.transact(vec![work::enqueue_once(WorkKind::Crl, issuer, now)]).await?;
        self.wakeups.work_is_due(WorkKind::Crl);
        Ok(())
    }

    /// Whether a CRL of this issuer is on the list, not signed yet.
    pub(crate) async fn crl_is_due(&self, issuer: &str) -> Result<bool, StoreError> {
        self.work_exists(WorkKind::Crl, issuer).await
    }
}
