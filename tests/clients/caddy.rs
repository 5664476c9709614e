//! Caddy, which gets and renews certificates for the sites in its configuration by itself.

use std::fs;
use std::process::Command;

use harness::{Port, Server, Settings};
use serde_json::{Value, json};

use crate::server_with;
use crate::site::Site;

/// How one site gets its certificate, by one type of challenge alone.
fn policy(server: &Server, name: &str, challenge: &str) -> Value {
    let disabled = |kind: &str| json!({ "disabled": kind != challenge });
    json!({
        "subjects": [name],
        // All of its lifetime: a certificate is renewed as soon as it is there.
        "renewal_window_ratio": 0.9999,
        "disable_ocsp_stapling": true,
        "issuers": [{
            "module": "acme",
            "ca": server.directory("ca"),
            "email": "admin@example.test",
            "trusted_roots_pem_files": [server.root()],
            "challenges": {
                "http": disabled("http-01"),
                "tls-alpn": disabled("tls-alpn-01"),
            },
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_issues_and_renews_with_tls_alpn_01_and_with_http_01() {
    let [http, https] = [Port::reserve(), Port::reserve()];
    let settings = Settings {
        ca: "validity_days = 1".to_owned(),
        http_port: Some(http.number),
        tls_alpn_port: Some(https.number),
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let names = ["alpn.example.test", "http.example.test"];
    let policies = [policy(&server, names[0], "tls-alpn-01"), policy(&server, names[1], "http-01")];
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
            "tls": { "automation": { "renew_interval": "1s", "policies": policies } },
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
