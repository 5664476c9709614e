//! The release before this one: what `tests/recovery/upgrade/build.sh` built.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The program.
pub fn binary() -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recovery/upgrade/build.sh");
    let folder = command::run(Command::new(build).arg("where"));
    let path = Path::new(folder.trim()).join("kipuka");
    assert!(path.exists(), "no {}; `tests/install.sh test` builds it", path.display());
    path
}
