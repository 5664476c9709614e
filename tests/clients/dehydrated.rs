//! dehydrated, a shell script that reads JSON and headers in its own way.

use std::fs;

use harness::{Server, Settings};

use crate::{assert_revoked, leaf, run, script, server, server_with_external_accounts, shown};

/// Writes the configuration that `dehydrated -f` reads.
fn configure(server: &Server, more: &str) {
    let base = server.folder.path().join("dehydrated");
    fs::create_dir_all(&base).unwrap();
    let text = format!(
        "CA={}\nBASEDIR={}\nWELLKNOWN={}\nHOOK={}\nCURL_OPTS='--cacert {}'\n\
         ACCOUNT_KEYSIZE=2048\nCONTACT_EMAIL=admin@example.test\n{more}\n",
        server.directory("ca"),
        base.display(),
        shown(server).join("http-01").display(),
        script("hooks/dehydrated.sh"),
        server.root().display(),
    );
    fs::write(base.join("config"), text).unwrap();
}

fn dehydrated(server: &Server, command: &str, challenge: &str) {
    let dehydrated = format!("dehydrated -f $FOLDER/dehydrated/config -t {challenge}");
    run(server, &format!("CHALLENGETYPE={challenge} {dehydrated} {command}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dehydrated_issues_renews_and_revokes_with_http_01() {
    let server = server().await;
    configure(&server, "");
    let names = ["www.example.test", "a.www.example.test"];
    let certificate = || leaf(&server, "dehydrated/certs/www.example.test/fullchain.pem", &names);
    dehydrated(&server, "--register --accept-terms", "http-01");
    dehydrated(&server, "--cron -d www.example.test -d a.www.example.test", "http-01");
    let first = certificate();
    dehydrated(&server, "--cron --force -d www.example.test -d a.www.example.test", "http-01");
    let renewed = certificate();
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    dehydrated(&server, "--account", "http-01");
    let file = "$FOLDER/dehydrated/certs/www.example.test/cert.pem";
    dehydrated(&server, &format!("--revoke {file}"), "http-01");
    assert_revoked(&server, &[&renewed]).await;
    dehydrated(&server, "--deactivate", "http-01");
}

#[tokio::test(flavor = "multi_thread")]
async fn dehydrated_binds_its_account_and_gets_a_wildcard_with_dns_01_and_an_rsa_key() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let eab = format!("EAB_KID={}\nEAB_HMAC_KEY={}", external.kid, external.hmac_key);
    configure(&server, &format!("{eab}\nKEY_ALGO=rsa\nKEYSIZE=2048"));
    dehydrated(&server, "--register --accept-terms", "dns-01");
    let wildcard = "--cron --alias wildcard -d '*.example.test' -d example.test";
    dehydrated(&server, wildcard, "dns-01");
    let names = ["example.test", "*.example.test"];
    leaf(&server, "dehydrated/certs/wildcard/fullchain.pem", &names);
}
