//! lego, as Debian has it.

use harness::{Port, Server, Settings};

use crate::{assert_revoked, leaf, run, script, server_with, server_with_external_accounts};

fn lego(server: &Server, flags: &str, command: &str) {
    let environment = "LEGO_CA_CERTIFICATES=$ROOT EXEC_POLLING_INTERVAL=1 EXEC_SEQUENCE_INTERVAL=1";
    let hook = script("hooks/lego.sh");
    let lego =
        "lego --accept-tos --email admin@example.test --server $DIRECTORY --path $FOLDER/lego";
    run(server, &format!("{environment} EXEC_PATH={hook} {lego} {flags} {command}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_issues_renews_and_revokes_with_http_01() {
    let port = Port::reserve();
    let settings = Settings { http_port: Some(port.number), ..Settings::default() };
    let server = server_with(settings).await;
    let flags = format!("--http --http.port 127.0.0.1:{} -d www.example.test", port.number);
    let certificate =
        || leaf(&server, "lego/certificates/www.example.test.crt", &["www.example.test"]);
    lego(&server, &flags, "run");
    let first = certificate();
    lego(&server, &flags, "renew --days 100 --no-random-sleep");
    let renewed = certificate();
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    lego(&server, &flags, "revoke --reason 4");
    assert_revoked(&server, &[&renewed]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_issues_with_tls_alpn_01_and_an_rsa_key() {
    let port = Port::reserve();
    let settings = Settings { tls_alpn_port: Some(port.number), ..Settings::default() };
    let server = server_with(settings).await;
    let flags = format!("--tls --tls.port 127.0.0.1:{} -d www.example.test", port.number);
    lego(&server, &format!("--key-type rsa2048 {flags}"), "run");
    leaf(&server, "lego/certificates/www.example.test.crt", &["www.example.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_binds_its_account_and_gets_a_wildcard_with_dns_01() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let eab = format!("--eab --kid {} --hmac {}", external.kid, external.hmac_key);
    let dns = format!("--dns exec --dns.disable-cp --dns.resolvers {}", server.zone.address);
    lego(&server, &format!("{eab} {dns} -d '*.example.test' -d example.test"), "run");
    let names = ["example.test", "*.example.test"];
    leaf(&server, "lego/certificates/_.example.test.crt", &names);
}
