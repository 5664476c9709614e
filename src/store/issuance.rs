//! The exactly-once seam: a certificate is planned before it is signed, and completed once.
//!
//! Killed after `plan`, the work is there and the next claim signs the planned bytes. Killed
//! after the signature, the same bytes are signed again: the same serial, the same certificate in
//! every respect but, for ECDSA, the signature's random part; only one is ever stored or shown.

use std::time::Duration;

use super::db::{Done, Statement, values};
use super::work::{self, Lease, NewLease, WorkKind};
use super::{Store, StoreError};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::problem::Problem;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// A certificate to be signed for an order.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) order_id: String,
    pub(crate) ca: String,
    pub(crate) account_id: String,
    pub(crate) csr: Vec<u8>,
    pub(crate) certificate_id: String,
    /// From [`Store::keep_issuers`].
    pub(crate) issuer_id: String,
    /// In lower-case hex.
    pub(crate) serial: String,
    /// The DER of the TBSCertificate.
    pub(crate) tbs: Vec<u8>,
    /// What the TBSCertificate was made by, in a form of the caller's.
    pub(crate) profile: String,
    pub(crate) now: Timestamp,
}

/// A planned certificate, as a worker finds it.
#[derive(Debug)]
pub(crate) struct PlannedCertificate {
    pub(crate) ca: String,
    pub(crate) account_id: String,
    pub(crate) serial: String,
    pub(crate) tbs: Vec<u8>,
    pub(crate) csr: Vec<u8>,
    pub(crate) planned_at: Timestamp,
    pub(crate) account_deactivated: bool,
    pub(crate) identifiers: Vec<Identifier>,
    /// By which the identifiers were proved, each.
    pub(crate) methods: Vec<ChallengeType>,
    /// Those of them whose authorization was deactivated.
    pub(crate) deactivated: Vec<Identifier>,
    /// Which dates the order asked for.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
    /// As in [`Plan`]; none was kept by older releases.
    pub(crate) profile: Option<String>,
    /// By which the order called it, if by any.
    pub(crate) profile_name: Option<String>,
}

impl Store {
    /// Accepts a CSR and plans its certificate. `false` where somebody was first, or where the
    /// account or an authorization was deactivated or expired meanwhile; then nothing is written.
    pub(crate) async fn plan_issuance(
        &self,
        plan: Plan,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let work = work::enqueue(WorkKind::Issuance, &plan.order_id, &plan.account_id, plan.now);
        let planned = self.keep_plan(&plan, entry, work).await?;
        if planned {
            self.wakeups.work_is_due(WorkKind::Issuance);
        }
        Ok(planned)
    }

    /// As [`Self::plan_issuance`], and takes the issuance on for so long.
    pub(crate) async fn plan_and_lease_issuance(
        &self,
        plan: &Plan,
        entry: &Entry,
        lease: NewLease,
        long: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        debug_assert_eq!(lease.subject(), plan.order_id);
        let (work, lease) = lease.into_statement(plan.now.plus(long));
        Ok(self.keep_plan(plan, entry, work).await?.then_some(lease))
    }

    async fn keep_plan(
        &self,
        plan: &Plan,
        entry: &Entry,
        work: Statement,
    ) -> Result<bool, StoreError> {
        let accept = "UPDATE orders SET processing_since = $2, csr = $3 WHERE id = $1 \
             AND processing_since IS NULL AND error IS NULL AND expires_at > $2 \
             AND EXISTS (SELECT 1 FROM accounts u WHERE u.id = orders.account_id \
             AND u.deactivated_at IS NULL) \
             AND NOT EXISTS (SELECT 1 FROM order_authorizations p \
             JOIN authorizations a ON a.id = p.authorization_id \
             LEFT JOIN challenges c ON c.id = a.concluded_by \
             WHERE p.order_id = orders.id AND (a.deactivated_at IS NOT NULL \
             OR a.expires_at <= $2 OR c.validated_at IS NULL))";
        let keep = "INSERT INTO certificates (id, ca, account_id, order_id, issuer_id, serial, \
                    tbs, planned_at, profile, audited) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)";
        let order_id = plan.order_id.as_str();
        let done = self.db.transact(vec![
            Statement::required(accept, values![order_id, plan.now, plan.csr.as_slice()]),
            Statement::new(
                keep,
                values![
                    plan.certificate_id.as_str(),
                    plan.ca.as_str(),
                    plan.account_id.as_str(),
                    order_id,
                    plan.issuer_id.as_str(),
                    plan.serial.as_str(),
                    plan.tbs.as_slice(),
                    plan.now,
                    plan.profile.as_str(),
                ],
            ),
            work,
            self.note(entry),
        ]);
        Ok(done.await? == Done::Committed)
    }

