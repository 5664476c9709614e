//! The PIN from the terminal, where the configuration names no source of it and the token wants one.
//! For commands only: a server must not wait at a prompt.

use std::io::{self, IsTerminal as _};

use secrecy::SecretString;

use super::Failure;
use crate::config::Hsm;
use crate::signer::pkcs11::inventory::{self, SlotEntry, TokenEntry};

/// Asks for the PIN of this token, without echo, where nothing else gives it. Asked once: tokens
/// lock after a few wrong PINs.
pub(super) fn ask(hsm: &mut Hsm) -> Result<(), Failure> {
    if hsm.pin.is_some() || !io::stdin().is_terminal() {
        return Ok(());
    }
    // What is wrong with the library or the token is said when the token is opened.
    let Ok(slots) = inventory::slots(&hsm.library) else { return Ok(()) };
    let Some((slot, token)) = meant(&slots, hsm) else { return Ok(()) };
    if !token.login_required || token.protected_authentication_path {
        return Ok(());
    }
    let prompt = format!("PIN of the token {:?} in slot {slot:#x}: ", token.label);
    let pin = rpassword::prompt_password(prompt)
        .map_err(|error| Failure::failed(format!("the PIN could not be read: {error}")))?;
    if pin.is_empty() {
        return Err(Failure::Misconfigured(
            "kipuka: no PIN was typed; the token was not asked".to_owned(),
        ));
    }
    hsm.pin = Some(SecretString::from(pin));
    Ok(())
}

/// The only token that the section can mean.
fn meant<'a>(slots: &'a [SlotEntry], hsm: &Hsm) -> Option<(u64, &'a TokenEntry)> {
    let mut fitting = slots.iter().filter_map(|entry| {
        let token = entry.token.as_ref().filter(|token| token.initialized)?;
        let slot = hsm.slot.is_none_or(|slot| slot == entry.slot);
        let label = hsm.token_label.as_ref().is_none_or(|label| *label == token.label);
        (slot && label).then_some((entry.slot, token))
    });
    let only = fitting.next()?;
    fitting.next().is_none().then_some(only)
}
