//! `kipuka hsm slots`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::{Failure, print_json, print_listing};
use crate::signer::pkcs11::inventory::{self, SlotEntry, TokenEntry};

/// A slot, by the names that PKCS#11 has for what is in it.
#[derive(Serialize)]
struct Slot<'a> {
    library: &'a Path,
    /// The place in the list; it changes when tokens come and go.
    index: usize,
    slot: u64,
    description: &'a str,
    token: Option<Token<'a>>,
}

#[derive(Serialize)]
struct Token<'a> {
    label: &'a str,
    manufacturer: &'a str,
    model: &'a str,
    serial_number: &'a str,
    flags: &'a [&'static str],
    hardware_version: &'a str,
    firmware_version: &'a str,
    pin_min: usize,
    pin_max: usize,
    /// `null` where there is no limit.
    max_sessions: Option<u64>,
    login: &'static str,
}

/// Lists the slots of these libraries.
pub(super) fn of(libraries: &[PathBuf], json: bool) -> Result<(), Failure> {
    let mut lists = Vec::new();
    for library in libraries {
        lists.push((library, inventory::slots(library).map_err(Failure::failed)?));
    }
    let slots: Vec<_> = lists
        .iter()
        .flat_map(|(library, entries)| {
            entries.iter().enumerate().map(|(index, entry)| slot(library, index, entry))
        })
        .collect();
    if json {
        return print_json(&slots);
    }
    let mut lines = Vec::new();
    for (library, entries) in &lists {
        if lists.len() > 1 {
            lines.push(format!("{}:", library.display()));
        }
        for (index, entry) in entries.iter().enumerate() {
            lines.push(entry.to_string());
            describe(&slot(library, index, entry), entry.token.as_ref(), &mut lines);
        }
    }
    print_listing(&(lines.join("\n") + "\n"))
}

fn slot<'a>(library: &'a Path, index: usize, entry: &'a SlotEntry) -> Slot<'a> {
    Slot {
        library,
        index,
        slot: entry.slot,
        description: &entry.description,
        token: entry.token.as_ref().map(|token| Token {
            label: &token.label,
            manufacturer: &token.manufacturer,
            model: &token.model,
            serial_number: &token.serial_number,
            flags: &token.flags,
            hardware_version: &token.hardware_version,
            firmware_version: &token.firmware_version,
            pin_min: token.pin_length.0,
            pin_max: token.pin_length.1,
            max_sessions: token.max_sessions,
            login: login(token),
        }),
    }
}

fn login(token: &TokenEntry) -> &'static str {
    match token {
        TokenEntry { login_required: false, .. } => "not needed",
        TokenEntry { user_pin_locked: true, .. } => {
            "the PIN is LOCKED; the security officer can set a new one"
        }
        TokenEntry { protected_authentication_path: true, .. } => "at the token's own keypad",
        TokenEntry { user_pin_initialized: false, initialized: true, .. } => {
            "no PIN is set yet; the security officer sets it (pkcs11-tool --init-pin)"
        }
        _ => "a PIN is needed: pin_env or pin_file",
    }
}

/// The lines below the slot's own, in the words of pkcs11-tool --list-slots.
fn describe(slot: &Slot<'_>, entry: Option<&TokenEntry>, lines: &mut Vec<String>) {
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:<19}: {value}"));
    line("index", &slot.index.to_string());
    line("description", slot.description);
    let (Some(token), Some(entry)) = (&slot.token, entry) else { return };
    if !entry.initialized {
        line("token flags", &token.flags.join(", "));
        let remedy = "initialise it with the vendor's tool or pkcs11-tool --init-token";
        lines.push(format!("  {remedy}"));
        return;
    }
    if token.label.is_empty() {
        let slot = slot.slot;
        lines.push(format!("  its label cannot be read; in [hsm] write: slot = {slot:#x}"));
        return;
    }
    line("token label", token.label);
    line("token manufacturer", token.manufacturer);
    line("token model", token.model);
    line("token flags", &token.flags.join(", "));
    line("hardware version", token.hardware_version);
    line("firmware version", token.firmware_version);
    line("serial num", token.serial_number);
    line("pin min/max", &format!("{}/{}", token.pin_min, token.pin_max));
    let limit = token.max_sessions.map(|limit| format!("at most {limit}"));
    line("sessions", limit.as_deref().unwrap_or("no limit"));
    line("login", token.login);
    lines.push(format!(
        "  in [hsm] write: token_label = {:?}   (or: slot = {:#x})",
        token.label, slot.slot
    ));
}
