//! Caddy, which gets and renews certificates for the sites in its configuration by itself.

use std::fs;
use std::process::Command;

use harness::external_account::Credentials;
use harness::{Port, Server, Settings};
use serde_json::{Value, json};

use crate::server_with_external_accounts;
use crate::site::Site;

/// How one site gets its certificate, by one type of challenge alone.
fn policy(server: &Server, external: &Credentials, name: &str, challenge: &str) -> Value {
    let disabled = |kind: &str| json!({ "disabled": kind != challenge });
    json!({
        "subjects": [name],
        // All of its lifetime: a certificate is renewed as soon as it is there.
        "renewal_window_ratio": 0.9999,
        "disable_ocsp_stapling": true,
        "issuers": [{
            "module": "acme",
            "ca": server.directory("ca"),
            // An account each: Caddy keeps them by their address, and three that are made at once under
            // one address can leave the key of one beside the URL of another.
            "email": format!("{challenge}-{name}@example.test"),
            "external_account": { "key_id": external.kid, "mac_key": external.hmac_key },
            "trusted_roots_pem_files": [server.root()],
            "challenges": {
                "http": disabled("http-01"),
                "tls-alpn": disabled("tls-alpn-01"),
            },
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_binds_its_account_issues_and_renews_for_names_and_an_address() {
    let [http, https] = [Port::reserve(), Port::reserve()];
    let settings = Settings {
        ca: "validity_days = 1".to_owned(),
        http_port: Some(http.number),
        tls_alpn_port: Some(https.number),
        ..Settings::default()
    };
    let (server, external) = server_with_external_accounts(settings).await;
    let names = ["alpn.example.test", "http.example.test", "127.0.0.1"];
    let policies = [
        policy(&server, &external, names[0], "tls-alpn-01"),
        policy(&server, &external, names[1], "http-01"),
        policy(&server, &external, names[2], "http-01"),
    ];
    let config = json!({
        "admin": { "disabled": true },
        "storage": { "module": "file_system", "root": server.folder.path().join("caddy") },
        "apps": {
            "http": {
                "http_port": http.number,
                "https_port": https.number,
                "servers": { "site": {
                    "listen": [format!("127.0.0.1:{}", https.number)],
                    "routes": [{ "match": [{ "host": names }] }],
                } },
            },
            "tls": { "automation": { "renew_interval": "2s", "policies": policies } },
        },
    });
    let file = server.folder.path().join("caddy.json");
    fs::write(&file, config.to_string()).unwrap();
    let mut caddy = Command::new("caddy");
    caddy.arg("run").arg("--config").arg(&file).env("HOME", server.folder.path());
    let mut site = Site::start(&server, https.number, &mut caddy);
    for name in names {
        let first = site.certificate(name, None, |_| ());
        site.certificate(name, Some(&first), |_| ());
    }
}
