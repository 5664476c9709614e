//! `kipuka hsm`: what the token offers, in the words of PKCS#11.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use super::{Failure, environment, load};
use crate::app;
use crate::config::{Config, Hsm, Needs};
use crate::signer::pkcs11::inventory::{self, SlotEntry};
use crate::signer::pkcs11::keygen::{self, KeySpec};
use crate::signer::pkcs11::{self, Token};
use crate::telemetry::logging;
use crate::telemetry::metrics::Metrics;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the slots of the library, and what to write into kipuka.toml for each token
    Slots {
        /// The PKCS#11 library [default: that of [hsm]]
        #[arg(long, value_name = "FILE")]
        library: Option<PathBuf>,
    },
    /// List the keys on the token of `[hsm]`
    Keys,
    /// Make a key pair on the token: sensitive, not extractable, for signing only
    Keygen {
        /// The key's `CKA_LABEL`
        #[arg(long)]
        label: String,
        /// The key's `CKA_ID` in hex, such as 07; it becomes `hsm_slot`
        #[arg(long, value_name = "HEX", value_parser = hex)]
        id: Id,
        /// rsa-2048, rsa-3072, rsa-4096, ec-p256 or ec-p384
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

pub(super) fn hsm(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    let done = match command {
        Command::Slots { library: Some(library) } => slots(library),
        Command::Slots { library: None } => {
            with_hsm(config, Needs::Text, |_, hsm| slots(&hsm.library))
        }
        Command::Keys => with_token(config, |token| {
            for key in token.keys().map_err(Failure::failed)? {
                println!("{key}");
            }
            Ok(())
        }),
        Command::Keygen { label, id, spec } => with_token(config, |token| {
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

fn with_hsm(
    config: Option<&Path>,
    needs: Needs,
    work: impl FnOnce(&Config, &Hsm) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config, _) = load(config, needs)?;
    environment::complete(&config)?;
    logging::init(&config.log, &|name| std::env::var(name).ok()).map_err(Failure::failed)?;
    let file = config.file.display();
    match &config.hsms[..] {
        [hsm] => work(&config, hsm),
        [] => Err(Failure::Misconfigured(format!("{file}: there is no [hsm] section; add one"))),
        several => {
            let names: Vec<_> = several.iter().map(|hsm| hsm.name.as_str()).collect();
            let names = names.join(", ");
            Err(Failure::Misconfigured(format!("{file}: there are several tokens: {names}")))
        }
    }
}

fn with_token(
    config: Option<&Path>,
    work: impl FnOnce(&Arc<Token>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_hsm(config, Needs::Token, |_, hsm| {
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
