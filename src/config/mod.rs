//! kipuka.toml: read, checked and turned into a [`Config`], with every mistake reported at once.
//!
//! A relative path in the file is relative to the folder that the file stands in, so that a
//! configuration means the same wherever kipuka is started from.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

mod ca;
mod database;
mod files;
mod find;
mod hsm;
mod limits;
mod log;
mod mistake;
mod pattern;
mod policy;
mod profile;
mod reader;
mod secret;
mod server;
mod suggest;
mod telemetry;
#[cfg(test)]
mod tests;
mod validation;
mod value;

#[cfg(test)]
pub(crate) use ca::KeyUsage;
pub(crate) use ca::{Ca, CaKey, CaaMode, Digest, RsaPadding, Sharing};
pub(crate) use database::Database;
pub(crate) use find::find;
pub(crate) use hsm::Hsm;
pub(crate) use limits::{Limits, ProxyHeader};
pub(crate) use log::{Log, LogFormat};
pub(crate) use mistake::{Errors, Warning};
pub(crate) use pattern::NamePattern;
#[cfg(test)]
pub(crate) use policy::KEY_TYPES;
pub(crate) use policy::{MAX_IDENTIFIERS, Policy};
pub(crate) use profile::Profile;
pub(crate) use server::{Server, TlsFiles};
pub(crate) use telemetry::Telemetry;
pub(crate) use validation::Validation;

use mistake::Place;
use reader::Reader;
use toml::de::DeTable;

/// Looks up an environment variable; an argument, so that tests need not change the process's own.
pub(crate) type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Larger files are refused: a configuration of 1,000 CAs has some 300 KiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The sections, with the keys that each knows.
const SECTIONS: &[(&str, &[&str])] = &[
    ("server", server::KEYS),
    ("database", database::KEYS),
    ("hsm", hsm::KEYS),
    ("ca", ca::KEYS),
    ("policy", policy::KEYS),
    ("profile", profile::KEYS),
    ("validation", validation::KEYS),
    ("limits", limits::KEYS),
    ("log", log::KEYS),
    ("telemetry", telemetry::KEYS),
];

/// All that kipuka.toml says, with defaults filled in; it holds no secret that `Debug` would show.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where it was read from.
    pub(crate) file: PathBuf,
    pub(crate) server: Server,
    pub(crate) database: Database,
    /// In the order of the file.
    pub(crate) hsms: Vec<Hsm>,
    /// In the order of the file; with [`Needs::Serve`] at least one.
    pub(crate) cas: Vec<Ca>,
    pub(crate) validation: Validation,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
    pub(crate) telemetry: Telemetry,
}

/// What the command is about to use, and so must be there beside a file without mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Nothing: no other file is looked at, no PIN is fetched.
    Text,
    /// `[hsm]`, its library and its PIN; `[[ca]]` may be missing, as before a key ceremony.
    Token,
    /// All that `kipuka serve` uses: as [`Self::Token`] where there is an `[hsm]`, at least one
    /// `[[ca]]`, and every certificate and key file.
    Serve,
}

/// Reads the configuration in the file `path`.
///
/// # Errors
/// All mistakes that were found, in the order of the file.
pub(crate) fn load(
    path: &Path,
    env: &Env<'_>,
    needs: Needs,
) -> Result<(Config, Vec<Warning>), Errors> {
    let text = read(path).map_err(|(what, remedy)| Errors::whole_file(path, what, remedy))?;
    parse(path, &text, env, needs)
}

/// Reads the configuration `text`, which stands in the file `path`.
pub(crate) fn parse(
    path: &Path,
    text: &str,
    env: &Env<'_>,
    needs: Needs,
) -> Result<(Config, Vec<Warning>), Errors> {
    let (root, syntax) = DeTable::parse_recoverable(text);
    let reader = Reader::new(path, text, env, needs);
    if !syntax.is_empty() {
        reader.syntax(&syntax);
        return reader.finish(None);
    }
    let config = read_sections(&reader, root.get_ref());
    reader.finish(Some(config))
}

fn read_sections(reader: &Reader<'_>, root: &DeTable<'_>) -> Config {
    reader.unknown_sections(root);
    let hsms = hsm::read_all(reader, root);
    if hsms.is_empty() && !root.contains_key("hsm") && reader.needs == Needs::Token {
        reader.mistake(
            &Place::new(None, "hsm"),
            "this command works on the token, and there is no [hsm] section",
            "add [hsm] with library, and slot or token_label",
        );
    }
    let profiles = profile::read_all(reader, root);
    let policy = policy::read(&reader.section_or_empty(root, "policy", policy::KEYS));
    Config {
        file: reader.file.to_owned(),
        server: server::read(&reader.section_or_empty(root, "server", server::KEYS)),
        database: database::read(&reader.section_or_empty(root, "database", database::KEYS)),
        cas: ca::read_all(reader, root, &hsms, &policy, &profiles),
        hsms,
        validation: validation::read(&reader.section_or_empty(
            root,
            "validation",
            validation::KEYS,
        )),
        limits: limits::read(&reader.section_or_empty(root, "limits", limits::KEYS)),
        log: log::read(&reader.section_or_empty(root, "log", log::KEYS)),
        telemetry: telemetry::read(&reader.section_or_empty(root, "telemetry", telemetry::KEYS)),
    }
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    let unreadable = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "name the right file with --config or KIPUKA_CONFIG",
            std::io::ErrorKind::PermissionDenied => {
                "let the user that kipuka runs as read it (chown, chmod)"
            }
            _ => "name a file that can be read",
        };
        (format!("cannot be read: {error}"), remedy)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((
            "is larger than 1 MiB".to_owned(),
            "name a configuration file; this is something else",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        (format!("is not UTF-8 on line {line}"), "save it as UTF-8 text")
    })
}
