//! `kipuka dev`, as the README tells it: two terminals, one certificate.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::Port;

use crate::BINARY;

/// A `kipuka dev` that ends with the test.
struct Dev {
    child: Child,
    /// What it printed until it was ready.
    printed: String,
}

impl Dev {
    fn start(dir: &Path, arguments: &[String]) -> Self {
        Self::start_by(Command::new(BINARY), dir, arguments)
    }

    /// Starts by a command that ends in the program.
    fn start_by(mut command: Command, dir: &Path, arguments: &[String]) -> Self {
        command.arg("dev").arg("--dir").arg(dir).args(arguments).stdout(Stdio::piped());
        command.env_remove("SOFTHSM2_CONF").stderr(Stdio::null());
        let mut dev = Self { child: command.spawn().unwrap(), printed: String::new() };
        let stdout = dev.child.stdout.take().unwrap();
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            dev.printed += &line;
            dev.printed.push('\n');
            if line.starts_with("Stop with") {
                return dev;
            }
        }
        panic!("kipuka dev ended: {}", dev.printed);
    }

    /// The printed certbot command.
    fn certbot(&self) -> String {
        let begin = self.printed.find("REQUESTS_CA_BUNDLE").unwrap();
        let end = self.printed.find("Stop with").unwrap();
        self.printed[begin..end].to_owned()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_certbot_command_gets_a_certificate_and_a_second_run_is_the_same_ca() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let ports = [Port::reserve(), Port::reserve(), Port::reserve(), Port::reserve()];
    let options = [
        "--listen".to_owned(),
        ports[0].address().to_string(),
        "--http-port".to_owned(),
        ports[1].number.to_string(),
        "--tls-alpn-port".to_owned(),
        ports[2].number.to_string(),
        "--crl-listen".to_owned(),
        ports[3].address().to_string(),
    ];
    let first = Dev::start(&dir, &options);
    harness::command::shell(&first.certbot(), &[]);
    let live = dir.join("certbot/live/test.localhost");
    let verify = format!(
        "openssl verify -x509_strict -CAfile {0}/root.pem -untrusted {1}/chain.pem {1}/cert.pem",
        dir.display(),
        live.display()
    );
    harness::command::shell(&verify, &[]);
    revocation_shows_where_the_certificate_says(&first, &dir, &live, "");
    drop(first);

    let root = fs::read(dir.join("root.pem")).unwrap();
    let ca = fs::read(dir.join("ca.pem")).unwrap();
    let second = Dev::start(&dir, &[]);
    assert_eq!(fs::read(dir.join("root.pem")).unwrap(), root);
    assert_eq!(fs::read(dir.join("ca.pem")).unwrap(), ca);
    // The account is still known, and the options still hold.
    harness::command::shell(
        &second.certbot().replace("--non-interactive", "--non-interactive --force-renewal"),
        &[],
    );
    harness::command::shell(&verify, &[]);
    let key = format!("--key-path {}/privkey.pem", live.display());
    revocation_shows_where_the_certificate_says(&second, &dir, &live, &key);
}

/// The CRL at the URL in the certificate lets it pass, and no more after certbot has revoked it.
fn revocation_shows_where_the_certificate_says(dev: &Dev, dir: &Path, live: &Path, by: &str) {
    let check = format!(
        "url=$(openssl x509 -noout -ext crlDistributionPoints -in {1}/cert.pem | \
         sed -n 's/ *URI://p')\n\
         for i in $(seq 100); do curl --silent --show-error --fail \"$url\" | \
         openssl crl -inform DER -out {0}/crl.pem; \
         if {{ openssl verify -x509_strict -crl_check -CAfile {0}/root.pem \
         -untrusted {1}/chain.pem -CRLfile {0}/crl.pem {1}/cert.pem || true; }} 2>&1 | \
         grep -q \"$EXPECTED\"; then exit 0; fi; sleep 0.1; done; exit 1",
        dir.display(),
        live.display()
    );
    harness::command::shell(&check, &[("EXPECTED", "cert.pem: OK")]);
    let certbot = dev.certbot();
    let (trust, _) = certbot.split_once("certonly").unwrap();
    let (_, options) = certbot.split_once("--server").unwrap();
    let (options, _) = options.split_once("--agree-tos").unwrap();
    let revoke = format!(
        "{trust} revoke --cert-path {}/cert.pem {by} --reason superseded \
         --no-delete-after-revoke --server {options}",
        live.display()
    );
    harness::command::shell(&revoke, &[]);
    harness::command::shell(&check, &[("EXPECTED", "certificate revoked")]);
}

#[test]
fn the_keys_are_made_in_the_token_and_cannot_be_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let (port, crl_port) = (Port::reserve(), Port::reserve());
    let options = [
        "--listen".to_owned(),
        port.address().to_string(),
        "--crl-listen".to_owned(),
        crl_port.address().to_string(),
    ];
    drop(Dev::start(&dir, &options));
    let conf = dir.join("softhsm2.conf");
    let pin = fs::read_to_string(dir.join("hsm.pin")).unwrap();
    let listed = harness::command::shell(
        &format!(
            "pkcs11-tool --module {} --token-label kipuka-dev --login --pin {} --list-objects --type privkey",
            harness::token::LIBRARY,
            pin.trim()
        ),
        &[("SOFTHSM2_CONF", &conf.to_string_lossy())],
    );
    assert_eq!(listed.matches("Private Key Object").count(), 2, "{listed}");
    assert_eq!(
        listed.matches("sensitive, always sensitive, never extractable, local").count(),
        2,
        "{listed}"
    );
    let others = fs::read_dir(&dir).unwrap().flatten().map(|file| file.file_name());
    assert!(
        others.into_iter().all(|name| !name.to_string_lossy().contains("key")),
        "no key in a file"
    );
}

#[test]
fn without_softhsm2_the_keys_are_files_and_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let (port, crl_port) = (Port::reserve(), Port::reserve());
    let options = [
        "--listen".to_owned(),
        port.address().to_string(),
        "--crl-listen".to_owned(),
        crl_port.address().to_string(),
    ];
    // In a mount namespace of its own, where the library is not to be found.
    let hide = "for folder in /usr/lib/softhsm /usr/lib/*/softhsm; do mount -t tmpfs none $folder; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", hide, "sh", BINARY]);
    let dev = Dev::start_by(command, &dir, &options);
    assert!(
        dev.printed.contains("SoftHSM2 is not installed, so the keys are plain files"),
        "{}",
        dev.printed
    );
    let key = fs::metadata(dir.join("issuing-key.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let url = dev.printed.split_whitespace().find(|word| word.ends_with("/directory")).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"])
        .arg(dir.join("root.pem"))
        .arg(url);
    assert!(harness::command::run(&mut curl).contains("newOrder"));
}
