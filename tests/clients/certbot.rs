//! certbot, as Debian has it.

use std::fs;

use harness::command::shell;
use harness::{Port, Server};

use crate::{openssl_verify, server, server_asking};

fn certbot(server: &Server, command: &str) {
    let folder = server.folder.path().display();
    shell(
        &format!(
            "certbot {command} --non-interactive --server {} --config-dir {folder}/certbot \
             --work-dir {folder}/certbot/work --logs-dir {folder}/certbot/logs",
            server.directory("ca")
        ),
        &[("REQUESTS_CA_BUNDLE", &server.root().to_string_lossy())],
    );
}

fn fullchain(server: &Server, name: &str) -> String {
    format!("{}/certbot/live/{name}/fullchain.pem", server.folder.path().display())
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_registers_issues_renews_and_unregisters_with_http_01() {
    let reserved = Port::reserve();
    let port = reserved.number;
    let server = server_asking(port).await;
    certbot(&server, "register --agree-tos --email admin@example.test");
    let run =
        format!("certonly --standalone --http-01-port {port} -d www.localhost -d a.www.localhost");
    certbot(&server, &run);
    openssl_verify(&server, &fullchain(&server, "www.localhost"));
    let first = fs::read(fullchain(&server, "www.localhost")).unwrap();
    certbot(
        &server,
        &format!("renew --force-renewal --http-01-port {port} --no-random-sleep-on-renew"),
    );
    let renewed = fs::read(fullchain(&server, "www.localhost")).unwrap();
    assert_ne!(first, renewed);
    openssl_verify(&server, &fullchain(&server, "www.localhost"));
    certbot(
        &server,
        &format!("{run} --key-type rsa --rsa-key-size 2048 --cert-name rsa --force-renewal"),
    );
    openssl_verify(&server, &fullchain(&server, "rsa"));
    certbot(&server, "update_account --email other@example.test");
    certbot(&server, "unregister");
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_gets_a_wildcard_with_manual_dns_01() {
    let server = server().await;
    // The hook leaves the records in a folder; from there they go into the zone.
    let records = server.folder.path().join("records");
    fs::create_dir(&records).unwrap();
    let hook = server.folder.path().join("hook.sh");
    let script = format!(
        "#!/bin/sh\nset -e\nf=$(mktemp {0}/.XXXXXX)\necho \"$CERTBOT_DOMAIN $CERTBOT_VALIDATION\" > $f\n\
         mv $f {0}/$(basename $f).txt\nwhile ls {0}/*.txt >/dev/null 2>&1; do sleep 0.05; done\n",
        records.display()
    );
    fs::write(&hook, script).unwrap();
    let (zone, folder) = (server.zone.clone(), records.clone());
    let copier = tokio::spawn(async move {
        loop {
            for file in fs::read_dir(&folder).unwrap().flatten() {
                if file.path().extension().is_some_and(|extension| extension == "txt") {
                    let text = fs::read_to_string(file.path()).unwrap();
                    let (name, value) = text.trim().split_once(' ').unwrap();
                    zone.add_txt(&format!("_acme-challenge.{name}"), value);
                    fs::remove_file(file.path()).unwrap();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    tokio::task::block_in_place(|| {
        let hook = hook.display();
        certbot(
            &server,
            &format!(
                "certonly --manual --preferred-challenges dns --manual-auth-hook 'sh {hook}' \
                 --agree-tos --register-unsafely-without-email -d example.test -d '*.example.test'"
            ),
        );
    });
    copier.abort();
    openssl_verify(&server, &fullchain(&server, "example.test"));
    let leaf = fs::read(fullchain(&server, "example.test")).unwrap();
    let text = String::from_utf8(openssl_text(&leaf)).unwrap();
    assert!(text.contains("DNS:*.example.test, DNS:example.test"), "{text}");
}

fn openssl_text(pem: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), pem).unwrap();
    shell(&format!("openssl x509 -noout -text -in {}", file.path().display()), &[]).into_bytes()
}
