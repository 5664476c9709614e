//! Authorizations and their challenges (RFC 8555 §7.1.4, §7.1.5).

use std::time::Duration;

use super::db::{Done, Row, Statement, Value, values};
use super::usage::{Caps, failures_since, list, pending_authorizations, window};
use super::work::{self, Lease, NewLease, WorkKind};
use super::{NewAuthorization, Store, StoreError};
use crate::acme::authorization::Authorization;
use crate::acme::challenge::{Challenge, ChallengeResult, ChallengeType, Retry};
use crate::acme::identifier::Identifier;
use crate::acme::problem::Problem;
use crate::clock::Timestamp;
use crate::ledger::Entry;

/// SELECT of authorizations `a` of accounts `u`, a row for each challenge, from this on. With its
/// account, an authorization is deactivated too.
macro_rules! select_authorizations {
    ($($rest:tt)+) => {
        concat!(
            "SELECT a.id, a.ca, a.account_id, a.identifier, a.expires_at, ",
            "COALESCE(a.deactivated_at, u.deactivated_at), a.concluded_by, c.id, c.type, ",
            "c.token, c.begun_at, c.validated_at, c.error, c.account_url, c.retry_error, ",
            "c.retry_at, a.subdomains, c.attested_key",
            $($rest)+
        )
    };
}
pub(super) use select_authorizations;

/// SELECT of the valid authorizations of these names: one of each, however many an account has.
macro_rules! select_valid {
    ($names:literal) => {
        select_authorizations!(
                " FROM (",
                $names,
                ") i JOIN authorizations a ON a.id = (SELECT b.id FROM authorizations b \
                 JOIN challenges d ON d.id = b.concluded_by WHERE b.account_id = $2 \
                 AND b.identifier = i.name AND b.expires_at >= $5 AND b.concluded_by IS NOT NULL \
                 AND b.failed_at IS NULL AND b.ca = $1 AND b.deactivated_at IS NULL \
                 AND d.validated_at > $4 ORDER BY b.expires_at DESC, b.id LIMIT 1) \
                 JOIN accounts u ON u.id = a.account_id JOIN challenges c ON c.id = a.concluded_by \
                 ORDER BY c.validated_at DESC, a.id"
        )
    };
}

/// Notes that the orders which need an authorization no longer count as pending: it was not proved, or is
/// given up. Their status follows from the authorization itself.
macro_rules! lose_orders {
    ($authorization:literal) => {
        concat!(
            "UPDATE orders SET failed_at = $2 WHERE failed_at IS NULL AND certificate_id IS NULL \
             AND id IN (SELECT p.order_id FROM order_authorizations p WHERE p.authorization_id = ",
            $authorization,
            ")"
        )
    };
}

/// The number of columns that [`select_authorizations`] names.
pub(super) const COLUMNS: usize = 18;

pub(super) const INSERT_WITHIN_CAPS: &str = concat!(
    "INSERT INTO authorizations (id, ca, account_id, identifier, subdomains, created_at, \
     expires_at) SELECT $1, $2, $3, $4, $5, $6, $7 WHERE ($8 = 0 OR ",
    pending_authorizations!("$3", "$6", "$8"),
    " < $8) AND ($9 = 0 OR ",
    failures_since!("$3", "$4", "$10"),
    " < $9)"
);

pub(super) const VALID_ON_SQLITE: &str = select_valid!("SELECT value AS name FROM json_each($3)");

/// What a worker needs to validate a challenge.
#[derive(Debug)]
pub(crate) struct ToValidate {
    /// Without its challenges.
    pub(crate) authorization: Authorization,
    pub(crate) challenge: Challenge,
    /// Of the account key (RFC 8555 §8.1) that the account had when the client said that it is ready.
    pub(crate) account_thumbprint: String,
    /// What the client sent along (draft-ietf-acme-device-attest §5).
    pub(crate) response: Option<Vec<u8>>,
}

