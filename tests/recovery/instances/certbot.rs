//! What certbot, as it is, makes of an instance that dies under it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{Port, Settings};
use tempfile::TempDir;

use super::Pair;

/// A machine on which certbot runs, by a timer as it were.
struct Machine {
    folder: TempDir,
    directory: String,
    http_port: Port,
}

impl Machine {
    /// One run of certbot for a certificate of this name.
    fn certbot(&self, roots: &Path, name: &str) -> Command {
        let mut certbot = Command::new("certbot");
        certbot.args(["certonly", "--non-interactive", "--agree-tos", "--standalone"]);
        certbot.args(["--register-unsafely-without-email", "--server", &self.directory]);
        certbot.args(["--http-01-port", &self.http_port.number.to_string(), "--domain", name]);
        for option in ["--config-dir", "--work-dir", "--logs-dir"] {
            certbot.arg(option).arg(self.folder.path());
        }
        certbot.env("REQUESTS_CA_BUNDLE", roots);
        certbot
    }

    fn has(&self, name: &str) -> bool {
        self.folder.path().join(format!("live/{name}/fullchain.pem")).exists()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_gets_its_certificate_though_an_instance_dies_under_it() {
    let http_port = Port::reserve();
    let number = http_port.number;
    let mut pair = Pair::start(|| Settings {
        http_port: Some(number),
        validation: "timeout_s = 2".to_owned(),
        ..Settings::key_file()
    })
    .await;
    let directory = format!("{}/acme/ca/directory", pair.balancer.external_url());
    let machine = Machine { folder: tempfile::tempdir().unwrap(), directory, http_port };
    let roots = pair.first.root();
    harness::command::run(&mut machine.certbot(&roots, "before.test"));
    for delay_ms in [700, 1500, 2300] {
        let name = format!("after-{delay_ms}.test");
        let mut certbot = machine.certbot(&roots, &name);
        let running = tokio::task::spawn_blocking(move || harness::command::output(&mut certbot));
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        pair.first.kill();
        let output = running.await.unwrap();
        // Where its connection broke, it says so and leaves the rest to the timer's next run.
        if !output.status.success() {
            let said = harness::command::text(&output);
            assert!(said.contains("onnection"), "{said}");
            harness::command::run(&mut machine.certbot(&roots, &name));
        }
        assert!(machine.has(&name), "{name}");
        tokio::task::block_in_place(|| pair.first.spawn());
    }
    assert_eq!(pair.count("orders WHERE error IS NOT NULL"), 0);
}
