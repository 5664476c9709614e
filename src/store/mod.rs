//! What kipuka remembers: the only SQL in the program. One method is one transaction.
//!
//! A method that decides something takes the entry that the audit trail gets of it.

mod account;
mod audited;
mod authorization;
mod caa;
mod certificate;
mod crl;
mod db;
mod external_account;
mod in_hand;
mod issuance;
mod ledger;
mod migrate;
mod nonce;
mod order;
mod retention;
mod revocation;
mod shared_key;
#[cfg(test)]
mod tests;
mod usage;
mod work;

pub(crate) use account::{KeyChanged, NewAccount, Registered};
pub(crate) use audited::{AuditedCertificate, AuditedCrl, AuditedRevocation};
pub(crate) use authorization::{Begin, Conclusion, ToValidate};
pub(crate) use caa::{CaaCheck, NameToSign};
pub(crate) use certificate::{OwnPlan, issuer_id};
pub(crate) use crl::{CrlPlan, PublishedCrl};
pub(crate) use issuance::{Plan, PlannedCertificate};
pub(crate) use ledger::{End, Sealed, SignedCheckpoint};
pub(crate) use order::{
    ListedOrder, NewAuthorization, NewChallenge, NewOrder, OrderedIdentifier, OrdersCursor,
};
pub(crate) use retention::Swept;
pub(crate) use revocation::{FoundCertificate, NewRevocation, RevokedSerial};
pub(crate) use usage::{Caps, MadeFrom};
pub(crate) use work::{Claim, Lease, Left, NewLease, WorkKind};

use db::Db;

use crate::telemetry::metrics::StoreMetrics;

/// The database, with the wake-up calls for those who wait for what is written to it.
#[derive(Clone)]
pub(crate) struct Store {
    db: Db,
    wakeups: work::Wakeups,
    metrics: StoreMetrics,
    origin: ledger::Origin,
    nonces: nonce::Nonces,
}

/// Why the store could not do as asked, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// May work later: the database is away, full or busy.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    /// As [`Self::Database`], said by SQLite's writer to all whose commit failed together.
    #[error("the database did not commit: {0}")]
    Group(String),
    /// The row is there already.
    #[error("the row exists already: {0}")]
    Conflict(#[source] sqlx::Error),
    /// As [`Self::Database`]: whether it was done is not known.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Slow(std::time::Duration),
    #[error("the database was closed")]
    Closed,
    /// A row says what cannot be; a person must look.
    #[error("the row {id} of {table} holds what cannot be")]
    Corrupt { table: &'static str, id: String },
    #[error("the database URL cannot be read: {0}")]
    Url(#[source] sqlx::Error),
    #[error("the schema cannot be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error(transparent)]
    NoEntropy(#[from] crate::entropy::NoEntropy),
}

impl StoreError {
    /// For the metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) | Self::Group(_) => "unavailable",
            Self::Conflict(_) => "conflict",
            Self::Slow(_) => "slow",
            Self::Closed => "closed",
            Self::Corrupt { .. } | Self::Url(_) | Self::Migrate(_) | Self::NoEntropy(_) => "broken",
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Self::Conflict(error)
            }
            _ => Self::Database(error),
        }
    }
}

/// The state of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchemaStatus {
    /// The newest step this program knows.
    pub(crate) newest: i64,
    /// The newest step the database has had; `None` where it has had none.
    pub(crate) applied: Option<i64>,
}

impl SchemaStatus {
    /// Whether this program brings it up to date.
    pub(crate) fn is_behind(self) -> bool {
        self.applied < Some(self.newest)
    }
}

impl std::fmt::Display for SchemaStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.applied {
            None => write!(f, "no schema yet; serve or `kipuka db migrate` makes it"),
            Some(applied) if applied < self.newest => {
                write!(
                    f,
                    "schema at step {applied} of {}; serve or `kipuka db migrate` brings it up to \
                     date",
                    self.newest
                )
            }
            Some(applied) if applied > self.newest => {
                write!(
                    f,
                    "schema at step {applied}, by a newer kipuka than this (step {})",
                    self.newest
                )
            }
            Some(applied) => write!(f, "schema at step {applied}, up to date"),
        }
    }
}

impl Store {
    /// Opens the database at `url` without touching its schema; SQLite's file is made where it is
    /// missing.
    pub(crate) async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        Self::open_counted(url, max_connections, StoreMetrics::default()).await
    }

    /// As [`Self::open`]; what the database is asked is counted.
    pub(crate) async fn open_counted(
        url: &str,
        max_connections: u32,
        metrics: StoreMetrics,
    ) -> Result<Self, StoreError> {
        let db = Db::open(url, max_connections, metrics.clone()).await?;
        let (wakeups, origin) = (work::Wakeups::default(), ledger::Origin::draw()?);
        Ok(Self { db, wakeups, metrics, origin, nonces: nonce::Nonces::default() })
    }

    /// Has the metrics show the connections as they are now.
    pub(crate) fn show_pool(&self) {
        self.db.show_pool();
    }

    /// Brings the schema up to date; several instances may do so at once.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.db.migrate().await
    }

    /// Writes what is still under way, and closes.
    pub(crate) async fn close(&self) {
        self.db.close().await;
    }

    /// Whether the database answers, and takes what is written: one with a full disk still answers, and
    /// so does a replica.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        // The size of a few rows: what is left of a disk may be enough for less.
        const SIZE: usize = 8192;
        self.db.read("SELECT 1", Vec::new()).await?;
        let write = "INSERT INTO shared_keys (name, value) VALUES ('probe', $1) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let probe = db::Statement::new(write, db::values![vec![0; SIZE]]);
        self.db.transact(vec![probe]).await.map(drop)
    }

    /// Returns once the database has answered a reader and a writer, be it that they failed; `false`
    /// where nobody will ever again.
    pub(crate) async fn goes_on(&self) -> bool {
        let read = self.db.read("SELECT 1", Vec::new()).await;
        // Without a statement: it takes its turn behind all that is to be written, and writes nothing.
        let written = self.db.transact(Vec::new()).await;
        !matches!(read, Err(StoreError::Closed)) && !matches!(written, Err(StoreError::Closed))
    }

    /// How far the schema has come.
    pub(crate) async fn schema_status(&self) -> Result<SchemaStatus, StoreError> {
        let there = self.db.pick(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'",
            "SELECT 1 WHERE to_regclass('_sqlx_migrations') IS NOT NULL",
        );
        let applied = if self.db.read(there, Vec::new()).await?.is_empty() {
            None
        } else {
            let newest = "SELECT MAX(version) FROM _sqlx_migrations";
            let rows = self.db.read(newest, Vec::new()).await?;
            rows.first().map(|row| row.optional_int(0)).transpose()?.flatten()
        };
        Ok(SchemaStatus { newest: migrate::newest(), applied })
    }
}

/// A problem as the database keeps it.
fn json(problem: &crate::acme::problem::Problem) -> String {
    serde_json::to_string(problem).expect("strings, numbers and string keys are what JSON can hold")
}

/// What must stay quick however much an account has: the statements that count, on SQLite.
#[cfg(test)]
const LIMITED: [&str; 7] = [
    account::INSERT_WITHIN_CAP,
    authorization::INSERT_WITHIN_CAPS,
    authorization::VALID_ON_SQLITE,
    order::INSERT_ON_SQLITE,
    usage::COUNTS,
    work::CLAIM_ON_SQLITE,
    work::ENQUEUE,
];