/// That the client says a challenge is ready (RFC 8555 §7.5.1), and what it said along with it.
#[derive(Clone, Debug)]
pub(crate) struct Begin {
    pub(crate) challenge_id: String,
    /// The account's, as the client writes it.
    pub(crate) account_url: String,
    /// An attestation object, which is kept until it is judged.
    pub(crate) response: Option<Vec<u8>>,
    pub(crate) at: Timestamp,
}

/// What a validation came to.
#[derive(Debug)]
pub(crate) struct Conclusion {
    pub(crate) result: ChallengeResult,
    /// What was found, of a proof.
    pub(crate) evidence: Option<String>,
    /// Where the certificate may be of one key alone: the SHA-256 of its SubjectPublicKeyInfo, in hex.
    pub(crate) attested_key: Option<String>,
}

impl Store {
    /// The authorization with this id and CA, with all its challenges.
    pub(crate) async fn authorization(
        &self,
        ca: &str,
        id: &str,
    ) -> Result<Option<Authorization>, StoreError> {
        let select = select_authorizations!(
            " FROM authorizations a JOIN accounts u ON u.id = a.account_id \
             JOIN challenges c ON c.authorization_id = a.id \
             WHERE a.ca = $1 AND a.id = $2 ORDER BY c.type"
        );
        one(&self.db.read(select, values![ca, id]).await?)
    }

