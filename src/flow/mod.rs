//! One file for each thing that happens; the only place where store, signer and validation meet.

mod account;
mod at_cap;
mod at_once;
mod attest;
mod audit;
mod authorization;
mod authorize;
mod caa;
mod challenge;
mod changes;
mod external_account;
mod finalize;
mod identifiers;
mod issue;
mod key_change;
mod new_account;
mod new_authz;
mod new_order;
mod own_certificate;
mod publish_crl;
mod recheck;
mod refusals;
mod replaces;
mod retain;
mod revoke;
mod shares;
mod steady;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use account::{check_terms, deactivate_account, update_account};
pub(crate) use at_cap::AtCap;
pub(crate) use at_once::{AtOnce, Handed, Handover};
pub(crate) use audit::{
    Checkpoints, KeysSeen, check_checkpoint, checkpoint, checkpoint_when_due, note_keys, seal,
};
pub(crate) use authorization::deactivate_authorization;
pub(crate) use challenge::{begin_attestation, begin_challenge};
pub(crate) use changes::Changes;
pub(crate) use finalize::finalize;
pub(crate) use identifiers::AskedIdentifier;
pub(crate) use issue::{issue, issue_unplanned};
pub(crate) use key_change::{NewKey, change_key};
pub(crate) use new_account::{NewAccount, new_account};
pub(crate) use new_authz::new_authz;
pub(crate) use new_order::{NewOrderRequest, new_order};
pub(crate) use own_certificate::{OwnCertificate, own_certificate};
pub(crate) use publish_crl::{publish_crl, schedule_crls};
pub(crate) use recheck::LONGEST_IN_ATTEMPTS;
pub(crate) use refusals::{Refusals, note_refusals_left_out, noting_refusal};
pub(crate) use retain::{Progress as RetainProgress, retain};
pub(crate) use revoke::{Revoker, revoke_as_operator, revoke_cert};
pub(crate) use shares::{Share, Shares};
pub(crate) use steady::Steady;
pub(crate) use validate::{validate, validate_unbegun};

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::acme::problem::Problem;
use crate::ca::Authorities;
use crate::clock::Clock;
use crate::config;
use crate::entropy::{Entropy, NoEntropy};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::validation::Validator;

/// What every flow works with.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    /// Swapped as a whole on reload.
    pub(crate) authorities: ArcSwap<Authorities>,
    pub(crate) validator: ArcSwap<Validator>,
    pub(crate) limits: ArcSwap<Limits>,
    pub(crate) at_once: AtOnce,
    pub(crate) at_cap: AtCap,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) refusals: Refusals,
    pub(crate) changes: Changes,
}

/// How long things may take and live, and how many there may be.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How long an answer is held back while a result is about to come.
    pub(crate) hold: Duration,
    /// What is done within this time has one transaction less, or one answer. A proof on the same network
    /// is looked at in a few milliseconds, and few tokens take longer for a signature.
    pub(crate) soon: Duration,
    /// How long an order and its authorizations live.
    pub(crate) order_lifetime: Duration,
    /// How long after it was proved an authorization is used for other orders; zero is never.
    pub(crate) reuse: Duration,
    /// How often a validation is tried that got no answer.
    pub(crate) validation_attempts: u32,
    /// Longer than one signature can take: after this, another worker may take the work.
    pub(crate) issuance_lease: Duration,
    /// The same for a validation.
    pub(crate) validation_lease: Duration,
    /// Validations of one account at once, and certificates of one account that are being issued; 1 at least.
    pub(crate) at_once_per_account: usize,
    /// What an account may have.
    pub(crate) accounts: config::Limits,
    /// How long what is over is remembered.
    pub(crate) keep: Duration,
    /// The same for what led to no certificate.
    pub(crate) keep_unfinished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(5),
            soon: Duration::from_millis(50),
            order_lifetime: Duration::from_secs(7 * 24 * 3600),
            reuse: Duration::from_secs(24 * 3600),
            validation_attempts: 3,
            issuance_lease: Duration::from_secs(20),
            validation_lease: Duration::from_secs(20),
            at_once_per_account: 32,
            accounts: config::Limits::default(),
            keep: Duration::from_secs(400 * 24 * 3600),
            keep_unfinished: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// Why a flow did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The client asked for what it cannot have; said to it as it is.
    #[error("refused: {}", .0.detail)]
    Refused(Box<Problem>),
    /// Something needed is away and may come back; the client should try again.
    #[error(transparent)]
    Unavailable(StoreError),
    /// kipuka stops, and nobody knows whether anything was written; the client should ask again.
    #[error("the work was cut off before it was known to be written")]
    CutOff,
    /// Something is broken; a person must look.
    #[error("{0}")]
    Failed(String),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_)
            | StoreError::Group(_)
            | StoreError::Slow(_)
            | StoreError::Closed => Self::Unavailable(error),
            broken => Self::Failed(broken.to_string()),
        }
    }
}

impl From<NoEntropy> for Error {
    fn from(error: NoEntropy) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A resource that is not there, or not this account's; which of the two is not said.
pub(crate) fn not_found(what: &str) -> Error {
    Problem::malformed(format!("there is no such {what} for this account")).with_status(404).into()
}

/// Shared by everything that runs.
pub(crate) type SharedContext = Arc<Context>;
