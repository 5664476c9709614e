//! What the commands that work on tokens have in common: the configuration is read, a token is
//! chosen, the PIN is asked for where none is configured, and at the end the library is shut down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{Failure, environment, load, pin};
use crate::app;
use crate::config::{Config, Hsm, Log, Needs, Telemetry, Warning};
use crate::signer::pkcs11::{self, Pkcs11Signer, Token};
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;
use crate::x509::algorithm::PublicKey;

/// How long the library's threads may take to come back at the end.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// A `CKA_ID`, from hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id(pub(super) Vec<u8>);

impl Id {
    /// For clap.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        match digits {
            Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => {
                Ok(Self(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
            }
            _ => Err("write whole bytes in hex, such as 07 or 0a1b".to_owned()),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The configuration, and its tokens as far as they were opened.
pub(super) struct Tokens {
    pub(super) config: Config,
    pub(super) warnings: Vec<Warning>,
    pub(super) runtime: Runtime,
    metrics: Metrics,
    open: RefCell<BTreeMap<String, Rc<OpenToken>>>,
}

/// A token that is logged in, with the `[hsm]` that names it.
pub(super) struct OpenToken {
    pub(super) hsm: Hsm,
    pub(super) token: Arc<Token>,
}

/// Runs a command that works on tokens.
pub(super) fn with_tokens(
    config: Option<&Path>,
    needs: Needs,
    work: impl FnOnce(&Tokens) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config, warnings) = load(config, needs)?;
    environment::complete(&config)?;
    start_log(&config)?;
    let tokens = Tokens {
        config,
        warnings,
        runtime: super::runtime()?,
        metrics: Metrics::new(),
        open: RefCell::default(),
    };
    let done = work(&tokens);
    drop(tokens);
    pkcs11::shut_down(DRAIN);
    done
}

/// The log of a command: what went as it should is told on stdout, so only the rest is logged.
pub(super) fn start_log(config: &Config) -> Result<(), Failure> {
    let log = Log { level: "warn".to_owned(), ..config.log.clone() };
    logging::init(&log, &Telemetry::default(), &|name| env::var(name).ok())
        .map(drop)
        .map_err(Failure::failed)
}

impl Tokens {
    /// The `[hsm]` of this name, or the only one.
    pub(super) fn hsm(&self, name: Option<&str>) -> Result<&Hsm, Failure> {
        let hsms = &self.config.hsms;
        let wrong = |what: &str| {
            let file = self.config.file.display();
            Err(Failure::Misconfigured(format!("{file}: {what}")))
        };
        let names: Vec<_> = hsms.iter().map(|hsm| hsm.name.as_str()).collect();
        let names = names.join(", ");
        match (name, &hsms[..]) {
            (_, []) => wrong("there is no [hsm] section; add one"),
            (None, [only]) => Ok(only),
            (None, _) => wrong(&format!("name one of the tokens with --hsm; there are: {names}")),
            (Some(name), _) => match hsms.iter().find(|hsm| hsm.name == name) {
                Some(hsm) => Ok(hsm),
                None => wrong(&format!(
                    "there is no [[hsm]] with the name {name:?}; there are: {names}"
                )),
            },
        }
    }

    /// Every library of the configuration, once.
    pub(super) fn libraries(&self) -> Result<Vec<PathBuf>, Failure> {
        if self.config.hsms.is_empty() {
            self.hsm(None)?;
        }
        let mut libraries: Vec<PathBuf> = Vec::new();
        for hsm in &self.config.hsms {
            if !libraries.contains(&hsm.library) {
                libraries.push(hsm.library.clone());
            }
        }
        Ok(libraries)
    }

    /// Finds the token of this `[hsm]` and logs in, once.
    pub(super) fn open(&self, name: Option<&str>) -> Result<Rc<OpenToken>, Failure> {
        let hsm = self.hsm(name)?;
        if let Some(open) = self.open.borrow().get(&hsm.name) {
            return Ok(Rc::clone(open));
        }
        let mut hsm = hsm.clone();
        pin::ask(&mut hsm)?;
        let token = self.runtime.block_on(app::open_token(&hsm, &self.metrics))?;
        let open = Rc::new(OpenToken { hsm, token });
        self.open.borrow_mut().insert(open.hsm.name.clone(), Rc::clone(&open));
        Ok(open)
    }

    /// A key, once it has made a test signature.
    pub(super) fn signer(
        &self,
        open: &OpenToken,
        id: &Id,
        public_key: &PublicKey,
    ) -> Result<Pkcs11Signer, Failure> {
        Ok(self.runtime.block_on(app::open_signer(&open.token, &id.0, public_key))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_whole_bytes_in_hex() {
        assert_eq!(Id::parse("0a1B"), Ok(Id(vec![10, 27])));
        assert_eq!(Id(vec![10, 27]).to_string(), "0a1b");
        for wrong in ["", "7", "0x07", "07:08", "é1"] {
            assert!(Id::parse(wrong).is_err(), "{wrong}");
        }
    }
}
