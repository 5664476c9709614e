//! What the audit trail is told of this process.

use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::flow::{self, Context, checkpoint, seal};
use crate::ledger::{self, Actor, Entry, Kind};

/// How long the end may wait for the last entries to be sealed and for the signature below them.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);
/// How long a refused reload may wait for its entry.
const NOTED_WITHIN: Duration = Duration::from_secs(3);

/// An entry about this process and its configuration.
pub(super) fn of_instance(kind: Kind, config: &Config, context: &Context) -> Entry {
    Entry::new(kind, Actor::Kipuka, env!("CARGO_PKG_VERSION"), context.clock.now())
        .with("configuration", config.file.display().to_string())
        .with("configuration_sha256", digest(&config.file))
        .with("cas", config.cas.iter().map(|ca| ca.id.clone()).collect::<Vec<_>>())
}

/// Notes that another configuration was refused, and neither what is wrong with it nor its digest: a secret may
/// stand where none belongs. Where the database does not answer, only the log tells of it.
pub(super) async fn note_refused_reload(config: &Config, context: &Context) {
    let version = env!("CARGO_PKG_VERSION");
    let now = context.clock.now();
    let entry = Entry::new(Kind::InstanceReloadRefused, Actor::Kipuka, version, now)
        .with("configuration", config.file.display().to_string());
    match tokio::time::timeout(NOTED_WITHIN, context.store.note_alone(&entry)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the audit trail does not tell of that"),
        Err(_) => tracing::warn!("the audit trail may not tell of that: the database is silent"),
    }
}

/// The SHA-256 of the file without the lines in which a PIN or a URL with a password may stand: who knows
/// the rest could try all PINs against the digest. `None` where such a value may span lines.
fn digest(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let is_secret = |line: &&str| {
        ["pin", "url"].iter().any(|key| {
            line.split(*key)
                .skip(1)
                .any(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with('='))
        })
    };
    if text.contains("\"\"\"") || text.contains("'''") {
        return None;
    }
    let rest: String = text.split_inclusive('\n').filter(|line| !is_secret(line)).collect();
    Some(ledger::digest(rest.as_bytes()))
}

/// The last entries are sealed and the end of the chain is signed, if that can be done soon.
pub(super) async fn close(config: &Config, context: &Context) {
    let close = async {
        context.store.note_alone(&of_instance(Kind::InstanceStopped, config, context)).await?;
        seal(context).await?;
        if context.store.seals(&context.store.trail().await?) {
            checkpoint(context).await?;
            context.store.leave_sealing().await?;
        }
        Ok::<_, flow::Error>(())
    };
    match tokio::time::timeout(CLOSES_WITHIN, close).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the audit trail is sealed after the next start"),
        Err(_) => tracing::warn!("the audit trail is sealed after the next start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_in_the_digest_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kipuka.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            digest(&file)
        };
        let plain = of("[hsm]\nslot = 1\n").unwrap();
        assert_eq!(plain, ledger::digest(b"[hsm]\nslot = 1\n"));
        for secret in ["pin = \"1234\"\n", "\"pin\"=\"1\"\n", "url = \"postgres://a:b@c/d\"\n"] {
            assert_eq!(of(&format!("[hsm]\n{secret}slot = 1\n")).unwrap(), plain, "{secret}");
        }
        assert_ne!(of("[hsm]\npin_file = \"a\"\nslot = 1\n").unwrap(), plain);
        assert_eq!(of("[hsm]\npin = \"\"\"\n1234\"\"\"\n"), None);
    }
}
