//! uacme, which reads header names letter by letter.

use std::fs;

use harness::{Server, Settings};

use crate::{assert_revoked, leaf, run, script, server, server_with_external_accounts};

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
async fn uacme_issues_renews_and_revokes_for_a_name_and_an_address_with_http_01() {
    let server = server().await;
    let names = ["www.example.test", "127.0.0.1"];
    let certificate = || leaf(&server, "uacme/www.example.test/cert.pem", &names);
    uacme(&server, "http-01", &["new admin@example.test", "issue www.example.test 127.0.0.1"]);
    let first = certificate();
    uacme(
        &server,
        "http-01",
        &["update other@example.test", "-f issue www.example.test 127.0.0.1"],
    );
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
async fn uacme_binds_its_account_changes_its_key_and_gets_a_wildcard_with_dns_01() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let bound = format!("-e {}:{} new", external.kid, external.hmac_key);
    uacme(&server, "dns-01", &[&bound, "newkey", "issue *.example.test example.test"]);
    leaf(&server, "uacme/example.test/cert.pem", &["example.test", "*.example.test"]);
}
