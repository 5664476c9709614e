//! acme-client for Ruby, as Debian has it.

use harness::Server;

use crate::{assert_revoked, leaf, run, script, server};

fn ruby(server: &Server, command: &str) {
    run(server, &format!("SSL_CERT_FILE=$ROOT ruby {} {command}", script("ruby/client.rb")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby_issues_renews_and_revokes_for_a_name_and_an_address_with_http_01() {
    let server = server().await;
    let names = ["www.example.test", "127.0.0.1"];
    let issue = || {
        ruby(&server, "issue www.pem http-01 www.example.test 127.0.0.1");
        leaf(&server, "www.pem", &names)
    };
    let (first, renewed) = (issue(), issue());
    assert_ne!(first.to_der().unwrap(), renewed.to_der().unwrap());
    ruby(&server, "revoke www.pem");
    assert_revoked(&server, &[&renewed]).await;
    ruby(&server, "deactivate");
}

#[tokio::test(flavor = "multi_thread")]
async fn ruby_changes_its_key_and_gets_a_wildcard_with_dns_01() {
    let server = server().await;
    ruby(&server, "register");
    ruby(&server, "change-key");
    ruby(&server, "issue wildcard.pem dns-01 example.test '*.example.test'");
    leaf(&server, "wildcard.pem", &["example.test", "*.example.test"]);
}
