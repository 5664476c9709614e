//! RFC 8555 over the wire, one file for each part of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod account_rules;
mod accounts;
mod algorithms;
mod alternate_chains;
mod authorizations;
mod certificates;
mod challenges;
mod dates;
mod deactivation;
mod device_attest;
mod external_accounts;
mod finalize;
mod identifiers;
mod issuance;
mod jws;
mod key_change;
mod limits;
mod orders;
mod policy;
mod profiles;
mod renewal;
mod reuse;
mod revocation;
mod revocation_list;
mod subdomains;
mod terms;
mod transport;
mod transport_rules;
mod validation;

use harness::{Server, Settings};

/// A server with one CA, `ca`, whose key is in a file: quick to start.
async fn server() -> Server {
    Server::start(env!("CARGO_BIN_EXE_kipuka"), Settings::key_file()).await
}

async fn server_with(settings: Settings) -> Server {
    Server::start(env!("CARGO_BIN_EXE_kipuka"), settings).await
}
