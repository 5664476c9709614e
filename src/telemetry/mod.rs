//! What is seen from outside: logs, metrics and traces.

mod lines;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod traces;
