//! The PIN: from the environment, from a file, or from the configuration itself, in that order.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::Needs;
use super::files::Shared;
use super::mistake::At;
use super::reader::Section;

/// Far beyond any PIN; a larger file is something else.
const MAX_PIN_BYTES: usize = 4096;

/// The PIN that `section` leads to. `None` where it names no source (not every token asks for a
/// PIN), where a mistake was found, or where no PIN is needed now.
///
/// No message shows what stands behind `pin_env` or `pin`: people put the PIN into either.
pub(super) fn pin(section: &Section<'_>) -> Option<SecretString> {
    let variable = section.string("pin_env").filter(|name| check_name(section, name));
    let file = section.path("pin_file");
    let inline = section.string("pin");
    if let Some(inline) = &inline {
        section.reader.warn(
            &inline.place,
            "the PIN stands in the configuration file",
            "for production use pin_env or pin_file",
        );
    }
    if section.reader.needs < Needs::Token {
        return None;
    }
    if let Some(variable) = variable {
        let value = (section.reader.env)(variable.value).filter(|value| !value.is_empty());
        if let Some(value) = value {
            return Some(SecretString::from(value));
        }
        let next = match (&file, &inline) {
            (Some(_), _) => "pin_file",
            (None, Some(_)) => "pin",
            (None, None) => {
                section.reader.mistake(
                    &variable.place,
                    "the environment variable that it names is not set",
                    "set it to the PIN (export it, or EnvironmentFile= in systemd)",
                );
                return None;
            }
        };
        section.reader.warn(
            &variable.place,
            format!("the environment variable that it names is not set, so {next} is used"),
            format!("set the variable, or remove {}", variable.place.key),
        );
    }
    match file {
        Some(file) => from_file(section, &file),
        None => inline.map(|inline| SecretString::from(inline.value.to_owned())),
    }
}

fn check_name(section: &Section<'_>, name: &At<&str>) -> bool {
    let first = name.value.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let good = first && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !good {
        section.reader.mistake(
            &name.place,
            "is not the name of an environment variable",
            "write the name of the variable that holds the PIN, not the PIN: \"KIPUKA_HSM_PIN\"",
        );
    }
    good
}

fn from_file(section: &Section<'_>, file: &At<PathBuf>) -> Option<SecretString> {
    if !section.reader.check_secret("PIN file", file, Shared::Nobody) {
        return None;
    }
    // Wiped in the end, and never moved as it grows.
    let mut text = Zeroizing::new(String::with_capacity(MAX_PIN_BYTES + 1));
    let read = File::open(&file.value)
        .and_then(|open| open.take(MAX_PIN_BYTES as u64 + 1).read_to_string(&mut text));
    let wrong = |what: &str, remedy: &str| {
        section.reader.mistake(&file.place, format!("the PIN file {what}"), remedy);
        None
    };
    if let Err(error) = read {
        section.reader.unreadable("PIN file", file, &error);
        return None;
    }
    if text.len() > MAX_PIN_BYTES {
        return wrong("is larger than 4 KiB", "name the file that holds the PIN and nothing else");
    }
    let pin =
        text.strip_suffix('\n').map_or(text.as_str(), |pin| pin.strip_suffix('\r').unwrap_or(pin));
    if pin.is_empty() {
        return wrong("is empty", "write the PIN into it");
    }
    if pin.contains(['\n', '\r', '\0']) {
        return wrong("has more than one line", "leave nothing in it but the PIN");
    }
    Some(SecretString::from(pin.to_owned()))
}
