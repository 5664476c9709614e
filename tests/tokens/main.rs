//! The same few steps with every token that a plain Debian has: keys are made and found, sign with
//! each digest, and issue certificates.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::time::{Duration, Instant};

use harness::acme::verify_chain;
use harness::command::text;
use harness::{Ca, Server, Settings, Token};

mod pages;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");

/// What a kind of token is asked for: `kipuka hsm keygen`'s types, and keys as pkcs11-tool makes
/// them.
struct Kind {
    new: fn() -> Token,
    keygen: &'static [&'static str],
    keys: &'static [(&'static str, &'static str)],
    /// How its RSA keys sign.
    paddings: &'static [&'static str],
}

const EVERY_PADDING: &[&str] = &["pkcs1", "pss"];

const RSA: (&str, &str) = ("rsa", "rsa:2048");
const RSA3072: (&str, &str) = ("rsa3072", "rsa:3072");
const RSA4096: (&str, &str) = ("rsa4096", "rsa:4096");
const P256: (&str, &str) = ("p256", "EC:prime256v1");
const P384: (&str, &str) = ("p384", "EC:secp384r1");
const P521: (&str, &str) = ("p521", "EC:secp521r1");

macro_rules! tokens {
    ($($name:ident: $keygen:expr, $keys:expr, $paddings:expr;)+) => { $(
        mod $name {
            use super::*;

            const KIND: Kind = Kind {
                new: Token::$name,
                keygen: $keygen,
                keys: $keys,
                paddings: $paddings,
            };

            #[test]
            fn kipuka_finds_the_token_and_makes_and_lists_its_keys() {
                super::kipuka_finds_the_token_and_makes_and_lists_its_keys(&KIND);
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn it_issues_on_after_a_reload_and_after_a_kill() {
                super::it_issues_on_after_a_reload_and_after_a_kill(&KIND).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn every_key_signs_with_every_digest_and_issues_a_certificate() {
                super::every_key_signs_with_every_digest_and_issues_a_certificate(&KIND).await;
            }
        }
    )+ };
}

tokens! {
    softhsm:
        &["rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384", "ec-p521", "ed25519"],
        &[RSA, RSA3072, RSA4096, P256, P384, P521], EVERY_PADDING;
    kryoptic:
        &[
            "rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384", "ec-p521", "ed25519",
            "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
        ],
        &[RSA, RSA3072, RSA4096, P256, P384, P521], EVERY_PADDING;
    tpm2: &["rsa-2048", "rsa-3072", "ec-p256", "ec-p384"], &[RSA, P256, P384], &["pkcs1"];
    opencryptoki: &["rsa-2048", "rsa-3072", "rsa-4096"], &[RSA, RSA3072, RSA4096], EVERY_PADDING;
    nss: &["rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"], &[RSA, P256, P384, P521], EVERY_PADDING;
    nss_without_pin: &["rsa-2048", "ec-p256"], &[RSA, P256], EVERY_PADDING;
    p11_kit: &["rsa-2048", "ec-p256", "ec-p384", "ec-p521"], &[RSA, P256, P384, P521], EVERY_PADDING;
}

/// What `kipuka hsm` prints, with a configuration that has nothing but the token.
fn hsm(token: &Token, arguments: &[&str]) -> String {
    let config = token.path().join("kipuka.toml");
    fs::write(&config, token.section()).unwrap();
    let mut kipuka = token.command(BINARY);
    kipuka.arg("--config").arg(&config).arg("hsm").args(arguments);
    let output = kipuka.env("KIPUKA_HSM_PIN", harness::token::PIN).output().unwrap();
    assert!(output.status.success(), "hsm {arguments:?}: {}", text(&output));
    text(&output)
}

#[test]
fn a_token_whose_label_cannot_be_read_is_named_by_its_slot() {
    let slots = hsm(&Token::opencryptoki(), &["slots"]);
    assert!(slots.contains("cannot be read; in [hsm] write: slot = 0x3\n"), "{slots}");
}

#[test]
fn a_token_that_makes_no_rsa_key_that_only_signs_makes_one_that_may_do_more_and_says_so() {
    let keygen = ["keygen", "--label", "ca", "--id", "0a", "--type", "rsa-2048"];
    let made = hsm(&Token::tpm2(), &keygen);
    assert!(made.contains("only signs: this one may do more"), "{made}");
}

fn kipuka_finds_the_token_and_makes_and_lists_its_keys(kind: &Kind) {
    let token = (kind.new)();
    let slots = hsm(&token, &["slots"]);
    assert!(slots.contains("in [hsm] write: "), "{slots}");
    for (number, kind) in kind.keygen.iter().enumerate() {
        let id = format!("0a{number:02x}");
        let made = hsm(&token, &["keygen", "--label", kind, "--id", &id, "--type", kind]);
        assert!(made.contains(&format!("hsm_slot = \"{id}\"")), "{made}");
        let keys = hsm(&token, &["keys"]);
        assert!(keys.contains(&format!("id {id} label \"{kind}\"")), "{keys}");
    }
}

async fn every_key_signs_with_every_digest_and_issues_a_certificate(kind: &Kind) {
    let cas = kind.keys.iter().zip(1..);
    let cas = cas.map(|((id, key_type), cka_id)| Ca::Token { id, key_type, cka_id }).collect();
    let settings = Settings { cas, token: Some((kind.new)()), ..Settings::default() };
    let mut server = Server::prepare(BINARY, settings).await;
    let config = fs::read_to_string(server.config()).unwrap();
    for digest in ["sha256", "sha384", "sha512"] {
        for padding in kind.paddings {
            let mut text =
                config.replace("\nhsm_slot", &format!("\ndigest = \"{digest}\"\nhsm_slot"));
            for (id, _) in kind.keys.iter().filter(|(_, key_type)| key_type.starts_with("rsa")) {
                let id = format!("\nid = \"{id}\"\n");
                text = text.replace(&id, &format!("{id}rsa_padding = \"{padding}\"\n"));
            }
            fs::write(server.config(), text).unwrap();
            let said = harness::command::text(&server.run(&["check"]));
            let signed =
                said.lines().filter(|line| line.contains("test signature verified")).count();
            assert_eq!(signed, kind.keys.len(), "{digest}, {padding}: {said}");
        }
    }
    fs::write(server.config(), config).unwrap();
    server.spawn();
    for (ca, _) in kind.keys {
        let mut client = server.account(ca).await;
        let names = ["a.test", "b.test"];
        let chain = client.order(&names).await.prove("http-01").await.finalize().await;
        verify_chain(&chain, &server.roots(), names[0]);
    }
    assert!(server.terminate().0, "{}", server.log());
}

async fn it_issues_on_after_a_reload_and_after_a_kill(kind: &Kind) {
    let (id, key_type) = kind.keys[kind.keys.len() - 1];
    let cas = vec![Ca::Token { id, key_type, cka_id: 1 }];
    let settings = Settings { cas, token: Some((kind.new)()), ..Settings::default() };
    let mut server = Server::start(BINARY, settings).await;
    let mut client = server.account(id).await;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    server.signal("HUP");
    let begin = Instant::now();
    while !server.log().contains("\"reloaded\"") {
        assert!(begin.elapsed() < Duration::from_secs(20), "not reloaded: {}", server.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let chain = client.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    verify_chain(&chain, &server.roots(), "b.test");
    server.kill();
    server.spawn();
    client.forget_nonce();
    let chain = client.order(&["c.test"]).await.prove("http-01").await.finalize().await;
    verify_chain(&chain, &server.roots(), "c.test");
}

/// Each library has its own CKR_* for it.
#[test]
fn a_wrong_pin_is_refused_in_words_by_every_token() {
    for token in [
        Token::softhsm(),
        Token::kryoptic(),
        Token::tpm2(),
        Token::opencryptoki(),
        Token::nss(),
        Token::p11_kit(),
    ] {
        let config = token.path().join("kipuka.toml");
        fs::write(&config, token.section()).unwrap();
        let mut keys = token.command(BINARY);
        keys.arg("--config").arg(&config).args(["hsm", "keys"]).env("KIPUKA_HSM_PIN", "87654");
        let output = keys.output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("refused the PIN") && !said.contains("87654"), "{said}");
    }
}
