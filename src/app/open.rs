//! Opening the database, the tokens and the validator that the configuration names, each with words for the operator where that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;

use crate::config::{CaKey, Config, Hsm, Validation};
use crate::signer::pkcs11::{OpenError, Token, TokenOptions};
use crate::store::Store;
use crate::telemetry::metrics::{Metrics, StoreMetrics, ValidationMetrics};
use crate::validation::{self, Validator};

/// How long the start waits for a token to be found, logged in to, and to sign once.
const TOKEN_ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// What keeps kipuka from starting, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    Failed(String),
    /// To try again before somebody has corrected the PIN brings the token nearer to locking itself.
    #[error("{0}")]
    PinRefused(String),
}

impl StartError {
    pub(super) fn new(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// Opens the database and brings its schema up to date; what it is asked is counted.
pub(crate) async fn open_store(
    config: &Config,
    metrics: &StoreMetrics,
) -> Result<Store, StartError> {
    let store = connect(config, metrics).await?;
    store.migrate().await.map_err(|error| of_database(config, error))?;
    Ok(store.called(&instance()))
}

/// Opens the database to read it, and changes nothing: one whose schema is older than this program is refused.
pub(crate) async fn open_store_to_read(config: &Config) -> Result<Store, StartError> {
    if let Some(file) = config.database.missing_file() {
        return Err(of_database(config, format!("there is no file {}", file.display())));
    }
    let store = connect(config, &StoreMetrics::default()).await?;
    let status = store.schema_status().await.map_err(|error| of_database(config, error))?;
    if status.is_behind() {
        return Err(of_database(config, status));
    }
    Ok(store)
}

async fn connect(config: &Config, metrics: &StoreMetrics) -> Result<Store, StartError> {
    let (url, connections) = (&config.database.url, config.database.max_connections);
    let store = Store::open_counted(url.expose_secret(), connections, metrics.clone());
    store.await.map_err(|error| of_database(config, error))
}

fn of_database(config: &Config, error: impl std::fmt::Display) -> StartError {
    StartError::new(format!("database {}", config.database.describe()), error)
}

/// This process, as the audit trail names it.
fn instance() -> String {
    let host = nix::unistd::gethostname();
    let host =
        host.map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned());
    format!("{host} {}", std::process::id())
}

/// The tokens, by their names in the configuration.
pub(crate) type Tokens = BTreeMap<String, Arc<Token>>;

/// The token of an `[hsm]`, not looked for yet.
pub(crate) fn token(hsm: &Hsm, metrics: &Metrics) -> Result<Arc<Token>, StartError> {
    Token::new(TokenOptions {
        name: hsm.name.clone(),
        library: hsm.library.clone(),
        slot: hsm.slot,
        token_label: hsm.token_label.clone(),
        pin: hsm.pin.clone(),
        max_sessions: hsm.max_sessions,
        sign_deadline: hsm.sign_deadline,
        keepalive: hsm.keepalive,
        metrics: metrics.token(&hsm.name),
    })
    .map_err(|error| hsm_error(&hsm.name, &error))
}

/// The token of an `[hsm]`, found and logged in.
pub(crate) async fn open_token(hsm: &Hsm, metrics: &Metrics) -> Result<Arc<Token>, StartError> {
    let token = token(hsm, metrics)?;
    let found = Arc::clone(&token);
    ask(move || found.find()).await?.map_err(|error| hsm_error(&hsm.name, &error))?;
    Ok(token)
}

/// The token of each `[hsm]` that a CA uses: one of `open` where it is the same, else a new one.
pub(super) async fn tokens(
    config: &Config,
    open: &[(&Hsm, &Arc<Token>)],
    metrics: &Metrics,
) -> Result<Tokens, StartError> {
    let used = |hsm: &&Hsm| {
        config
            .cas
            .iter()
            .any(|ca| matches!(&ca.key, CaKey::Hsm { tokens, .. } if tokens.contains(&hsm.name)))
    };
    let mut tokens = Tokens::new();
    for hsm in config.hsms.iter().filter(used) {
        let known = open.iter().find(|(old, _)| same_token(old, hsm));
        let token = match known {
            Some((_, token)) => Arc::clone(token),
            None => {
                let token = token(hsm, metrics)?;
                if open.iter().any(|(old, _)| old.library == hsm.library) {
                    let new = Arc::clone(&token);
                    // Where it may not be done now, the library is asked as it is.
                    let _ = ask(move || new.look_anew()).await?;
                }
                token
            }
        };
        tokens.insert(hsm.name.clone(), token);
    }
    Ok(tokens)
}

fn hsm_error(name: &str, error: &OpenError) -> StartError {
    let place = if name == "hsm" { "[hsm]".to_owned() } else { format!("[[hsm]] {name:?}") };
    match error {
        OpenError::PinRefused { .. } => StartError::PinRefused(format!("{place}: {error}")),
        _ => StartError::new(place, error),
    }
}

/// Whether any CA's key is in the token.
pub(crate) fn needs_token(config: &Config) -> bool {
    config.cas.iter().any(|ca| matches!(ca.key, CaKey::Hsm { .. }))
}

/// Whether two `[hsm]` sections have the same name and lead to the same login, so that the open token serves both.
pub(super) fn same_token(old: &Hsm, new: &Hsm) -> bool {
    // No copy of it is made, which nobody would wipe.
    fn pin(hsm: &Hsm) -> Option<&str> {
        hsm.pin.as_ref().map(|pin| pin.expose_secret())
    }
    let rest = |hsm: &Hsm| {
        (
            hsm.name.clone(),
            hsm.library.clone(),
            hsm.slot,
            hsm.token_label.clone(),
            hsm.max_sessions,
            hsm.sign_deadline,
            hsm.keepalive,
        )
    };
    rest(old) == rest(new) && pin(old) == pin(new)
}

pub(crate) fn open_validator(
    config: &Validation,
    metrics: &ValidationMetrics,
) -> Result<Validator, StartError> {
    Validator::new(validation::Options {
        resolvers: config.resolvers.clone(),
        http_port: config.http_port,
        https_port: config.https_port,
        tls_alpn_port: config.tls_alpn_port,
        denied_networks: config.denied_networks.clone(),
        localhost_is_this_machine: config.resolve_localhost,
        require_dnssec: config.require_dnssec,
        timeouts: validation::Timeouts { attempt: config.timeout, ..Default::default() },
        metrics: metrics.clone(),
    })
    .map_err(|error| StartError::new("[validation]", error))
}

/// Has a token do something, for a bounded time. On a thread of its own, which the end of the
/// process does not wait for, as it would for the runtime's.
pub(super) async fn ask<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<Result<T, OpenError>, StartError> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("kipuka-hsm-open".to_owned())
        // Nobody may be left to take the answer.
        .spawn(move || drop(reply.send(work())))
        .map_err(|error| StartError::new("start", error))?;
    match tokio::time::timeout(TOKEN_ANSWERS_WITHIN, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(StartError::new("start", "the PKCS#11 library panicked")),
        Err(_) => Ok(Err(OpenError::NoAnswer(TOKEN_ANSWERS_WITHIN))),
    }
}
