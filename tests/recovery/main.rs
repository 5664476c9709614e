//! What is promised of crashes and outages, tried out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod database;
mod killed;
mod kills;
mod load;
mod revocation;
mod site;
mod token;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
