//! Start, TLS, and the end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use harness::{Issuer, Server, Settings, csr};

use crate::BINARY;

#[tokio::test]
async fn without_tls_files_kipuka_issues_its_own_certificate_from_the_first_ca() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    // The client trusts only the CA's root, and reaches the server under either name.
    server.account("ca").await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{}/acme/ca/directory", server.address.port());
        let root = server.root();
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(&root).arg(url);
        harness::command::run(&mut curl);
    }
}

#[tokio::test]
async fn tls_files_are_reloaded_when_they_change_and_a_broken_pair_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) =
        Issuer::root("localhost", csr::p256()).write(folder.path(), "server", &[]);
    let settings = Settings {
        server: format!("tls_cert = {certificate:?}\ntls_key = {key:?}"),
        ..Settings::key_file()
    };
    let server = Server::start(BINARY, settings).await;
    let served = || {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 -noout -subject",
            server.address.port()
        );
        harness::command::shell(&script, &[])
    };
    assert!(served().contains("CN = localhost"), "{}", served());
    fs::write(&key, "half-written").unwrap();
    std::thread::sleep(Duration::from_secs(6));
    assert!(served().contains("CN = localhost"), "{}", served());
    Issuer::root("renewed", csr::p256()).write(folder.path(), "server", &[]);
    for _ in 0..100 {
        if served().contains("CN = renewed") {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("not reloaded: {}", server.log());
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused_with_the_chmod_that_mends_it() {
    let server = Server::prepare(BINARY, Settings::key_file()).await;
    let key = server.folder.path().join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = server.run(&["serve"]);
    let said = harness::command::text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("chmod 0400") && said.contains("ca-key.pem"), "{said}");
}

#[tokio::test]
async fn sigterm_ends_the_server_in_order() {
    let mut server = Server::start(BINARY, Settings::key_file()).await;
    server.account("ca").await;
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "{log}");
    assert!(log.contains("\"stopped\""), "{log}");
}

#[tokio::test]
async fn the_process_list_and_the_log_show_no_secret() {
    let settings = Settings {
        cas: vec![harness::Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let line = fs::read_to_string(format!("/proc/{}/cmdline", server.pid())).unwrap();
    assert!(!line.contains("1234"), "{line}");
    let log = server.log();
    assert!(!log.contains("\"1234\"") && !log.to_lowercase().contains("private key"), "{log}");
}
