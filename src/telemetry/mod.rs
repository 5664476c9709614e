//! What is seen from outside: logs and metrics.

mod lines;
pub(crate) mod logging;
pub(crate) mod metrics;
