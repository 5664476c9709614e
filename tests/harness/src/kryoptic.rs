//! Kryoptic and an OpenSSL that knows ML-DSA: what `tests/kryoptic/build.sh` built.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The PKCS#11 library. `KRYOPTIC_CONF` must name its configuration.
pub fn library() -> PathBuf {
    built("libkryoptic_pkcs11.so")
}

/// OpenSSL 3.6, the program.
pub fn openssl() -> Command {
    Command::new(built("openssl"))
}

/// Whether a chain (PEM, leaf first) leads to one of `roots` (PEM), for OpenSSL 3.6 to judge; with
/// its words where it does not.
pub fn verify(roots: &Path, chain: &Path) -> Result<(), String> {
    let mut verify = openssl();
    verify.args(["verify", "-x509_strict", "-CAfile"]).arg(roots);
    let output = command::output(verify.arg("-untrusted").arg(chain).arg(chain));
    if output.status.success() { Ok(()) } else { Err(command::text(&output)) }
}

fn built(name: &str) -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kryoptic/build.sh");
    let folder = command::run(Command::new(build).arg("where"));
    let path = Path::new(folder.trim()).join(name);
    assert!(path.exists(), "no {}; `tests/install.sh test` builds it", path.display());
    path
}
