//! The README's way to production, by its own commands.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::Port;

use crate::BINARY;

/// Programs that need a system of one's own; here they only must be called rightly.
const SHIMS: [(&str, &str); 4] = [
    ("useradd", "exit 0"),
    ("chown", "exit 0"),
    ("systemctl", "exit 0"),
    ("runuser", "shift 3; exec \"$@\""),
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The commands of all blocks that are marked `sh production`.
fn production_commands() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = readme.split("```sh production\n").skip(1);
    let blocks: Vec<_> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 7, "the README has lost its way to production");
    blocks.join("\n")
}

#[test]
fn the_readmes_production_commands_lead_to_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    for (name, script) in SHIMS {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink(BINARY, bin.join("kipuka")).unwrap();
    let reserved = [Port::reserve(), Port::reserve(), Port::reserve()];
    let [port, admin, http] = reserved.each_ref().map(|port| port.number);
    let here = |path: &str| format!("{}{path}", root.display());
    // Only places and names of the machine are others than in the README.
    let commands = production_commands()
        .replace("/etc/", &here("/etc/"))
        .replace("/var/lib/", &here("/var/lib/"))
        .replace("install -d -o kipuka -g kipuka", "install -d")
        .replace("0.0.0.0:8443", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:9443", &format!("127.0.0.1:{admin}"))
        .replace("https://ca.example.internal:8443", &format!("https://localhost:{port}"));
    for folder in ["/etc/systemd/system", "/var/lib"] {
        fs::create_dir_all(here(folder)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let said = harness::command::shell(
        &format!("cd {}\n{commands}", env!("CARGO_MANIFEST_DIR")),
        &[("PATH", &path)],
    );
    assert!(said.contains("test signature verified"), "{said}");
    assert!(Path::new(&here("/etc/systemd/system/kipuka.service")).exists());

    // What systemd would do: the PIN comes from the environment file.
    let config = here("/etc/kipuka/kipuka.toml");
    let validation = format!("\n[validation]\nresolve_localhost = true\nhttp_port = {http}\n");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + &validation).unwrap();
    let pin = fs::read_to_string(here("/etc/kipuka/hsm.env")).unwrap();
    let (name, pin) = pin.trim().split_once('=').unwrap();
    let mut serve = Command::new(BINARY);
    serve.args(["--config", &config]).env(name, pin).env_remove("SOFTHSM2_CONF");
    let _running = Running(serve.stderr(Stdio::null()).spawn().unwrap());
    let admin = ([127, 0, 0, 1], admin).into();
    let mut tries = 0;
    while harness::server::plain_get(admin, "/readyz").is_none_or(|(status, _)| status != 200) {
        tries += 1;
        assert!(tries < 600, "not ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    let certbot = here("/certbot");
    harness::command::shell(
        &format!(
            "certbot certonly --standalone --http-01-port {http} \
             --server https://localhost:{port}/acme/hsm-ec-ca/directory --non-interactive \
             --agree-tos --register-unsafely-without-email -d www.localhost \
             --config-dir {certbot} --work-dir {certbot}/work --logs-dir {certbot}/logs\n\
             openssl verify -x509_strict -CAfile {ca} {certbot}/live/www.localhost/cert.pem",
            ca = here("/etc/kipuka/ca/hsm-ec-ca.pem")
        ),
        &[("REQUESTS_CA_BUNDLE", &here("/etc/kipuka/ca/hsm-ec-ca.pem"))],
    );
}
