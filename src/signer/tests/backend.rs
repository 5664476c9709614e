//! Tokens of a test's own: of SoftHSM2 and of Kryoptic.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::signer::pkcs11::{Token, TokenOptions, init, shut_down};

pub(super) const PIN: &str = "1234";
pub(super) const SO_PIN: &str = "5678";

const SOFTHSM: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// Names the library in the process that [`isolated`] starts.
const INSIDE: &str = "KIPUKA_TEST_LIBRARY";

#[derive(Clone, Copy, Debug)]
pub(super) enum Backend {
    SoftHsm,
    Kryoptic,
    /// As several HSMs are: it signs digests, and hashes nothing.
    KryopticWithoutHashing,
}

/// For a slot of Kryoptic's configuration.
const WITHOUT_HASHING: &str = r#"mechanisms = ["DENY", "CKM_SHA256_RSA_PKCS", "CKM_SHA384_RSA_PKCS",
"CKM_SHA512_RSA_PKCS", "CKM_SHA256_RSA_PKCS_PSS", "CKM_SHA384_RSA_PKCS_PSS",
"CKM_SHA512_RSA_PKCS_PSS", "CKM_ECDSA_SHA256", "CKM_ECDSA_SHA384", "CKM_ECDSA_SHA512"]"#;

/// Defines tests that run with each backend, each in a process of its own, without any token yet.
macro_rules! token_tests {
    ($($(#[doc = $doc:literal])* fn $name:ident() $body:block)+) => {
        mod softhsm {
            crate::signer::tests::backend::token_tests!(SoftHsm $($(#[doc = $doc])* $name $body)+);
        }
        mod kryoptic {
            crate::signer::tests::backend::token_tests!(Kryoptic $($(#[doc = $doc])* $name $body)+);
        }
    };
    ($backend:ident $($(#[doc = $doc:literal])* $name:ident $body:block)+) => {
        use super::*;
        $(
            $(#[doc = $doc])*
            #[test]
            fn $name() {
                crate::signer::tests::backend::isolated(
                    concat!(module_path!(), "::", stringify!($name)),
                    crate::signer::tests::backend::Backend::$backend,
                    || $body,
                );
            }
        )+
    };
}
pub(super) use token_tests;

/// Runs `test` in a copy of this process whose library has its tokens in an empty directory: a
/// library reads its variable once per process, and setting it in a running one is unsafe.
pub(super) fn isolated(name: &str, backend: Backend, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        test();
        assert!(shut_down(Duration::from_secs(10)), "a signing thread hangs");
        return;
    }
    // libtest's names have no crate in front.
    let (_, name) = name.split_once("::").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("token.conf");
    let (variable, library, text) = match backend {
        Backend::SoftHsm => {
            let text =
                format!("directories.tokendir = {}\nlog.level = ERROR\n", dir.path().display());
            ("SOFTHSM2_CONF", softhsm(), text)
        }
        Backend::Kryoptic | Backend::KryopticWithoutHashing => {
            // SoftHSM2 always has one more token that is not initialised; here are as many as are
            // needed.
            let mut text = String::new();
            for slot in 1..=3 {
                let database = dir.path().join(format!("{slot}.sql"));
                writeln!(text, "[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"").unwrap();
                writeln!(text, "dbargs = \"{}\"", database.display()).unwrap();
                if matches!(backend, Backend::KryopticWithoutHashing) {
                    writeln!(text, "{WITHOUT_HASHING}").unwrap();
                }
            }
            ("KRYOPTIC_CONF", harness::kryoptic::library(), text)
        }
    };
    std::fs::write(&config, text).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(variable, &config)
        .env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}/p11-kit", dir.path().display()))
        .env(INSIDE, library)
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed with {status}; its output is above");
}

fn softhsm() -> PathBuf {
    SOFTHSM.iter().map(PathBuf::from).find(|path| path.exists()).expect(
        "SoftHSM2 is not installed, and these tests need it: `apt-get install softhsm2` \
         (Fedora: `dnf install softhsm`, macOS: `brew install softhsm`)",
    )
}

/// The library of the test that is running.
pub(super) fn library() -> PathBuf {
    std::env::var_os(INSIDE).expect("set by the process that started this one").into()
}

pub(super) fn make_token(label: &str) -> u64 {
    init::token(&library(), label, &SO_PIN.into(), &PIN.into()).unwrap()
}

pub(super) fn options(label: &str) -> TokenOptions {
    TokenOptions {
        library: library(),
        token_label: Some(label.to_owned()),
        pin: Some(SecretString::from(PIN)),
        ..TokenOptions::default()
    }
}

pub(super) fn open_token() -> Arc<Token> {
    make_token("kipuka");
    Token::open(options("kipuka")).unwrap()
}
