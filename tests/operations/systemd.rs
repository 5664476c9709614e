//! `sd_notify(3)`, with a test in systemd's place.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Database, Server, Settings};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::BINARY;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who starts services, and is told how they are.
struct Systemd {
    socket: UnixDatagram,
    folder: TempDir,
}

type Told = BTreeMap<String, String>;

impl Systemd {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn variables(&self, watchdog: Option<Duration>) -> Vec<(String, String)> {
        let socket = self.folder.path().join("notify").display().to_string();
        let usec =
            watchdog.map(|limit| ("WATCHDOG_USEC".to_owned(), limit.as_micros().to_string()));
        [("NOTIFY_SOCKET".to_owned(), socket)].into_iter().chain(usec).collect()
    }

    /// A server that is not started yet.
    async fn service(&self, settings: Settings, watchdog: Option<Duration>) -> Server {
        let mut server = Server::prepare(BINARY, settings).await;
        server.environment = self.variables(watchdog);
        server
    }

    /// The next message: its assignments.
    async fn told(&self) -> Told {
        let mut buffer = [0; 4096];
        let length = tokio::time::timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let length = length.expect("systemd is told something").unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let assignment = |line: &str| {
            let (name, value) = line.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        text.lines().map(assignment).collect()
    }

    /// The next message that is not of the watchdog.
    async fn news(&self) -> Told {
        loop {
            let told = self.told().await;
            if !told.contains_key("WATCHDOG") {
                return told;
            }
        }
    }

    /// The messages of the next while.
    async fn told_within(&self, limit: Duration) -> Vec<Told> {
        let mut all = Vec::new();
        let end = tokio::time::Instant::now() + limit;
        while let Ok(told) = tokio::time::timeout_at(end, self.told()).await {
            all.push(told);
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_the_start_of_reloads_and_of_the_end() {
    let systemd = Systemd::new();
    let mut server = systemd.service(Settings::key_file(), None).await;
    server.launch();
    let ready = systemd.news().await;
    assert_eq!((&*ready["READY"], &*ready["STATUS"]), ("1", "serving 1 CA"));
    // Not before clients are served.
    server.account("ca").await;

    let before = monotonic_us();
    server.signal("HUP");
    let reloading = systemd.news().await;
    assert_eq!(reloading["RELOADING"], "1");
    let at: u128 = reloading["MONOTONIC_USEC"].parse().unwrap();
    assert!(before <= at && at <= monotonic_us(), "{before} {at}");
    let ready = systemd.news().await;
    assert_eq!((&*ready["READY"], &*ready["STATUS"]), ("1", "serving 1 CA"));

    // A reload that fails ends, too, and the status tells.
    fs::write(server.config(), "[server]\nlisten = 1\n").unwrap();
    server.signal("HUP");
    assert_eq!(systemd.news().await["RELOADING"], "1");
    let ready = systemd.news().await;
    assert_eq!(ready["READY"], "1");
    assert!(ready["STATUS"].contains("last reload failed"), "{ready:?}");

    server.signal("TERM");
    let stopping = systemd.news().await;
    assert_eq!(stopping["STOPPING"], "1");
    let (well, log) = server.ended();
    assert!(well, "{log}");
}

fn monotonic_us() -> u128 {
    // The kernel's uptime, which the monotonic clock counts, but for sleep, in hundredths of a second.
    let uptime = Command::new("python3")
        .args(["-c", "import time; print(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)"])
        .output();
    String::from_utf8(uptime.unwrap().stdout).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_while_the_database_answers_and_not_while_it_hangs() {
    let systemd = Systemd::new();
    let database = Database::postgres();
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let mut server = systemd.service(settings, Some(Duration::from_millis(900))).await;
    server.launch();
    assert_eq!(systemd.news().await["READY"], "1");
    let fed = |told: &[Told]| told.iter().filter(|told| told.contains_key("WATCHDOG")).count();
    let told = systemd.told_within(Duration::from_secs(3)).await;
    assert!(fed(&told) >= 3, "{told:?}");

    let backends = Backends::of(&database);
    backends.signal("STOP");
    systemd.told_within(Duration::from_millis(700)).await;
    let told = systemd.told_within(Duration::from_secs(2)).await;
    backends.signal("CONT");
    assert_eq!(fed(&told), 0, "{told:?}");
    let begun = Instant::now();
    while !systemd.told().await.contains_key("WATCHDOG") {
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// Postgres' processes for this database.
struct Backends(Vec<String>);

impl Backends {
    fn of(database: &Database) -> Self {
        let url = database.url();
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        let select = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        );
        let output =
            Command::new("psql").args(["-qAt", "-d", &url, "-c", &select]).output().unwrap();
        let pids = String::from_utf8(output.stdout).unwrap();
        let pids: Vec<_> = pids.lines().map(str::to_owned).collect();
        assert!(!pids.is_empty(), "{output:?}", output = output.stderr);
        Self(pids)
    }

    /// Postgres runs as a user of its own where the tests run as root, and as theirs elsewhere.
    fn signal(&self, name: &str) {
        let _ = Command::new("kill").arg(format!("-{name}")).args(&self.0).output().unwrap();
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_of_another_process_is_not_fed() {
    for (script, is_fed) in [("WATCHDOG_PID=1", false), ("WATCHDOG_PID=$$", true)] {
        let systemd = Systemd::new();
        let program = systemd.folder.path().join("kipuka");
        // As systemd does it: the variable names the process that becomes kipuka.
        fs::write(&program, format!("#!/bin/sh\nexport {script}\nexec {BINARY} \"$@\"\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Server::prepare(program, Settings::key_file()).await;
        server.environment = systemd.variables(Some(Duration::from_millis(300)));
        server.launch();
        assert_eq!(systemd.news().await["READY"], "1");
        let told = systemd.told_within(Duration::from_secs(1)).await;
        assert_eq!(told.iter().any(|told| told.contains_key("WATCHDOG")), is_fed, "{script}");
    }
}

#[test]
fn the_unit_file_is_one() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kipuka.service");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("kipuka.service");
    // What it names need not be installed where the tests run.
    let text = fs::read_to_string(unit).unwrap().replace("/usr/local/bin/kipuka", "/bin/true");
    fs::write(&here, text).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(["verify", "--man=no"]).arg(&here).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Older than 253 it takes Type=notify, which stands before.
    let wrong: Vec<_> = said
        .lines()
        .filter(|line| line.contains("kipuka.service") && !line.contains("notify-reload"))
        .collect();
    assert!(wrong.is_empty(), "{said}");
}
