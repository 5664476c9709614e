//! Pebble, the ACME server that Let's Encrypt tests clients with, under the same load: a measure that
//! does not depend on how fast the machine is today. It keeps everything in memory, and validates each
//! name three times over.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Algorithm, Key, Port, Responder, Zone};
use openssl::x509::X509;
use serde_json::json;
use tempfile::TempDir;

use crate::answers::{self, Answers};
use crate::arguments::Load;
use crate::client::Client;
use crate::process::Counters;
use crate::report::Run;
use crate::{drive, http};

/// How long it may take to start, and to make the clients' accounts.
const START: Duration = Duration::from_secs(10);

pub(crate) struct Pebble {
    process: Child,
    port: Port,
    root: X509,
    _folder: TempDir,
}

impl Pebble {
    /// What went wrong, where something did: now and then it answers no more.
    pub(crate) async fn issuances(load: &Load) -> Result<Run, String> {
        let answers = Answers::default();
        let pebble = Self::start(&answers).await;
        let clients = tokio::time::timeout(START, pebble.clients(load, &answers)).await;
        let clients = clients.map_err(|_| format!("it made no accounts in {START:?}"))?;
        let pid = pebble.process.id();
        let time = async { tokio::time::sleep(load.time).await };
        let mut run = drive(clients, || Counters::now(pid, String::new), time).await;
        run.title = format!("Pebble, in memory; {} clients", load.clients);
        run.failures.pop().map_or(Ok(run), Err)
    }

    async fn clients(&self, load: &Load, answers: &Answers) -> Vec<Client> {
        let (address, roots) = (self.port.address(), [self.root.clone()]);
        let https = http::Server::new(address, &roots, !load.habits.reconnects);
        let (responder, zone) = (Responder::start().await, Zone::start().await);
        let mut clients = Vec::with_capacity(load.clients);
        for number in 0..load.clients {
            let key = Key::new(Algorithm::Es256);
            let mut account =
                harness::Client::of(address, "/dir", key, &roots, &responder, &zone).await;
            account.register().await;
            let (https, answers) = (https.clone(), answers.clone());
            clients.push(Client::new(&account, https, answers, load.habits, format!("c{number}")));
        }
        clients
    }

    async fn start(answers: &Answers) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| folder.path().join(name);
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(file("key.pem"))
            .arg("-out")
            .arg(file("certificate.pem"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let root = X509::from_pem(&fs::read(file("certificate.pem")).unwrap()).unwrap();
        let (port, management) = (Port::reserve(), Port::reserve());
        let config = json!({ "pebble": {
            "listenAddress": port.address().to_string(),
            "managementListenAddress": management.address().to_string(),
            "certificate": file("certificate.pem"),
            "privateKey": file("key.pem"),
            "httpPort": answers.serve().await,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        fs::write(file("pebble.json"), config.to_string()).unwrap();
        let dns = answers::serve_dns().await.to_string();
        let process = Command::new("pebble")
            .arg("-config")
            .arg(file("pebble.json"))
            .args(["-dnsserver", &dns])
            // It does not wait before it validates, and refuses no good nonce.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("tests/install.sh bench installs Pebble");
        let pebble = Self { process, port, root, _folder: folder };
        let answers = async {
            while tokio::net::TcpStream::connect(pebble.port.address()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START, answers).await.expect("Pebble starts");
        pebble
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
