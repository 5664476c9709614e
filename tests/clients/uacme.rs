//! uacme, which reads header names letter by letter.

use std::fs;

use harness::Server;

use crate::{assert_revoked, leaf, run, script, server};

/// Runs some commands of uacme's. It trusts the system's store and no other, so it runs where that
/// store is our root.
fn uacme(server: &Server, challenge: &str, commands: &[&str]) {
    let hook = script("hooks/uacme.sh");
    let all: String = commands
        .iter()
        .map(|command| {
            format!("uacme -v -y -c $FOLDER/uacme -a $DIRECTORY -t EC -h {hook} {command}; ")
        })
        .collect();
    let store = "mount --bind $ROOT /etc/ssl/certs/ca-certificates.crt";
    let namespace = format!("unshare --map-root-user --mount bash -euc '{store}; {all}'");
    run(server, &format!("CHALLENGE={challenge} {namespace}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn uacme_issues_renews_and_revokes_with_http_01() {
    let server = server().await;
    let certificate = || leaf(&server, "uacme/www.example.test/cert.pem", &["www.example.test"]);
    uacme(&server, "http-01", &["new admin@example.test", "issue www.example.test"]);
    let first = certificate();
    uacme(&server, "http-01", &["update other@example.test", "-f issue www.example.test"]);
    let renewed = certificate();
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    let name = "www.example.test";
    fs::write(server.folder.path().join("first.pem"), first.to_pem().unwrap()).unwrap();
    // By the account, and by the key that it renewed.
    let by_account = "-r 4 revoke $FOLDER/first.pem";
    let by_key =
        format!("revoke $FOLDER/uacme/{name}/cert.pem $FOLDER/uacme/private/{name}/key.pem");
    uacme(&server, "http-01", &[by_account, &by_key, "deactivate"]);
    assert_revoked(&server, &[&first, &renewed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uacme_gets_a_wildcard_with_dns_01() {
    let server = server().await;
    uacme(&server, "dns-01", &["new", "issue *.example.test example.test"]);
    leaf(&server, "uacme/example.test/cert.pem", &["example.test", "*.example.test"]);
}
