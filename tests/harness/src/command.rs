//! Other programs.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Who runs this test; 0 is root.
pub fn user_id() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

/// Runs a shell script with `bash -euo pipefail`, and returns what it printed on stdout.
pub fn shell(script: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).envs(environment.iter().copied());
    run(&mut command)
}

/// Runs a program that must succeed, and returns what it printed on stdout.
pub fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?} failed: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program, whatever becomes of it.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?} cannot be run ({error}); `tests/install.sh test` installs what is missing"
        )
    })
}

/// All that a program printed.
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A library of this workspace for tests, built where that is needed; optimised, since benchmarks run
/// through it.
pub(crate) fn built(package: &str, library: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["build", "--quiet", "--release", "--package", package]).current_dir(&root);
    run(&mut cargo);
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release").join(library)
}