    /// The certificate that is planned for an order.
    pub(crate) async fn planned_certificate(
        &self,
        order_id: &str,
    ) -> Result<Option<PlannedCertificate>, StoreError> {
        let select = "SELECT c.ca, c.account_id, c.serial, c.tbs, o.csr, \
                      c.planned_at, COALESCE(p.identifier, a.identifier), o.not_before, \
                      o.not_after, c.profile, u.deactivated_at, a.deactivated_at, o.profile, \
                      h.type FROM certificates c \
                      JOIN orders o ON o.id = c.order_id \
                      JOIN accounts u ON u.id = o.account_id \
                      JOIN order_authorizations p ON p.order_id = o.id \
                      JOIN authorizations a ON a.id = p.authorization_id \
                      LEFT JOIN challenges h ON h.id = a.concluded_by \
                      WHERE c.order_id = $1 ORDER BY p.position";
        let rows = self.db.read(select, values![order_id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let corrupt = || StoreError::Corrupt { table: "orders", id: order_id.to_owned() };
        let mut identifiers = Vec::with_capacity(rows.len());
        let mut methods = Vec::with_capacity(rows.len());
        let mut deactivated = Vec::new();
        for row in &rows {
            let identifier = Identifier::stored(&row.text(6)?).ok_or_else(corrupt)?;
            if row.optional_time(11)?.is_some() {
                deactivated.push(identifier.clone());
            }
            identifiers.push(identifier);
            let method = row.optional_text(13)?;
            methods.extend(method.as_deref().and_then(ChallengeType::from_name));
        }
        Ok(Some(PlannedCertificate {
            ca: row.text(0)?,
            account_id: row.text(1)?,
            serial: row.text(2)?,
            tbs: row.blob(3)?,
            csr: row.blob(4)?,
            planned_at: row.time(5)?,
            account_deactivated: row.optional_time(10)?.is_some(),
            identifiers,
            methods,
            deactivated,
            not_before: row.optional_time(7)?,
            not_after: row.optional_time(8)?,
            profile: row.optional_text(9)?,
            profile_name: row.optional_text(12)?,
        }))
    }

    /// Stores the signed certificate; from here on the order is `valid`. `false` where the lease
    /// was lost, or the account or an authorization was deactivated meanwhile; then nothing is written
    /// and the certificate must be forgotten. The work stays, for the next claim to see why.
    pub(crate) async fn complete_issuance(
        &self,
        lease: Lease,
        certificate: Vec<u8>,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let order_id = lease.subject.as_str();
        let keep = "UPDATE certificates SET certificate = $2, issued_at = $3, \
                    audited = audited + 2 \
                    WHERE order_id = $1 AND certificate IS NULL";
        let finish = "UPDATE orders SET certificate_id = \
                      (SELECT c.id FROM certificates c WHERE c.order_id = $1) \
                      WHERE id = $1 AND certificate_id IS NULL AND error IS NULL \
                      AND EXISTS (SELECT 1 FROM accounts u WHERE u.id = account_id \
                      AND u.deactivated_at IS NULL) \
                      AND NOT EXISTS (SELECT 1 FROM order_authorizations p \
                      JOIN authorizations a ON a.id = p.authorization_id \
                      WHERE p.order_id = orders.id AND a.deactivated_at IS NOT NULL)";
        let done = self.db.transact(vec![
            lease.settle(),
            Statement::required(keep, values![order_id, certificate, now]),
            Statement::required(finish, values![order_id]),
            self.note(entry),
        ]);
        let completed = self.was_kept(&lease, &done.await?);
        if completed {
            self.wakeups.work_is_settled(WorkKind::Issuance, order_id, Some(now));
        }
        Ok(completed)
    }

    /// Gives an order up: it is `invalid` from here on. `false` where the lease was lost.
    pub(crate) async fn fail_issuance(
        &self,
        lease: Lease,
        problem: &Problem,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let order_id = lease.subject.as_str();
        let fail = "UPDATE orders SET error = $2 \
                    WHERE id = $1 AND certificate_id IS NULL AND error IS NULL";
        let done = self.db.transact(vec![
            lease.settle(),
            Statement::required(fail, values![order_id, super::json(problem)]),
            self.note(entry),
        ]);
        let failed = self.was_kept(&lease, &done.await?);
        if failed {
            self.wakeups.work_is_settled(WorkKind::Issuance, order_id, None);
        }
        Ok(failed)
    }
}
