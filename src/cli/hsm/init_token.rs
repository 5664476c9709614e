//! `kipuka hsm init-token`.

use std::env;

use secrecy::SecretString;

use super::super::token::Tokens;
use super::super::{Failure, pin};
use crate::signer::pkcs11::{init, inventory};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The environment variable with the security officer's PIN [default: it is asked for]
    #[arg(long, value_name = "NAME")]
    so_pin_env: Option<String>,
}

/// Initialises the first free token of the library under the `token_label` of `[hsm]`, with the PIN of
/// `[hsm]` or one that is typed. A token that is initialised already is left as it is.
pub(super) fn init_token(
    tokens: &Tokens,
    hsm: Option<&str>,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let hsm = tokens.hsm(hsm)?;
    let file = tokens.config.file.display();
    let Some(label) = &hsm.token_label else {
        return Err(Failure::Misconfigured(format!(
            "{file}: hsm.token_label: is missing; write the label that the token is to have"
        )));
    };
    let slots = inventory::slots(&hsm.library).map_err(Failure::failed)?;
    let named = slots.iter().filter_map(|slot| slot.token.as_ref());
    let ready = named.filter(|token| token.initialized && token.user_pin_initialized);
    if ready.into_iter().any(|token| token.label == *label) {
        return Err(Failure::Failed(format!(
            "there is a token {label:?} already, and it was left as it is: give another token_label"
        )));
    }
    let so_pin = match &arguments.so_pin_env {
        Some(name) => match env::var(name).ok().filter(|pin| !pin.is_empty()) {
            Some(pin) => SecretString::from(pin),
            None => {
                return Err(Failure::Misconfigured(format!(
                    "kipuka: the variable that --so-pin-env names is not set: {name}"
                )));
            }
        },
        None => pin::choose("PIN of the security officer")?,
    };
    let user_pin = match &hsm.pin {
        Some(pin) => pin.clone(),
        None => pin::choose("PIN of the user")?,
    };
    init::token(&hsm.library, label, &so_pin, &user_pin).map_err(Failure::failed)?;
    say!("the token {label:?} is initialised; `kipuka hsm slots` shows it");
    Ok(())
}
