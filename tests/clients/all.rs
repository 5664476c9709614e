//! Real ACME clients against a real kipuka whose key is in a token. One file for each client;
//! docs/clients.md says what of it operators need.

mod acme_tiny;
mod acmetool;
mod apache;
mod caddy;
mod certbot;
mod dehydrated;
mod instant_acme;
mod lego;
mod npm;
mod ruby;
mod site;
mod uacme;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::external_account::Credentials;
use harness::{Ca, Server, Settings, command};
use openssl::x509::{CrlStatus, X509, X509Crl};

/// A server with an EC CA in a token.
async fn server() -> Server {
    server_with(Settings::default()).await
}

/// A server with an EC CA in a token, or with others; it also believes what hooks leave in `shown`.
async fn server_with(mut settings: Settings) -> Server {
    if settings.cas.is_empty() {
        settings.cas = vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }];
    }
    let mut server = Server::prepare(harness::server::binary(), settings).await;
    for folder in ["http-01", "txt"] {
        fs::create_dir_all(shown(&server).join(folder)).unwrap();
    }
    server.responder.read_http01_from(shown(&server).join("http-01"));
    server.zone.read_txt_from(shown(&server).join("txt"));
    server.spawn();
    server
}

/// A server that makes accounts only for those who have a key for it (RFC 8555 §7.3.4), and such a
/// key. Orders may name the profile `short`, whose certificates are valid for 12 hours.
async fn server_with_external_accounts(settings: Settings) -> (Server, Credentials) {
    let ca = format!(
        "{}\nexternal_account_required = true\nprofiles = [\"default\", \"short\"]",
        settings.ca
    );
    // What a profile leaves out is as the CA has it.
    let sections = "[profile.default]\n\n[profile.short]\nvalidity_hours = 12\n\n".to_owned();
    let server = server_with(Settings { ca, sections, ..settings }).await;
    let created = kipuka(&server, &["eab", "create", "--reusable", "--json"]);
    (server, Credentials::from_json(&created))
}

/// What an operator's command prints.
fn kipuka(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    assert!(output.status.success(), "{}", command::text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Panics unless a certificate is of the profile `short`.
#[track_caller]
fn assert_short(certificate: &X509) {
    let life = certificate.not_before().diff(certificate.not_after()).unwrap();
    assert_eq!((life.days, life.secs), (0, 12 * 3600 - 1), "both ends count (RFC 5280)");
}

/// Where a client leaves what its domain shows: `http-01/TOKEN` and `txt/NAME`. Hooks find it in
/// the variable SHOWN.
fn shown(server: &Server) -> PathBuf {
    server.folder.path().join("shown")
}

/// A script of ours that a client calls, or that uses a library.
fn script(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// A file in the folder that `packages.sh` fills.
fn package(path: &str) -> String {
    let folder = command::run(Command::new(script("packages.sh")).arg("where"));
    let path = Path::new(folder.trim()).join(path);
    assert!(path.exists(), "no {}; `tests/install.sh test` installs it", path.display());
    path.display().to_string()
}

/// Runs a client, in bash, with `$DIRECTORY`, `$FOLDER` (the server's), `$ROOT` and `$SHOWN`.
fn run(server: &Server, commands: &str) -> String {
    let paths = [server.folder.path().to_owned(), server.root(), shown(server)];
    let [folder, root, shown] = paths.each_ref().map(|path| path.to_str().unwrap());
    let directory = server.directory("ca");
    command::shell(
        commands,
        &[("DIRECTORY", &directory), ("FOLDER", folder), ("ROOT", root), ("SHOWN", shown)],
    )
}

/// The chain in a file below the server's folder, leaf first. Panics unless OpenSSL's own program
/// accepts the leaf with what stands in the same file.
fn chain(server: &Server, path: &str) -> Vec<X509> {
    let file = format!("$FOLDER/{path}");
    run(server, &format!("openssl verify -x509_strict -CAfile $ROOT -untrusted {file} {file}"));
    X509::stack_from_pem(&fs::read(server.folder.path().join(path)).unwrap()).unwrap()
}

/// The leaf of such a chain, for exactly these names, in any order.
#[track_caller]
fn leaf(server: &Server, path: &str, names: &[&str]) -> X509 {
    let leaf = chain(server, path).swap_remove(0);
    let mut found: Vec<_> = leaf
        .subject_alt_names()
        .unwrap()
        .iter()
        .map(|name| match name.ipaddress() {
            Some([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
            Some(other) => format!("{other:?}"),
            None => name.dnsname().unwrap().to_owned(),
        })
        .collect();
    let mut names = names.to_vec();
    found.sort();
    names.sort_unstable();
    assert_eq!(found, names);
    leaf
}

/// Panics unless the CA's CRL comes to name these certificates and no others.
async fn assert_revoked(server: &Server, certificates: &[&X509]) {
    let crl = server.crl("ca", certificates.len()).await;
    let crl = X509Crl::from_pem(crl.as_bytes()).unwrap();
    for certificate in certificates {
        assert!(matches!(crl.get_by_cert(certificate), CrlStatus::Revoked(_)));
    }
}
