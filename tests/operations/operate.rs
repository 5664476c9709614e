//! docs/operate: its commands, as they stand there.

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Ca, Port, Server, Settings, Token};
use openssl::x509::X509;

use crate::BINARY;

/// The commands of the blocks that are marked `sh tested`, without the indent of a list.
pub(crate) fn tested_commands(page: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate").join(page);
    let text = fs::read_to_string(page).unwrap();
    let mut commands = String::new();
    let mut indent = None;
    for line in text.lines() {
        match indent {
            None if line.trim_start() == "```sh tested" => {
                indent = Some(line.len() - line.trim_start().len());
            }
            Some(_) if line.trim_start() == "```" => indent = None,
            Some(indent) => commands += &format!("{}\n", line.get(indent..).unwrap_or_default()),
            None => {}
        }
    }
    commands
}

/// Where the commands find kipuka.
pub(crate) fn path(folder: &Path) -> String {
    let bin = folder.join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(BINARY, bin.join("kipuka")).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_commands_of_the_ceremony_lead_to_cas_that_openssl_takes() {
    let token = Token::empty_softhsm();
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    fs::create_dir_all(etc.join("ca")).unwrap();
    let commands = tested_commands("ceremony.md");
    for command in ["init-token", "create-root", "sign-csr", "import", "cross-sign", "verify"] {
        assert!(commands.contains(command), "{command}: {commands}");
    }
    let commands = commands
        .replace("/etc/kipuka/softhsm2.conf", &token.conf().display().to_string())
        .replace("/etc/kipuka", &etc.display().to_string());
    // What is typed at `read`, in its order.
    let script = format!(
        "export SOFTHSM2_CONF={} KIPUKA_CONFIG={}/kipuka.toml\ncd {}\n\
         exec < <(printf '%s\\n' 1234 12345678)\n{commands}",
        token.conf().display(),
        etc.display(),
        folder.path().display()
    );
    harness::command::shell(&script, &[("PATH", &path(folder.path()))]);
    let verify = |root: &str, ca: &str| {
        let script =
            format!("cd {}; openssl verify -x509_strict -CAfile {root} {ca}", etc.display());
        harness::command::shell(&script, &[]);
    };
    verify("ca/root.pem", "ca/ca-1.pem");
    verify("ca/root.pem", "ca/ca-2.pem");
    verify("ca/root-2.pem", "ca/ca-1-by-root-2.pem");
    verify("ca/openssl-root.pem", "ca/openssl-root.pem");
    let transcripts = [folder.path().join("root-key.txt"), etc.join("ca/root.pem.transcript.txt")];
    for transcript in transcripts {
        let text = fs::read_to_string(&transcript).unwrap();
        assert!(text.contains("A. Example") && !text.contains("12345678"), "{text}");
    }
}

#[test]
fn the_policy_of_its_page_says_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/policy.md");
    let page = fs::read_to_string(page).unwrap();
    let block = |kind: &str| {
        page.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0.to_owned()
    };
    let config = folder.path().join("kipuka.toml");
    let files = "cert = \"web.pem\"\nkey = \"web-key.pem\"";
    fs::write(&config, block("toml").replace("# …", files)).unwrap();
    let config = config.display().to_string();
    let environment = [("PATH", &*path(folder.path())), ("KIPUKA_CONFIG", &config)];
    let said = harness::command::shell(&tested_commands("policy.md"), &environment);
    assert_eq!(said, block("text"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ca_is_added_by_the_commands_of_its_page_while_the_first_serves() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "first", key_type: "EC:prime256v1", cka_id: 1 }],
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let folder = server.folder.path();
    let root: PathBuf = folder.join("root.pem");
    let commands = tested_commands("second-ca.md")
        .replace("/etc/kipuka/ca/root.pem", &root.display().to_string())
        .replace("/etc/kipuka/ca/", &format!("{}/", folder.display()))
        .replace("/etc/kipuka/", &format!("{}/", folder.display()));
    let config = server.config().display().to_string();
    let environment =
        [("PATH", &*path(folder)), ("KIPUKA_CONFIG", &config), ("KIPUKA_HSM_PIN", "1234")];
    let said = harness::command::shell(&commands, &environment);
    assert!(said.contains("CA \"second\": CN=Second CA,O=Example,C=DE"), "{said}");
    server.signal("HUP");
    let begun = std::time::Instant::now();
    while !server.log().contains("\"reloaded\"") {
        assert!(begun.elapsed().as_secs() < 20, "{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut client = server.account("second").await;
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let root = X509::from_pem(&fs::read(root).unwrap()).unwrap();
    harness::acme::verify_chain(&chain, &[root], "a.test");
}

#[test]
fn the_examples_of_the_page_on_validation_are_read_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/validation.md");
    let page = fs::read_to_string(page).unwrap();
    let block = |kind: &str| {
        page.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0.to_owned()
    };
    let config = folder.path().join("kipuka.toml");
    let files = "cert = \"web.pem\"\nkey = \"web-key.pem\"";
    fs::write(&config, block("toml").replace("# …", files)).unwrap();
    let explain =
        "kipuka policy explain --ca web www.example.internal '*.example.internal' 10.0.0.7";
    let environment =
        [("PATH", &*path(folder.path())), ("KIPUKA_CONFIG", &*config.display().to_string())];
    let said = harness::command::shell(explain, &environment);
    let ways: Vec<_> = said
        .lines()
        .map(|line| line.split_once("proved by ").unwrap().1.split(';').next().unwrap())
        .collect();
    assert_eq!(
        ways,
        [
            "http-01, dns-01, tls-alpn-01, dns-account-01, dns-persist-01",
            "dns-01, dns-account-01, dns-persist-01",
            "http-01, tls-alpn-01",
        ]
    );
    // As a file elsewhere, so that nothing of the system's own is asked for.
    let unbound =
        block("unbound").replace("/var/lib/unbound", &folder.path().display().to_string());
    // The root's key-signing key of 2017, as unbound's package brings it.
    let root =
        ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n";
    fs::write(folder.path().join("root.key"), root).unwrap();
    let conf = folder.path().join("unbound.conf");
    fs::write(&conf, unbound).unwrap();
    let check = format!("/usr/sbin/unbound-checkconf {}", conf.display());
    assert!(harness::command::shell(&check, &[]).contains("no errors"));
}

#[test]
fn the_example_of_the_page_on_devices_issues_for_the_devices_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/devices.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let files = "cert = \"ca.pem\"\nkey = \"ca-key.pem\"";
    let config = folder.path().join("kipuka.toml");
    fs::write(&config, block.replace("# …", files)).unwrap();
    let environment =
        [("PATH", &*path(folder.path())), ("KIPUKA_CONFIG", &*config.display().to_string())];
    let explain = |device: &str| {
        let name = format!("permanent-identifier:{device}");
        let command = format!("kipuka policy explain --ca devices {name} || true");
        harness::command::shell(&command, &environment)
    };
    for (device, answer) in
        [("C02XG1234", ": yes: "), ("F4ABC", ": yes: "), ("C02XG12345", ": no: "), ("A", ": no: ")]
    {
        let said = explain(device);
        assert!(said.contains(answer), "{device}: {said}");
        assert_eq!(said.contains("device-attest-01"), answer == ": yes: ", "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_revoked_by_the_commands_of_its_page_and_the_crl_is_there() {
    let port = Port::reserve();
    let settings = Settings {
        cas: vec![Ca::KeyFile { id: "issuing-ca", rsa: false }],
        server: format!("http_listen = \"{}\"", port.address()),
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let mut client = server.account("issuing-ca").await;
    let order = client.order(&["www.example.internal"]).await.prove("http-01").await;
    let certificate = order.finalize().await.remove(0);
    server.crl("issuing-ca", 0).await;
    let commands = tested_commands("revocation.md");
    let begin = commands.find("curl").unwrap();
    let (revoke, fetch) = commands.split_at(begin);
    let folder = server.folder.path();
    let config = server.config().display().to_string();
    let environment = [("PATH", &*path(folder)), ("KIPUKA_CONFIG", &config)];
    let said = harness::command::shell(revoke, &environment);
    let serial = certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
    assert!(said.contains(&format!("revoked: {}", serial.to_lowercase())), "{said}");
    server.crl("issuing-ca", 1).await;
    let fetch = fetch.replace("ca.example.internal:8080", &port.address().to_string());
    let fetch = format!("cd {}\n{fetch}", folder.display());
    let shown = harness::command::shell(&fetch, &environment);
    assert!(shown.contains(&serial) && shown.contains("Key Compromise"), "{shown}");
}
