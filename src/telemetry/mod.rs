//! What is seen from outside: logs and metrics.

pub(crate) mod metrics;
