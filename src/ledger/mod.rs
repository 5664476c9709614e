//! The audit trail: what was decided, by whom and on what evidence, each entry chained to the one
//! before it by a hash.
//!
//! A decision and its entry are one transaction, so neither is there without the other. Entries that
//! come at the same time have no order yet; sealing gives each its place in the chain.

mod chain;
mod check;
mod checkpoint;
mod entry;
mod tally;

use data_encoding::HEXLOWER;

pub(crate) use chain::Head;
pub(crate) use check::{ChainCheck, Row};
pub(crate) use checkpoint::Checkpoint;
pub(crate) use entry::{Actor, Entry, Kind};
pub(crate) use tally::{Tally, bucket};

/// The SHA-256 in lower-case hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&openssl::sha::sha256(bytes))
}
