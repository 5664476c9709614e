//! A SoftHSM2 of a test's own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::signer::pkcs11::{Token, TokenOptions, init, shut_down};

pub(super) const PIN: &str = "1234";
pub(super) const SO_PIN: &str = "5678";

const LIBRARIES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// Set in the process that [`isolated`] starts.
const INSIDE: &str = "KIPUKA_TEST_INSIDE_SOFTHSM";

/// Defines tests that each run in a process with an empty SoftHSM2.
macro_rules! softhsm_tests {
    ($($(#[doc = $doc:literal])* fn $name:ident() $body:block)+) => { $(
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            crate::signer::tests::softhsm::isolated(
                concat!(module_path!(), "::", stringify!($name)),
                || $body,
            );
        }
    )+ };
}
pub(super) use softhsm_tests;

/// Runs `test` in a copy of this process whose `SOFTHSM2_CONF` names an empty directory: SoftHSM2
/// reads the variable once per process, and setting it in a running one is unsafe.
pub(super) fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        test();
        assert!(shut_down(Duration::from_secs(10)), "a signing thread hangs");
        return;
    }
    // libtest's names have no crate in front.
    let (_, name) = name.split_once("::").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("softhsm2.conf");
    let tokens = dir.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    std::fs::write(&config, text).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("SOFTHSM2_CONF", &config)
        .env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}/p11-kit", dir.path().display()))
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed with {status}; its output is above");
}

pub(super) fn library() -> &'static Path {
    LIBRARIES.iter().map(Path::new).find(|path| path.exists()).expect(
        "SoftHSM2 is not installed, and these tests need it: `apt-get install softhsm2` \
         (Fedora: `dnf install softhsm`, macOS: `brew install softhsm`)",
    )
}

pub(super) fn make_token(label: &str) -> u64 {
    init::token(library(), label, &SO_PIN.into(), &PIN.into()).unwrap()
}

pub(super) fn options(label: &str) -> TokenOptions {
    TokenOptions {
        library: library().to_owned(),
        token_label: Some(label.to_owned()),
        pin: Some(SecretString::from(PIN)),
        ..TokenOptions::default()
    }
}

pub(super) fn open_token() -> Arc<Token> {
    make_token("kipuka");
    Token::open(options("kipuka")).unwrap()
}
