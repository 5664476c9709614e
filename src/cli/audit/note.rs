//! What commands do with keys in tokens, noted where there is a database.

use super::super::circumstances::{command_line, operator};
use super::super::token::Tokens;
use crate::app;
use crate::clock::Clock;
use crate::ledger::{Entry, Kind};
use crate::signer::pkcs11::Token;
use crate::telemetry::metrics::StoreMetrics;
use crate::x509::algorithm::PublicKey;
use crate::x509::description::sha256_hex;

/// Notes that this command uses the key to sign for a CA, or has made it for that.
pub(in crate::cli) fn note_ceremony(
    tokens: &Tokens,
    kind: Kind,
    place: (&Token, &dyn std::fmt::Display),
    key: &PublicKey,
) {
    note_key(tokens, kind, place, key, &command_line(std::env::args()));
}

/// Notes what was done with the key. A ceremony may well be where no database is: then its transcript is
/// what tells of it. What was done is done, so a database that does not answer is no failure either.
pub(in crate::cli) fn note_key(
    tokens: &Tokens,
    kind: Kind,
    (token, id): (&Token, &dyn std::fmt::Display),
    key: &PublicKey,
    what: &str,
) {
    if tokens.config.database.missing_file().is_some() {
        return;
    }
    let now = Clock::System.now();
    let subject = format!("CKA_ID {id} on the token {:?}", token.label());
    let entry = Entry::new(kind, operator(), subject, now)
        .with("key_type", key.key_type().to_string())
        .with("public_key_sha256", sha256_hex(key.spki()))
        .with("what", what);
    let done = tokens.runtime.block_on(async {
        let store = app::open_store(&tokens.config, &StoreMetrics::default())
            .await
            .map_err(|error| error.to_string())?;
        let noted = match store.note_alone(&entry).await {
            Ok(()) => store.seal_own(now).await,
            Err(error) => Err(error),
        };
        store.close().await;
        noted.map_err(|error| error.to_string())
    });
    if let Err(error) = done {
        eprintln!("kipuka: this could not be noted in the audit trail: {error}");
    }
}
