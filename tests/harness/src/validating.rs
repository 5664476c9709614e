//! A validating resolver before signed zones: unbound, and knot behind it.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command;
use crate::port::Port;

const START: Duration = Duration::from_secs(20);

/// Of the zone `test`, which is signed; of `plain.test`, which is not; and of `bogus.test`, which should be
/// signed by a key that it does not have.
pub struct ValidatingResolver {
    pub address: SocketAddr,
    _processes: [Process; 2],
    _ports: [Port; 2],
    _folder: TempDir,
}

/// Ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ValidatingResolver {
    /// Serves these records (lines of a zone file, the names relative to each zone) in all three.
    pub fn start(records: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [Port::reserve(), Port::reserve()];
        let [knot, unbound] = ports.each_ref().map(Port::address);
        let at = folder.path();
        for zone in ["test", "plain.test", "bogus.test"] {
            let apex = "@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n";
            let text = format!("$ORIGIN {zone}.\n$TTL 60\n{apex}{records}\n");
            fs::write(at.join(format!("{zone}.zone")), text).unwrap();
        }
        fs::write(at.join("knot.conf"), knot_conf(at, knot)).unwrap();
        let conf = at.join("knot.conf").display().to_string();
        let first = spawn("/usr/sbin/knotd", &["-c", &conf]);
        wait_for(knot);
        let keys = command::run(Command::new("/usr/sbin/keymgr").args(["-c", &conf, "test", "ds"]));
        let anchor = keys.lines().next().expect("knot has a key for its signed zone");
        fs::write(at.join("unbound.conf"), unbound_conf(at, unbound, knot, anchor)).unwrap();
        let conf = at.join("unbound.conf").display().to_string();
        let second = spawn("/usr/sbin/unbound", &["-d", "-c", &conf]);
        wait_for(unbound);
        let _processes = [second, first];
        Self { address: unbound, _processes, _ports: ports, _folder: folder }
    }
}

fn knot_conf(at: &Path, listen: SocketAddr) -> String {
    let at = at.display();
    let (ip, port) = (listen.ip(), listen.port());
    format!(
        "server:\n    listen: {ip}@{port}\n    rundir: {at}\n    pidfile: knot.pid\n\
         log:\n  - target: stderr\n    any: error\n\
         database:\n    storage: {at}\n\
         zone:\n  - domain: test\n    storage: {at}\n    file: test.zone\n    \
         dnssec-signing: on\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    \
         journal-content: all\n  \
         - domain: plain.test\n    storage: {at}\n    file: plain.test.zone\n  \
         - domain: bogus.test\n    storage: {at}\n    file: bogus.test.zone\n"
    )
}

fn unbound_conf(at: &Path, listen: SocketAddr, zones: SocketAddr, anchor: &str) -> String {
    let port = listen.port();
    let (zones_ip, zones_port) = (zones.ip(), zones.port());
    let stubs: String = ["test", "plain.test", "bogus.test"]
        .map(|zone| {
            format!("stub-zone:\n    name: \"{zone}\"\n    stub-addr: {zones_ip}@{zones_port}\n")
        })
        .concat();
    let digest = "0".repeat(64);
    format!(
        "server:\n    interface: {}\n    port: {port}\n    do-daemonize: no\n    \
         username: \"\"\n    chroot: \"\"\n    directory: \"{}\"\n    pidfile: \"\"\n    \
         use-syslog: no\n    do-not-query-localhost: no\n    \
         module-config: \"validator iterator\"\n    local-zone: \"test.\" nodefault\n    \
         trust-anchor: \"{anchor}\"\n    trust-anchor: \"bogus.test. DS 1 13 2 {digest}\"\n    \
         domain-insecure: \"plain.test\"\nremote-control:\n    control-enable: no\n{stubs}",
        listen.ip(),
        at.display(),
    )
}

fn spawn(program: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| {
        panic!("{program}: {error}; `tests/install.sh test` installs what is missing")
    });
    Process(child)
}

/// Until a server answers a question for `ns.test`.
fn wait_for(server: SocketAddr) {
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x02ns\x04test\x00\x00\x01\x00\x01");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let begin = Instant::now();
    let mut answer = [0; 512];
    loop {
        socket.send_to(&query, server).unwrap();
        match socket.recv_from(&mut answer) {
            // NOERROR, with an answer.
            Ok((12.., _)) if answer[3] & 15 == 0 && answer[7] > 0 => return,
            Ok(_) => thread::sleep(Duration::from_millis(50)),
            Err(_) => {}
        }
        assert!(begin.elapsed() < START, "{server} does not answer");
    }
}
