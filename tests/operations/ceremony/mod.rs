//! The key ceremony on the command line, with real tokens, judged by OpenSSL.

mod create;
mod faulty;
mod listings;
mod offline;
mod pin;
mod refused;
mod transcript;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::Token;
use harness::command::{shell, text};
use tempfile::TempDir;

use crate::BINARY;

/// A token, a folder for what is made, and a configuration that has nothing but the token.
struct Ceremony {
    token: Token,
    folder: TempDir,
    pin: String,
}

impl Ceremony {
    fn new() -> Self {
        Self::with(Token::softhsm())
    }

    fn with(token: Token) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kipuka.toml"), token.section()).unwrap();
        Self { token, folder, pin: harness::token::PIN.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Adds to kipuka.toml.
    fn configure(&self, section: &str) {
        let file = self.path("kipuka.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap() + section).unwrap();
    }

    /// A command in the folder; arguments are separated by spaces, and _ in them is a space.
    fn command(&self, line: &str) -> Command {
        let mut command = self.token.command(BINARY);
        command.arg("--config").arg(self.path("kipuka.toml"));
        command.args(line.split(' ').map(|argument| argument.replace('_', " ")));
        command.current_dir(self.folder.path()).env("KIPUKA_HSM_PIN", &self.pin);
        command.env_remove("SOFTHSM2_CONF").env_remove("KIPUKA_LOG");
        command
    }

    /// The exit code, and all that was said.
    fn try_run(&self, line: &str) -> (i32, String) {
        let output = self.command(line).output().unwrap();
        let code = output.status.code();
        (
            code.unwrap_or_else(|| panic!("kipuka {line} ended with {}", output.status)),
            text(&output),
        )
    }

    fn run(&self, line: &str) -> String {
        let (code, said) = self.try_run(line);
        assert_eq!(code, 0, "kipuka {line}: {said}");
        said
    }

    /// What the command must say when it refuses.
    fn refused(&self, line: &str, code: i32, sentence: &str) {
        let before = self.files();
        let (found, said) = self.try_run(line);
        assert_eq!(found, code, "kipuka {line}: {said}");
        assert!(said.contains(sentence), "kipuka {line}: {said:?} lacks {sentence:?}");
        assert_eq!(self.files(), before, "kipuka {line} left something");
    }

    /// A shell script in the folder.
    fn shell(&self, script: &str) -> String {
        shell(&format!("cd {}\n{script}", self.folder.path().display()), &[])
    }

    /// The names of the files, sorted.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// How many keys the token has.
    fn keys(&self) -> usize {
        let listed: serde_json::Value = serde_json::from_str(&self.run("hsm keys --json")).unwrap();
        listed.as_array().unwrap().len()
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
}
