//! acme-client from npm.

use harness::{Port, Server, Settings};

use crate::{
    assert_revoked, leaf, package, run, script, server, server_with, server_with_external_accounts,
};

fn npm(server: &Server, command: &str) {
    let (program, modules) = (script("npm/client.cjs"), package("npm/node_modules"));
    let environment = format!("NODE_EXTRA_CA_CERTS=$ROOT NODE_PATH={modules}");
    run(server, &format!("{environment} node {program} {command}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_issues_renews_and_revokes_with_http_01() {
    let server = server().await;
    let names = ["www.example.test", "a.www.example.test"];
    let issue = || {
        npm(&server, "issue www.pem http-01 www.example.test a.www.example.test");
        leaf(&server, "www.pem", &names)
    };
    let (first, renewed) = (issue(), issue());
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    npm(&server, "revoke www.pem");
    assert_revoked(&server, &[&renewed]).await;
    npm(&server, "deactivate");
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_certifies_an_ip_address_with_tls_alpn_01() {
    let port = Port::reserve();
    let settings = Settings { tls_alpn_port: Some(port.number), ..Settings::default() };
    let server = server_with(settings).await;
    npm(&server, &format!("issue www.pem tls-alpn-01:{} 127.0.0.1", port.number));
    leaf(&server, "www.pem", &["127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_binds_its_account_changes_its_key_and_gets_a_wildcard_with_dns_01() {
    let (server, external) = server_with_external_accounts(Settings::default()).await;
    let credentials = [external.kid.as_str(), &external.hmac_key].join(":");
    npm(&server, &format!("register {credentials}"));
    npm(&server, "change-key");
    npm(&server, "issue wildcard.pem dns-01 example.test '*.example.test'");
    leaf(&server, "wildcard.pem", &["example.test", "*.example.test"]);
}