    /// An account's authorizations for any of `identifiers` that were proved after `proved_after` and
    /// are valid until `until` or longer; of each identifier the one that lasts longest, and of those the
    /// one that was proved last comes first.
    pub(crate) async fn valid_authorizations(
        &self,
        ca: &str,
        account_id: &str,
        identifiers: &[String],
        proved_after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Authorization>, StoreError> {
        let select = self.db.pick(
            VALID_ON_SQLITE,
            select_valid!("SELECT json_array_elements_text($3::json) AS name"),
        );
        let mut values = values![ca, account_id];
        values.push(list(identifiers));
        values.extend(values![proved_after, until]);
        self.db.read(select, values).await?.iter().map(authorization_of).collect()
    }

    /// Keeps an authorization that no order asked for (RFC 8555 §7.4.1); `false` where the account would
    /// have more than its caps.
    pub(crate) async fn create_authorization(
        &self,
        ca: &str,
        account_id: &str,
        authorization: &NewAuthorization,
        caps: Caps,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let now = entry.at;
        let mut row = authorization_row(ca, account_id, authorization, now);
        row.extend(values![caps.pending_authorizations, caps.failed_validations, window(now)]);
        let statements = vec![
            Statement::required(INSERT_WITHIN_CAPS, row),
            Statement::insert_rows(INSERT_CHALLENGES, challenge_rows(authorization).collect()),
            self.note(entry),
        ];
        Ok(self.db.transact(statements).await? == Done::Committed)
    }

    /// The authorization that the challenge with this id belongs to.
    pub(crate) async fn authorization_of_challenge(
        &self,
        ca: &str,
        challenge_id: &str,
    ) -> Result<Option<Authorization>, StoreError> {
        let select = select_authorizations!(
            " FROM authorizations a JOIN accounts u ON u.id = a.account_id \
             JOIN challenges c ON c.authorization_id = a.id WHERE a.ca = $1 \
             AND a.id = (SELECT authorization_id FROM challenges WHERE id = $2) \
             ORDER BY c.type"
        );
        one(&self.db.read(select, values![ca, challenge_id]).await?)
    }

    /// What is needed to validate the challenge with this id.
    pub(crate) async fn to_validate(
        &self,
        challenge_id: &str,
    ) -> Result<Option<ToValidate>, StoreError> {
        let select = select_authorizations!(
            ", COALESCE(c.key_thumbprint, u.thumbprint), c.response FROM challenges c \
             JOIN authorizations a ON a.id = c.authorization_id \
             JOIN accounts u ON u.id = a.account_id WHERE c.id = $1"
        );
        let rows = self.db.read(select, values![challenge_id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut authorization = authorization_of(row)?;
        let Some(challenge) = authorization.challenges.pop() else { return Ok(None) };
        Ok(Some(ToValidate {
            authorization,
            challenge,
            account_thumbprint: row.text(COLUMNS)?,
            response: row.optional_blob(COLUMNS + 1)?,
        }))
    }

    /// Notes that the client is ready, and that the challenge is to be validated. `false` where it
    /// was noted before, the authorization is decided, or it or its account was deactivated.
    pub(crate) async fn begin_challenge(&self, begin: Begin) -> Result<bool, StoreError> {
        let work = work::enqueue_validation(&begin.challenge_id, begin.at);
        let done = self.db.transact(vec![begin.statement(""), work]);
        let begun = done.await? == Done::Committed;
        if begun {
            self.wakeups.work_is_due(WorkKind::Validation);
        }
        Ok(begun)
    }

    /// As [`Self::begin_challenge`], and takes the validation on for so long; nothing is written where the
    /// account has another key by now.
    pub(crate) async fn begin_and_lease_challenge(
        &self,
        begin: Begin,
        key_thumbprint: &str,
        lease: NewLease,
        long: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        debug_assert_eq!(lease.subject(), begin.challenge_id);
        let (work, lease) = lease.into_statement(begin.at.plus(long));
        let done = self.db.transact(vec![begin.statement(key_thumbprint), work]);
        Ok((done.await? == Done::Committed).then_some(lease))
    }

    /// As [`Self::begin_challenge`], of a challenge whose validation has ended by now, and
    /// [`Self::conclude_challenge`]; nothing is written where the account has another key by now.
    pub(crate) async fn begin_and_conclude_challenge(
        &self,
        begin: Begin,
        key_thumbprint: &str,
        conclusion: &Conclusion,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        // What was sent along would be dropped in the same moment.
        let Begin { challenge_id, account_url, response: _, at } = begin;
        let write = "UPDATE challenges SET validated_at = $2, error = $3, evidence = $4, \
                     attested_key = $5, begun_at = $6, account_url = $7, key_thumbprint = $8 \
                     WHERE id = $1 AND begun_at IS NULL";
        let mut values = conclusion.values(&challenge_id);
        values.extend(values![at, account_url, key_thumbprint]);
        let write = vec![Statement::required(write, values)];
        self.conclude(write, &challenge_id, key_thumbprint, conclusion, entry).await
    }

    /// Gives a validation back that got no answer, to be claimed again from `due_at` on, and notes
    /// what went wrong until now (RFC 8555 §8.2). Nothing is written where the lease was lost.
    pub(crate) async fn retry_validation(
        &self,
        lease: Lease,
        problem: &Problem,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
        let note = "UPDATE challenges SET retry_error = $2, retry_at = $3 \
                    WHERE id = $1 AND validated_at IS NULL AND error IS NULL";
        let values = values![lease.subject.as_str(), super::json(problem), due_at];
        let note = Statement::required(note, values);
        let mut statements = lease.give_back(due_at);
        statements.push(note);
        let done = self.db.transact(statements).await?;
        self.was_kept(&lease, &done);
        Ok(())
    }

    /// Writes how the validation ended: the challenge's result and, in the same instant, that it
    /// decided the authorization. `false` where the lease was lost, another challenge decided first,
    /// or the proof came after the authorization had expired; then nothing is written.
    pub(crate) async fn conclude_challenge(
        &self,
        lease: &Lease,
        conclusion: &Conclusion,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let id = lease.subject.as_str();
        // The response tells more of a device than anybody needs from now on.
        let write = "UPDATE challenges SET validated_at = $2, error = $3, evidence = $4, \
                     attested_key = $5, response = NULL \
                     WHERE id = $1 AND validated_at IS NULL AND error IS NULL";
        let write = Statement::required(write, conclusion.values(id));
        self.conclude(vec![lease.settle(), write], id, "", conclusion, entry).await
    }

    /// Writes how the validation ended, and has it decide the authorization of an account with this
    /// thumbprint, or with any where it is empty.
    async fn conclude(
        &self,
        write: Vec<Statement>,
        challenge_id: &str,
        key_thumbprint: &str,
        conclusion: &Conclusion,
        entry: &Entry,
    ) -> Result<bool, StoreError> {
        let (proved_at, failed_at) = match conclusion.result {
            ChallengeResult::Proved { at } => (Some(at), None),
            ChallengeResult::Failed { .. } => (None, Some(entry.at)),
        };
        let decide = "UPDATE authorizations SET concluded_by = $1, failed_at = $3 \
                      WHERE id = (SELECT authorization_id FROM challenges WHERE id = $1) \
                      AND concluded_by IS NULL AND deactivated_at IS NULL \
                      AND (expires_at > $2 OR $2 IS NULL) AND EXISTS (SELECT 1 FROM accounts u \
                      WHERE u.id = account_id AND u.deactivated_at IS NULL \
                      AND ($4 = '' OR u.thumbprint = $4))";
        let decide = Statement::required(
            decide,
            values![challenge_id, proved_at, failed_at, key_thumbprint],
        );
        let mut statements = write;
        statements.push(decide);
        if let Some(failed_at) = failed_at {
            let lose = lose_orders!("(SELECT authorization_id FROM challenges WHERE id = $1)");
            statements.push(Statement::new(lose, values![challenge_id, failed_at]));
        }
        statements.push(self.note(entry));
        let concluded = self.db.transact(statements).await? == Done::Committed;
        let kind = WorkKind::Validation;
        if concluded {
            self.wakeups.work_is_settled(kind, challenge_id, proved_at);
        } else {
            self.metrics.lease_lost(kind.as_str());
        }
        Ok(concluded)
    }

    /// Deactivates an authorization for good (RFC 8555 §7.5.2), unless it has expired.
    pub(crate) async fn deactivate_authorization(
        &self,
        id: &str,
        now: Timestamp,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let update = "UPDATE authorizations SET deactivated_at = $2 \
                      WHERE id = $1 AND deactivated_at IS NULL AND expires_at > $2";
        let statements = vec![
            Statement::required(update, values![id, now]),
            Statement::new(lose_orders!("$1"), values![id, now]),
            self.note(entry),
        ];
        self.db.transact(statements).await.map(drop)
    }
}

impl Begin {
    /// For an account with this thumbprint, or with any where it is empty.
    fn statement(self, key_thumbprint: &str) -> Statement {
        let update = "UPDATE challenges SET begun_at = $2, account_url = $3, response = $4, \
                      key_thumbprint = (\
                      SELECT u.thumbprint FROM authorizations a \
                      JOIN accounts u ON u.id = a.account_id WHERE a.id = authorization_id) \
                      WHERE id = $1 AND begun_at IS NULL \
                      AND EXISTS (SELECT 1 FROM authorizations a \
                      JOIN accounts u ON u.id = a.account_id WHERE a.id = authorization_id \
                      AND a.concluded_by IS NULL AND a.deactivated_at IS NULL \
                      AND u.deactivated_at IS NULL AND ($5 = '' OR u.thumbprint = $5))";
        let Self { challenge_id, account_url, response, at } = self;
        Statement::required(
            update,
            values![challenge_id, at, account_url, response, key_thumbprint],
        )
    }
}

impl Conclusion {
    /// The challenge's id, when it was proved or why it failed, and what was found.
    fn values(&self, challenge_id: &str) -> Vec<Value> {
        let (validated_at, error) = match &self.result {
            ChallengeResult::Proved { at } => (Some(*at), None),
            ChallengeResult::Failed { problem } => (None, Some(super::json(problem))),
        };
        let (evidence, attested_key) = (self.evidence.clone(), self.attested_key.clone());
        values![challenge_id, validated_at, error, evidence, attested_key]
    }
}

/// Statements that keep new authorizations with their challenges.
pub(super) fn insert_authorizations<'a>(
    ca: &str,
    account_id: &str,
    new: impl IntoIterator<Item = &'a NewAuthorization>,
    now: Timestamp,
) -> Vec<Statement> {
    let (mut authorizations, mut challenges) = (Vec::new(), Vec::new());
    for authorization in new {
        authorizations.push(authorization_row(ca, account_id, authorization, now));
        challenges.extend(challenge_rows(authorization));
    }
    let mut statements = Vec::new();
    if !authorizations.is_empty() {
        statements.push(Statement::insert_rows(
            "INSERT INTO authorizations (id, ca, account_id, identifier, subdomains, created_at, \
             expires_at) VALUES",
            authorizations,
        ));
        statements.push(Statement::insert_rows(INSERT_CHALLENGES, challenges));
    }
    statements
}

const INSERT_CHALLENGES: &str = "INSERT INTO challenges (id, authorization_id, type, token) VALUES";

fn authorization_row(
    ca: &str,
    account_id: &str,
    authorization: &NewAuthorization,
    now: Timestamp,
) -> Vec<Value> {
    values![
        authorization.id.as_str(),
        ca,
        account_id,
        authorization.identifier.to_string(),
        i64::from(authorization.subdomains),
        now,
        authorization.expires_at,
    ]
}

fn challenge_rows(authorization: &NewAuthorization) -> impl Iterator<Item = Vec<Value>> {
    authorization.challenges.iter().map(|challenge| {
        values![
            challenge.id.as_str(),
            authorization.id.as_str(),
            challenge.kind.as_str(),
            challenge.token.as_str(),
        ]
    })
}

fn one(rows: &[Row]) -> Result<Option<Authorization>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut authorization = authorization_of(first)?;
    for row in &rows[1..] {
        authorization.challenges.extend(challenge_of(row)?);
    }
    Ok(Some(authorization))
}

/// Reads what [`select_authorizations`] names, with the row's challenge.
pub(super) fn authorization_of(row: &Row) -> Result<Authorization, StoreError> {
    let id = row.text(0)?;
    let Some(identifier) = Identifier::stored(&row.text(3)?) else {
        return Err(StoreError::Corrupt { table: "authorizations", id });
    };
    Ok(Authorization {
        id,
        ca: row.text(1)?,
        account_id: row.text(2)?,
        identifier,
        subdomains: row.int(16)? != 0,
        expires_at: row.time(4)?,
        deactivated_at: row.optional_time(5)?,
        concluded_by: row.optional_text(6)?,
        challenges: challenge_of(row)?.into_iter().collect(),
    })
}

/// Reads a challenge; `None` where the join found none.
fn challenge_of(row: &Row) -> Result<Option<Challenge>, StoreError> {
    let Some(id) = row.optional_text(7)? else { return Ok(None) };
    let corrupt = |id: &str| StoreError::Corrupt { table: "challenges", id: id.to_owned() };
    let kind = ChallengeType::from_name(&row.text(8)?).ok_or_else(|| corrupt(&id))?;
    let result = match (row.optional_time(11)?, row.optional_text(12)?) {
        (None, None) => None,
        (Some(at), None) => Some(ChallengeResult::Proved { at }),
        (None, Some(error)) => {
            let problem = serde_json::from_str(&error).map_err(|_| corrupt(&id))?;
            Some(ChallengeResult::Failed { problem })
        }
        (Some(_), Some(_)) => return Err(corrupt(&id)),
    };
    let retry = match (row.optional_text(14)?, row.optional_time(15)?) {
        (Some(error), Some(at)) => {
            let problem = serde_json::from_str(&error).map_err(|_| corrupt(&id))?;
            Some(Retry { problem, at })
        }
        _ => None,
    };
    Ok(Some(Challenge {
        kind,
        token: row.text(9)?,
        begun_at: row.optional_time(10)?,
        account_url: row.optional_text(13)?,
        retry,
        attested_key: row.optional_text(17)?,
        result,
        id,
    }))
}
