//! Alternate chains (RFC 8555 §7.4.2).

use std::fs;
use std::process::Command;

use harness::acme::verify_chain;
use harness::{Answer, Client, Issuer, Port, Server, Settings, command, csr};
use openssl::x509::X509;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");

/// A server whose CA has certificates by three roots, the first of which is its own.
async fn server() -> (Server, [Issuer; 3]) {
    server_with(Settings::default()).await
}

async fn server_with(settings: Settings) -> (Server, [Issuer; 3]) {
    let roots = ["first", "second", "third"].map(|name| Issuer::root(name, csr::p256()));
    let issuing = roots[0].below("issuing", csr::p256());
    let mut server = Server::prepare(BINARY, settings).await;
    let folder = server.folder.path();
    let (certificate, key) = issuing.write(folder, "ca", &[&roots[0]]);
    let mut alternates = Vec::new();
    for (root, name) in roots[1..].iter().zip(["second.pem", "third.pem"]) {
        let public = issuing.certificate.public_key().unwrap();
        let mut pem = root.certify("issuing", &public).to_pem().unwrap();
        pem.extend(root.certificate.to_pem().unwrap());
        fs::write(folder.join(name), pem).unwrap();
        alternates.push(name);
    }
    let config = fs::read_to_string(server.config()).unwrap();
    let ca = format!(
        "[[ca]]\nid = \"ca\"\ncert = \"{}\"\nkey = \"{}\"\nalternate_chains = {alternates:?}\n",
        certificate.display(),
        key.display()
    );
    fs::write(server.config(), config + &ca).unwrap();
    fs::write(server.root(), roots[0].certificate.to_pem().unwrap()).unwrap();
    server.spawn();
    (server, roots)
}

/// The URL of a certificate that was just issued.
async fn issue(client: &mut Client) -> String {
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect(200);
    let order = order.url.clone();
    client.settled(&order).await["certificate"].as_str().unwrap().to_owned()
}

fn alternates(answer: &Answer) -> Vec<String> {
    let links = answer.links().into_iter();
    let urls = links.filter_map(|link| link.strip_suffix(">;rel=\"alternate\"")?.strip_prefix('<'));
    urls.map(str::to_owned).collect()
}

#[tokio::test]
async fn each_chain_leads_to_its_root_and_links_to_the_others() {
    let (server, roots) = server().await;
    let mut client = server.account("ca").await;
    let url = issue(&mut client).await;
    let urls = [url.clone(), format!("{url}/1"), format!("{url}/2")];
    let mut leaves = Vec::new();
    for (number, root) in roots.iter().enumerate() {
        let answer = client.post_as_get(&urls[number]).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
        let others = urls.iter().enumerate().filter(|(other, _)| *other != number);
        let others: Vec<_> = others.map(|(_, url)| url.clone()).collect();
        assert_eq!(alternates(&answer), others);
        assert!(answer.links().iter().any(|link| link.ends_with(";rel=\"index\"")));
        let chain = X509::stack_from_pem(&answer.body).unwrap();
        assert_eq!(chain.len(), 2, "the root is left out");
        verify_chain(&chain, std::slice::from_ref(&root.certificate), "a.test");
        leaves.push(chain[0].to_der().unwrap());
    }
    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]), "one certificate with three chains");
    for nowhere in ["0", "3", "01", "+1", "x", "-1", "18446744073709551616"] {
        let answer = client.post_as_get(&format!("{url}/{nowhere}")).await;
        answer.expect_problem(404, "malformed");
    }
    let mut other = server.account("ca").await;
    other.post_as_get(&urls[1]).await.expect_problem(404, "malformed");
    client.get(&urls[1]).await.expect_problem(405, "malformed");
}

#[tokio::test]
async fn a_chain_for_another_name_or_key_is_refused_at_the_start() {
    let (mut server, roots) = server().await;
    server.kill();
    let said = command::text(&server.run(&["check"]));
    assert!(said.contains("ok       CA \"ca\""), "{said}");
    let issuing = X509::from_pem(&fs::read(server.folder.path().join("ca.pem")).unwrap()).unwrap();
    let another_name = roots[1].certify("other", &issuing.public_key().unwrap());
    let another_key = roots[1].below("issuing", csr::p256()).certificate;
    for certificate in [another_name, another_key] {
        fs::write(server.folder.path().join("second.pem"), certificate.to_pem().unwrap()).unwrap();
        for command in ["check", "serve"] {
            let output = server.run(&[command]);
            let said = command::text(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("second.pem: its first certificate"), "{said}");
        }
    }
    fs::remove_file(server.folder.path().join("second.pem")).unwrap();
    let output = server.run(&["check"]);
    let said = command::text(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("alternate chain"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_were_issued_before_have_the_chains_of_today() {
    let (mut server, _) = server().await;
    let mut client = server.account("ca").await;
    let url = issue(&mut client).await;
    server.kill();
    let config = fs::read_to_string(server.config()).unwrap();
    let without = config.replace("alternate_chains = [\"second.pem\", \"third.pem\"]\n", "");
    assert_ne!(config, without);
    fs::write(server.config(), without).unwrap();
    server.spawn();
    client.forget_nonce();
    assert!(alternates(&client.post_as_get(&url).await.expect(200)).is_empty());
    client.post_as_get(&format!("{url}/1")).await.expect_problem(404, "malformed");
    fs::write(server.config(), config).unwrap();
    server.reload().await;
    assert_eq!(alternates(&client.post_as_get(&url).await.expect(200)).len(), 2);
    let shown = client.post_as_get(&format!("{url}/2")).await.expect(200).body;
    let pem = tempfile::NamedTempFile::new().unwrap();
    fs::write(pem.path(), &shown).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-x509_strict", "-CAfile", "third.pem", "-untrusted"]);
    openssl.arg(pem.path()).arg(pem.path()).current_dir(server.folder.path());
    command::run(&mut openssl);
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_takes_the_chain_that_it_prefers() {
    let port = Port::reserve();
    let settings = Settings { http_port: Some(port.number), ..Settings::default() };
    let (server, _) = server_with(settings).await;
    let folder = server.folder.path().display();
    for (preferred, top) in [("third", "third"), ("second", "second"), ("none of them", "first")] {
        let certbot = format!(
            "cd {folder}\nREQUESTS_CA_BUNDLE=root.pem certbot certonly -n --agree-tos \
             --register-unsafely-without-email --standalone --http-01-port {} \
             --server {} -d a.test --force-renewal --preferred-chain '{preferred}' \
             --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs",
            port.number,
            server.directory("ca")
        );
        command::shell(&certbot, &[]);
        let pem = fs::read(server.folder.path().join("certbot/live/a.test/fullchain.pem")).unwrap();
        let chain = X509::stack_from_pem(&pem).unwrap();
        let issuer = chain.last().unwrap().issuer_name().entries().next().unwrap();
        assert_eq!(issuer.data().as_slice(), top.as_bytes(), "{preferred}");
    }
}
