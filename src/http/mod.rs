//! HTTP: the outside translated to flows and back.

pub(crate) mod acme;
pub(crate) mod admission;
mod gather;
pub(crate) mod listener;
pub(crate) mod ops;
pub(crate) mod public;
mod request_log;
pub(crate) mod tls;
