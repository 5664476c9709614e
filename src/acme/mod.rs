//! RFC 8555's objects and their states: values in, values out; no IO, no clock, no randomness.
//!
//! Facts are stored once; a status is always computed from them by a pure function, so that it
//! moves only along the arrows of RFC 8555 §7.1.6 and no two places can disagree about it.

pub(crate) mod account;
pub(crate) mod authorization;
pub(crate) mod challenge;
pub(crate) mod external_account;
pub(crate) mod identifier;
pub(crate) mod key_authorization;
pub(crate) mod nonce;
pub(crate) mod order;
pub(crate) mod problem;
pub(crate) mod renewal;
pub(crate) mod usage;
