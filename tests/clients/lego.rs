//! lego, as Debian has it.

use harness::command::shell;
use harness::{Port, Server};

use crate::{openssl_verify, server_asking};

fn lego(server: &Server, flags: &str, command: &str) {
    let root = server.root();
    shell(
        &format!(
            "lego --accept-tos --email admin@example.test --server {} --path {}/lego {flags} {command}",
            server.directory("ca"),
            server.folder.path().display()
        ),
        &[("LEGO_CA_CERTIFICATES", &root.to_string_lossy())],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_issues_and_renews_with_http_01() {
    let reserved = Port::reserve();
    let port = reserved.number;
    let server = server_asking(port).await;
    let fullchain =
        |name: &str| format!("{}/lego/certificates/{name}.crt", server.folder.path().display());
    let flags = format!("--http --http.port 127.0.0.1:{port} --domains www.localhost");
    lego(&server, &flags, "run");
    openssl_verify(&server, &fullchain("www.localhost"));
    lego(&server, &flags, "renew --days 100 --no-random-sleep");
    openssl_verify(&server, &fullchain("www.localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lego_issues_with_tls_alpn_01_and_an_rsa_key() {
    let (reserved, silent) = (Port::reserve(), Port::reserve());
    let port = reserved.number;
    let mut server = server_asking(silent.number).await;
    let config = std::fs::read_to_string(server.config()).unwrap();
    let asked = format!("tls_alpn_port = {}", server.responder.tls_port);
    std::fs::write(server.config(), config.replace(&asked, &format!("tls_alpn_port = {port}")))
        .unwrap();
    server.kill();
    server.spawn();
    let flags =
        format!("--key-type rsa2048 --tls --tls.port 127.0.0.1:{port} --domains www.localhost");
    lego(&server, &flags, "run");
    let folder = server.folder.path().display();
    openssl_verify(&server, &format!("{folder}/lego/certificates/www.localhost.crt"));
}
