//! Real ACME clients against a real kipuka whose key is in a token.

mod certbot;
mod instant_acme;
mod lego;
mod uacme;

use harness::{Ca, Server, Settings};

/// A server with an EC CA in a SoftHSM2 token.
async fn server() -> Server {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        validation: "resolve_localhost = true".to_owned(),
        ..Settings::default()
    };
    Server::start(harness::server::binary(), settings).await
}

/// A server whose http-01 asks this port.
async fn server_asking(http_port: u16) -> Server {
    let mut server = Server::prepare(
        harness::server::binary(),
        Settings {
            cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
            validation: "resolve_localhost = true".to_owned(),
            ..Settings::default()
        },
    )
    .await;
    let config = std::fs::read_to_string(server.config()).unwrap();
    let asked = format!("http_port = {}", server.responder.http_port);
    std::fs::write(server.config(), config.replace(&asked, &format!("http_port = {http_port}")))
        .unwrap();
    server.spawn();
    server
}

/// Panics unless OpenSSL's own program accepts a leaf (with its chain in the same file).
fn openssl_verify(server: &Server, fullchain: &str) {
    let root = server.root();
    let script = format!(
        "openssl verify -x509_strict -CAfile {} -untrusted {fullchain} {fullchain}",
        root.display()
    );
    harness::command::shell(&script, &[]);
}
