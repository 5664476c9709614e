//! What is promised of crashes and outages, tried out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod accounts;
mod clock;
mod database;
mod instances;
mod killed;
mod kills;
mod load;
mod reload;
mod resolver;
mod revocation;
mod site;
mod stop;
mod token;
mod upgrade;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
