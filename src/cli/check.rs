//! `kipuka check`: what `serve` would say, one line each.

use std::fmt::Display;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::{Failure, environment, load, pin};
use crate::app::{self, Demand, Tokens};
use crate::clock::Clock;
use crate::config::{Ca, CaKey, Config, Needs};
use crate::signer::pkcs11;
use crate::store::Store;
use crate::telemetry::metrics::{Metrics, ValidationMetrics};

pub(super) fn check(config: Option<&Path>) -> Result<(), Failure> {
    let (mut config, warnings) = load(config, Needs::Serve)?;
    environment::complete(&config)?;
    if app::needs_token(&config) {
        config.hsms.iter_mut().try_for_each(pin::ask)?;
    }
    let mut report = Report::default();
    report.ok("configuration", config.file.display());
    for warning in &warnings {
        say!("warning  {warning}");
    }
    super::runtime()?.block_on(look(&config, &mut report));
    pkcs11::shut_down(std::time::Duration::from_secs(5));
    report.end()
}

/// The lines, and how many of them say that something is wrong.
#[derive(Default)]
pub(super) struct Report {
    wrong: usize,
}

impl Report {
    #[expect(clippy::unused_self, reason = "it stands beside `wrong`, which counts")]
    pub(super) fn ok(&mut self, what: impl Display, found: impl Display) {
        say!("ok       {what}: {found}");
    }

    pub(super) fn wrong(&mut self, error: impl Display) {
        say!("WRONG    {error}");
        self.wrong += 1;
    }

    /// What the command ends with.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.wrong {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 thing is not in order".to_owned())),
            several => Err(Failure::Failed(format!("{several} things are not in order"))),
        }
    }
}

async fn look(config: &Config, report: &mut Report) {
    match database(config).await {
        Ok(state) => report.ok(format!("database {}", config.database.describe()), state),
        Err(error) => report.wrong(format!("database {}: {error}", config.database.describe())),
    }
    let metrics = Metrics::new();
    let mut tokens = Tokens::new();
    for hsm in config.hsms.iter().filter(|_| app::needs_token(config)) {
        match app::open_token(hsm, &metrics).await {
            Ok(open) => {
                let slot = open.slot().unwrap_or_default();
                let place = format!("{:?} in slot {slot:#x}, logged in", open.label());
                report.ok(format!("token of {}", hsm.library.display()), place);
                tokens.insert(hsm.name.clone(), open);
            }
            Err(error) => report.wrong(error),
        }
    }
    let now = Clock::System.now();
    let http_url = config.server.http_url.as_deref();
    // Each place of a key by itself: with one of them a CA issues, and all are to be in order.
    for (ca, place) in config.cas.iter().flat_map(places) {
        if place.is_some_and(|place| !tokens.contains_key(place)) {
            report.wrong(format!("CA {:?}: its token is not there (see above)", ca.id));
            continue;
        }
        match app::open_authority(&ca, &tokens, Demand::OneSigns, http_url, now).await {
            Ok(authority) => {
                let message = b"kipuka check".to_vec();
                match authority.signer.sign(message).await {
                    Ok(_) => report.ok(
                        format!("CA {:?}", ca.id),
                        format!(
                            "{}, certificate {} until {}, test signature verified",
                            authority.signer.describe(),
                            authority.chain.issuer().subject(),
                            crate::clock::Timestamp::from_unix_s(authority.chain.not_after_s())
                        ),
                    ),
                    Err(error) => report.wrong(format!("CA {:?}: {error}", ca.id)),
                }
                if authority.chain.issuer().key_usage().is_none() {
                    warn_of_key_usage(&ca);
                }
            }
            Err(error) => report.wrong(error),
        }
    }
    match app::open_validator(&config.validation, &ValidationMetrics::default()) {
        Ok(validator) => match validator.check_resolvers().await {
            Ok(answered) => report.ok("DNS", answered),
            // Names that need no DNS can be issued for, so it is no reason not to start.
            Err(error) => say!("warning  {error}; until one answers, orders fail"),
        },
        Err(error) => report.wrong(error),
    }
    match &config.server.tls {
        None => report.ok("TLS", "kipuka issues its own certificate from the first CA"),
        Some(files) => match app::open_certificate(files) {
            Ok(slot) => report.ok("TLS", format!("certificate until {}", slot.not_after())),
            Err(error) => report.wrong(error),
        },
    }
}

/// RFC 5280 §4.2.1.3 has every CA certificate say what its key is for, though clients take it for a
/// CA's without.
fn warn_of_key_usage(ca: &Ca) {
    let demanded = match ca.key_usage.is_empty() {
        true => "",
        false => ", so what key_usage demands is not compared with anything",
    };
    say!(
        "warning  CA {:?}: its certificate has no key usage extension{demanded}; RFC 5280 wants \
         keyCertSign and cRLSign there: `kipuka ca create-root` and `create-intermediate` write them",
        ca.id
    );
}

/// A CA for each token that holds its key, with that token alone.
pub(super) fn places(ca: &Ca) -> Vec<(Ca, Option<&str>)> {
    let CaKey::Hsm { tokens, .. } = &ca.key else { return vec![(ca.clone(), None)] };
    let alone = |token: &String| {
        let mut alone = ca.clone();
        if let CaKey::Hsm { tokens, .. } = &mut alone.key {
            *tokens = vec![token.clone()];
        }
        alone
    };
    tokens.iter().map(|token| (alone(token), Some(token.as_str()))).collect()
}

/// How far the database's schema has come. Changes nothing: a SQLite file that is not there yet is not made.
pub(super) async fn database(config: &Config) -> Result<String, String> {
    let url = config.database.url.expose_secret();
    if let Some(path) = config.database.missing_file() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        return match folder {
            Some(folder) if !folder.is_dir() => {
                Err(format!("the folder {} is not there; make it", folder.display()))
            }
            _ => {
                Ok("no schema yet, nor a file; serve or `kipuka db migrate` makes them".to_owned())
            }
        };
    }
    let store = Store::open(url, 1).await.map_err(|error| error.to_string())?;
    let status = store.schema_status().await.map_err(|error| error.to_string())?;
    store.close().await;
    Ok(status.to_string())
}
