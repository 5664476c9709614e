//! The circumstances of a ceremony: who ran what, where, with which files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid, gethostname, getuid};
use secrecy::ExposeSecret as _;

use super::token::Tokens;
use crate::ledger::Actor;
use crate::x509::description::sha256_hex;

/// The command as a shell would take it. No option takes a PIN, so none stands in it.
pub(super) fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let word = |word: String| {
        let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    arguments.map(word).collect::<Vec<_>>().join(" ")
}

/// Who runs this command, as the audit trail names them.
pub(super) fn operator() -> Actor {
    Actor::Operator(who())
}

/// The user who runs this process, and for whom.
pub(super) fn who() -> String {
    let name = |uid| {
        User::from_uid(uid).ok().flatten().map_or_else(|| "(no name)".to_owned(), |user| user.name)
    };
    let (real, effective) = (getuid(), geteuid());
    let mut who = format!("{} (uid {real})", name(real));
    if effective != real {
        who += &format!(", as {} (uid {effective})", name(effective));
    }
    if let Ok(user) = env::var("SUDO_USER") {
        who += &format!(", by sudo for {user}");
    }
    who
}

pub(super) fn host() -> String {
    gethostname().map_or_else(|error| error.to_string(), |name| name.to_string_lossy().into_owned())
}

pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The SHA-256 of a file in hex.
pub(super) fn digest_of(file: Option<&Path>) -> String {
    match file.map(fs::read) {
        Some(Ok(bytes)) => sha256_hex(&bytes),
        Some(Err(error)) => format!("not known: {error}"),
        None => "not known: the system's loader found the file".to_owned(),
    }
}

/// The SHA-256 of kipuka.toml. Not given where a short secret stands in the file: who knows the rest of it could try all PINs
/// against the digest.
pub(super) fn configuration_digest(tokens: &Tokens) -> String {
    let config = &tokens.config;
    let pin = tokens.warnings.iter().any(|warning| warning.key.ends_with(".pin"));
    let password = url::Url::parse(config.database.url.expose_secret()).is_ok_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
    });
    match pin || password {
        true => "not given: a secret stands in the file, and could be guessed from it".to_owned(),
        false => digest_of(Some(&config.file)),
    }
}

/// The file of a library; where the loader found it by name, as the process's memory map has it.
pub(super) fn loaded_from(library: &Path) -> Option<PathBuf> {
    if library.components().count() > 1 {
        return library.canonicalize().ok();
    }
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let mut paths = maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
    paths.find(|path| path.file_name() == Some(library.as_os_str())).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_there_as_a_shell_takes_it() {
        let arguments = ["kipuka", "ca", "create-root", "--subject", "CN=It's,O=a b", "--out", ""];
        let line = command_line(arguments.into_iter().map(str::to_owned));
        assert_eq!(line, r"kipuka ca create-root --subject 'CN=It'\''s,O=a b' --out ''");
    }
}
