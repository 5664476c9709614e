//! The house as `docs/architecture.md` describes it: who may import whom, what is named where.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod imports;
mod migrations;
