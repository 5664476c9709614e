//! Web servers that see to their own certificates: a process, and what it shows over TLS.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::Server;
use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;

/// How long a certificate may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// A web server, until it is dropped.
pub(crate) struct Site {
    child: Child,
    port: u16,
    root: PathBuf,
    log: PathBuf,
}

impl Site {
    /// Starts a program that stays in the foreground; it serves TLS on this port.
    pub(crate) fn start(server: &Server, port: u16, command: &mut Command) -> Self {
        let log = server.folder.path().join("site.log");
        let out = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("`tests/install.sh test` installs what is missing");
        Self { child, port, root: server.root(), log }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        harness::command::run(Command::new("kill").args([&format!("-{name}"), &id]));
    }

    /// The certificate that is shown for a name, where it is one of ours.
    fn shown(&self, name: &str) -> Option<X509> {
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_ca_file(&self.root).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let stream = connector.build().connect(name, stream).ok()?;
        stream.ssl().peer_certificate()
    }

    /// Waits until a name has a certificate that passes, and another one than `before`; between two
    /// looks it does what the server needs.
    pub(crate) fn certificate(
        &mut self,
        name: &str,
        before: Option<&X509>,
        mut between: impl FnMut(&Self),
    ) -> X509 {
        let begin = Instant::now();
        loop {
            if let Some(shown) = self.shown(name)
                && before.is_none_or(|before| before.to_der().unwrap() != shown.to_der().unwrap())
            {
                return shown;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || begin.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap();
                panic!("no certificate for {name} ({ended:?}): {log}");
            }
            between(self);
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Site {
    /// Asked to end first, so that Apache ends its workers. One that is asked while it restarts ends
    /// without them.
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let workers = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
        let folder = self.root.parent().unwrap().to_string_lossy();
        for worker in workers.unwrap_or_default().split_whitespace() {
            let command = fs::read_to_string(format!("/proc/{worker}/cmdline"));
            if command.is_ok_and(|command| command.contains(&*folder)) {
                let _ = Command::new("kill").args(["-KILL", worker]).status();
            }
        }
    }
}
