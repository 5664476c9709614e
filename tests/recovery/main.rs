//! What is promised of crashes and outages, tried out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod killed;
mod kills;
mod revocation;
mod token;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
