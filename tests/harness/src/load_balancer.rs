//! HAProxy in front of two instances, with the configuration that docker-compose.yml has.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::port::Port;

/// From where it asks the instances: nobody else does from there.
pub const SOURCE: &str = "127.0.0.2";

const START: Duration = Duration::from_secs(30);

/// Where one instance listens.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    pub acme: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// A running HAProxy.
pub struct LoadBalancer {
    ports: [Port; 2],
    folder: TempDir,
    process: Option<Child>,
}

impl LoadBalancer {
    /// Not started yet: what stands behind it must know its address first.
    pub fn reserve() -> Self {
        let ports = [Port::reserve(), Port::reserve()];
        Self { ports, folder: tempfile::tempdir().unwrap(), process: None }
    }

    /// Where clients find ACME.
    pub fn acme(&self) -> SocketAddr {
        self.ports[0].address()
    }

    /// Where they find CRLs.
    pub fn http(&self) -> SocketAddr {
        self.ports[1].address()
    }

    pub fn external_url(&self) -> String {
        format!("https://localhost:{}", self.ports[0].number)
    }

    pub fn start(&mut self, instances: [Instance; 2]) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/haproxy.cfg");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(config);
        command.env("KIPUKA_LISTEN", self.acme().to_string());
        command.env("KIPUKA_HTTP_LISTEN", self.http().to_string());
        for (name, instance) in ["A", "B"].iter().zip(instances) {
            command.env(format!("KIPUKA_{name}"), instance.acme.to_string());
            command.env(format!("KIPUKA_{name}_HTTP"), instance.http.to_string());
            command.env(format!("KIPUKA_{name}_ADMIN_PORT"), instance.admin.port().to_string());
        }
        command.env("KIPUKA_SOURCE", SOURCE);
        let log = File::create(self.folder.path().join("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        self.process = Some(command.spawn().unwrap_or_else(|error| {
            panic!("{command:?} ({error}); `tests/install.sh test` installs it")
        }));
        let begun = Instant::now();
        while TcpStream::connect(self.acme()).is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < START, "{ended:?}: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- haproxy's log ---\n{}", self.log());
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
