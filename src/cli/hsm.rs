//! `kipuka hsm`: what the token offers, in the words of PKCS#11.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Failure, bench, environment, load};
use crate::app;
use crate::config::{Config, Hsm, Needs};
use crate::signer::pkcs11::inventory::{self, SlotEntry};
use crate::signer::pkcs11::keygen::{self, KeySpec};
use crate::signer::pkcs11::{self, Token};
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which token, by its name in [[hsm]]; needed only where there are several
    #[arg(long = "hsm", value_name = "NAME", global = true)]
    name: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the slots of the library, and what to write into kipuka.toml for each token
    Slots {
        /// The PKCS#11 library [default: that of [hsm]]
        #[arg(long, value_name = "FILE")]
        library: Option<PathBuf>,
    },
    /// List the keys on the token of `[hsm]`
    Keys,
    /// Measure signatures per second by the number of sessions, and recommend `max_sessions`
    Bench {
        /// The `CKA_ID` of the key to sign with, in hex
        #[arg(long, value_name = "HEX", value_parser = hex)]
        id: Id,
        /// How long each number of sessions is measured
        #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
        /// The numbers of sessions
        #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16")]
        sessions: Vec<std::num::NonZeroUsize>,
    },
    /// Make a key pair on the token: sensitive, not extractable, for signing only
    Keygen {
        /// The key's `CKA_LABEL`
        #[arg(long)]
        label: String,
        /// The key's `CKA_ID` in hex, such as 07; it becomes `hsm_slot`
        #[arg(long, value_name = "HEX", value_parser = hex)]
        id: Id,
        /// rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384, ec-p521, ed25519, ml-dsa-44, ml-dsa-65 or
        /// ml-dsa-87
        #[arg(long = "type", value_name = "TYPE")]
        spec: KeySpec,
    },
}

/// A `CKA_ID`.
#[derive(Clone, Debug)]
pub(super) struct Id(Vec<u8>);

fn hex(text: &str) -> Result<Id, String> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    match digits {
        Some(digits) if !digits.is_empty() && digits.len() % 2 == 0 => {
            Ok(Id(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
        }
        _ => Err("write whole bytes in hex, such as 07 or 0a1b".to_owned()),
    }
}

pub(super) fn hsm(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let from = Source { config, name: arguments.name.as_deref() };
    let done = match &arguments.command {
        Command::Slots { library: Some(library) } => slots(library),
        Command::Slots { library: None } => {
            with_hsm(from, Needs::Text, |_, hsm| slots(&hsm.library))
        }
        Command::Keys => with_token(from, |token| {
            for key in token.keys().map_err(Failure::failed)? {
                println!("{key}");
            }
            Ok(())
        }),
        Command::Bench { id, seconds, sessions } => with_hsm(from, Needs::Token, |_, hsm| {
            let sessions: Vec<_> = sessions.iter().map(|sessions| sessions.get()).collect();
            let each = Duration::from_secs(*seconds);
            super::runtime()?.block_on(bench::bench(hsm, &id.0, &sessions, each))
        }),
        Command::Keygen { label, id, spec } => with_token(from, |token| {
            let public_key =
                keygen::generate(token, *spec, &id.0, label).map_err(Failure::failed)?;
            let id: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
            println!(
                "{} key {label:?} made on the token {:?}; in [[ca]] write: hsm_slot = \"{id}\"",
                public_key.key_type(),
                token.label()
            );
            Ok(())
        }),
    };
    pkcs11::shut_down(Duration::from_secs(5));
    done
}

/// Which token is meant.
#[derive(Clone, Copy)]
struct Source<'a> {
    config: Option<&'a Path>,
    name: Option<&'a str>,
}

fn with_hsm(
    from: Source<'_>,
    needs: Needs,
    work: impl FnOnce(&Config, &Hsm) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config, _) = load(from.config, needs)?;
    environment::complete(&config)?;
    logging::init(&config.log, &|name| std::env::var(name).ok()).map_err(Failure::failed)?;
    work(&config, choose_hsm(&config, from.name)?)
}

/// The token of this name, or the only one there is.
pub(super) fn choose_hsm<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Hsm, Failure> {
    let wrong = |what: String| {
        let names: Vec<_> = config.hsms.iter().map(|hsm| hsm.name.as_str()).collect();
        let file = config.file.display();
        Err(Failure::Misconfigured(format!("{file}: {what}; there are: {}", names.join(", "))))
    };
    match (name, &config.hsms[..]) {
        (_, []) => {
            let file = config.file.display();
            Err(Failure::Misconfigured(format!("{file}: there is no [hsm] section; add one")))
        }
        (None, [hsm]) => Ok(hsm),
        (None, _) => wrong("name one of the tokens with --hsm".to_owned()),
        (Some(name), hsms) => match hsms.iter().find(|hsm| hsm.name == name) {
            Some(hsm) => Ok(hsm),
            None => wrong(format!("there is no [[hsm]] with the name {name:?}")),
        },
    }
}

fn with_token(
    from: Source<'_>,
    work: impl FnOnce(&Arc<Token>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_hsm(from, Needs::Token, |_, hsm| {
        let token = super::runtime()?.block_on(app::open_token(hsm, &Metrics::new()))?;
        work(&token)
    })
}

fn slots(library: &Path) -> Result<(), Failure> {
    for slot in inventory::slots(library).map_err(Failure::failed)? {
        println!("{slot}");
        let SlotEntry { slot, token: Some(token), .. } = &slot else { continue };
        if !token.initialized {
            continue;
        }
        if token.label.is_empty() {
            println!("  its label cannot be read; in [hsm] write: slot = {slot:#x}");
            continue;
        }
        println!("  by {} ({}), serial {}", token.manufacturer, token.model, token.serial_number);
        let login = match (token.login_required, token.user_pin_locked) {
            (false, _) => "no login is needed",
            (true, false) => "a PIN is needed: pin_env or pin_file",
            (true, true) => "the PIN is LOCKED; the security officer can set a new one",
        };
        println!("  {login}");
        match token.max_sessions {
            Some(limit) => println!("  at most {limit} sessions"),
            None => println!("  no limit of sessions"),
        }
        println!("  in [hsm] write: token_label = {:?}   (or: slot = {slot:#x})", token.label);
    }
    Ok(())
}
