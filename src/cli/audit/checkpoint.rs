//! Checkpoints: what a CA's key signed of the end of the chain.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::super::{Failure, print_json};
use crate::app;
use crate::config::Config;
use crate::flow::check_checkpoint;
use crate::ledger::Head;
use crate::store::{SignedCheckpoint, Store};

/// A checkpoint as it is kept elsewhere.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    position: i64,
    statement: String,
    algorithm: String,
    /// Base64.
    signature: String,
    /// PEM.
    certificate: String,
}

pub(super) async fn print_newest(store: &Store, out: Option<&Path>) -> Result<(), Failure> {
    let newest = store.last_checkpoint().await.map_err(Failure::failed)?;
    let newest = newest.ok_or_else(|| {
        Failure::Failed(
            "there is no checkpoint yet; a running server signs one at least every ten minutes \
             while there are entries, and as it ends"
                .to_owned(),
        )
    })?;
    if let Some(folder) = out {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes)
                .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
        };
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
        write("statement.txt", newest.statement.as_bytes())?;
        write("signature.bin", &newest.signature)?;
        write("certificate.pem", newest.certificate.as_bytes())?;
    }
    print_json(&File {
        position: newest.position,
        statement: newest.statement,
        algorithm: newest.algorithm,
        signature: STANDARD.encode(&newest.signature),
        certificate: newest.certificate,
    })
}

/// Reads what [`print_newest`] wrote.
pub(super) fn read(path: &Path) -> Result<SignedCheckpoint, Failure> {
    let wrong = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let file: File = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let signature = STANDARD.decode(&file.signature).map_err(|error| wrong(error.to_string()))?;
    Ok(SignedCheckpoint {
        position: file.position,
        statement: file.statement,
        algorithm: file.algorithm,
        signature,
        certificate: file.certificate,
    })
}

/// The keys that may have signed checkpoints: of the CAs that are configured, and of those that the
/// caller vouches for.
pub(super) struct Keys {
    spkis: Vec<Vec<u8>>,
}

impl Keys {
    pub(super) async fn read(config: &Config, more: &[impl AsRef<Path>]) -> Result<Self, Failure> {
        // One that was not made yet has signed nothing.
        let configured = config.cas.iter().map(|ca| ca.cert.as_path()).filter(|file| file.exists());
        let mut spkis = Vec::new();
        for file in configured.chain(more.iter().map(AsRef::as_ref)) {
            let chain = app::read_chain(file).await.map_err(Failure::Failed)?;
            spkis.push(chain.issuer().public_key().spki().to_vec());
        }
        Ok(Self { spkis })
    }

    /// What the checkpoint says of the chain, and whether its key is known, where it is signed rightly.
    pub(super) fn check(&self, signed: &SignedCheckpoint) -> Result<(Head, bool), &'static str> {
        check_checkpoint(signed, &self.spkis)
    }
}
