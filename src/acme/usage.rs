//! What an account has of what is limited (RFC 8555 §6.6).

use std::time::Duration;

use crate::clock::Timestamp;

/// What counts as lately: the hour before now.
pub(crate) const WINDOW: Duration = Duration::from_secs(3600);

/// What an account has, so far as it counts.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Placed within [`WINDOW`].
    pub(crate) orders: i64,
    /// When the first of them was placed.
    pub(crate) first_order_at: Option<Timestamp>,
    /// Orders that may still become valid and are not.
    pub(crate) pending_orders: i64,
    pub(crate) pending_authorizations: i64,
    /// Of the names that are to be authorized, those of which validations failed within [`WINDOW`].
    pub(crate) failed: Vec<FailedName>,
}

#[derive(Debug)]
pub(crate) struct FailedName {
    pub(crate) identifier: String,
    pub(crate) times: i64,
    /// The first within [`WINDOW`].
    pub(crate) first_at: Timestamp,
}
