//! docker-compose.yml, as far as that goes without Docker: the file is one, what it names is there, and its
//! setup makes what its configuration asks for. `recovery/instances` runs the same topology.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::{Database, Port};

use crate::BINARY;
use crate::operate::path;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compose(arguments: &[&str]) -> Command {
    let mut compose = Command::new("docker-compose");
    compose.args(["--file", "docker-compose.yml"]).args(arguments).current_dir(top());
    compose.env("KIPUKA_HSM_PIN", "1234").env("PGPASSWORD", "secret");
    compose
}

#[test]
fn the_compose_file_has_two_instances_a_database_and_a_balancer() {
    let services = harness::command::run(&mut compose(&["config", "--services"]));
    let mut services: Vec<&str> = services.lines().collect();
    services.sort_unstable();
    assert_eq!(services, ["a", "b", "haproxy", "postgres", "setup"]);
    // Without secrets nothing starts, and no secret stands in the file.
    let without = compose(&["config", "--quiet"]).env_remove("PGPASSWORD").output().unwrap();
    assert!(!without.status.success());
    let said = String::from_utf8(without.stderr).unwrap();
    assert!(said.contains(".env"), "{said}");
}

#[test]
fn what_the_image_is_made_of_is_there() {
    let dockerfile = fs::read_to_string(top().join("config/Dockerfile")).unwrap();
    let mut copied = 0;
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY config/")) {
        let file = line.split(' ').nth(1).unwrap();
        assert!(top().join(file).exists(), "{line}");
        copied += 1;
    }
    assert!(copied >= 2 && dockerfile.contains("config/compose-setup.sh"), "{dockerfile}");
    let rust = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let version = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let image = format!("FROM rust:{}-", version.trim_matches('"'));
    assert!(dockerfile.contains(&image), "{image}");
}

#[test]
fn the_haproxy_configuration_is_one() {
    let mut haproxy = Command::new("/usr/sbin/haproxy");
    haproxy.args(["-c", "-f"]).arg(top().join("config/haproxy.cfg"));
    for name in ["KIPUKA_A", "KIPUKA_B", "KIPUKA_A_HTTP", "KIPUKA_B_HTTP"] {
        haproxy.env(name, "127.0.0.1:8443");
    }
    let output = harness::command::output(&mut haproxy);
    let said = harness::command::text(&output);
    assert!(output.status.success() && !said.contains("WARNING"), "{said}");
}

#[test]
fn the_setup_makes_what_both_instances_are_configured_for_and_makes_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::postgres();
    let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
    let here = |text: String| {
        text.replace("/var/lib/kipuka", &folder.path().join("lib").display().to_string())
            .replace("/etc/kipuka", &folder.path().join("etc").display().to_string())
            .replace("postgres://kipuka@postgres/kipuka", &database.url())
            .replace("0.0.0.0:8443", &ports[0].address().to_string())
            .replace("0.0.0.0:8080", &ports[1].address().to_string())
            .replace("0.0.0.0:9443", &ports[2].address().to_string())
    };
    let etc = folder.path().join("etc");
    fs::create_dir(&etc).unwrap();
    for (from, to) in [
        ("compose.toml", "kipuka.toml"),
        ("softhsm2.conf", "softhsm2.conf"),
        ("compose-setup.sh", "setup.sh"),
    ] {
        let text = fs::read_to_string(top().join("config").join(from)).unwrap();
        fs::write(etc.join(to), here(text)).unwrap();
    }
    let (path, pin) = (path(folder.path()), "4711");
    let environment = [("PATH", &*path), ("KIPUKA_HSM_PIN", pin)];
    let script = etc.join("setup.sh").display().to_string();
    let ca = folder.path().join("lib/ca/ca.pem");
    harness::command::shell(&format!("sh {script}"), &environment);
    let made = fs::read(&ca).unwrap();
    harness::command::shell(&format!("sh {script}"), &environment);
    assert_eq!(fs::read(&ca).unwrap(), made);
    let mut check = Command::new(BINARY);
    check.arg("--config").arg(etc.join("kipuka.toml")).arg("check").env("KIPUKA_HSM_PIN", pin);
    let said = harness::command::run(&mut check);
    assert!(said.contains("ca"), "{said}");
}
