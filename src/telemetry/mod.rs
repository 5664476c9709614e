//! What is seen from outside: logs and metrics.

pub(crate) mod logging;
pub(crate) mod metrics;
