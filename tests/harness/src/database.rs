//! Databases: a SQLite file, or a database of its own in a real Postgres.
//!
//! All test processes share one Postgres. The first starts it; a watcher stops it when no process
//! has held its lock for a while.

use std::env;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::command;
use crate::port::Port;

/// A database that is empty when made.
pub enum Database {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
    /// SQLite's file where a process sees it that has a mount namespace of its own.
    Within {
        pid: u32,
        path: PathBuf,
    },
    /// The one of a test's own Postgres that listens there.
    Cluster(SocketAddr),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub fn postgres() -> Self {
        Self::Postgres(PostgresDatabase::new())
    }

    /// As [`Self::postgres`], in a cluster that waits for the disk, as one in use does.
    pub fn durable_postgres() -> Self {
        let name = format!("kipuka-test-postgres-durable-{}", command::user_id());
        let postgres = PostgresDatabase::in_cluster(&env::temp_dir().join(name), DURABLE);
        let database = Self::Postgres(postgres);
        database.ask("CREATE EXTENSION pg_stat_statements").expect("postgresql-contrib");
        database
    }

    /// What the database's own program prints about an SQL script; `None` where that fails.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let output = self.program().arg(sql).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Rows of a query, as text; NULL is empty. What changes rows answers with none. On SQLite, kipuka
    /// should be running: else SQLite mends after a crash what kipuka should find.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let text = command::run(self.program().arg(sql));
        text.lines().map(|line| line.split(SEPARATOR).map(str::to_owned).collect()).collect()
    }

    /// The database's own program, which takes SQL.
    fn program(&self) -> Command {
        let (mut program, path) = match self {
            Self::Sqlite(folder) => (Command::new("sqlite3"), folder.path().join("kipuka.db")),
            Self::Within { pid, path } => {
                let mut nsenter = Command::new("nsenter");
                nsenter.args(["--user", "--mount", "--preserve-credentials", "--target"]);
                nsenter.args([&pid.to_string(), "sqlite3"]);
                (nsenter, path.clone())
            }
            Self::Postgres(_) | Self::Cluster(_) => {
                let mut program = Command::new("psql");
                program.args([
                    "-qAtX",
                    "-F",
                    SEPARATOR,
                    "-v",
                    "ON_ERROR_STOP=1",
                    &self.url(),
                    "-c",
                ]);
                return program;
            }
        };
        program.args(["-bail", "-separator", SEPARATOR, "-cmd", ".timeout 60000"]).arg(path);
        program
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/kipuka.db", folder.path().display()),
            Self::Postgres(database) => database.url(),
            Self::Within { path, .. } => format!("sqlite://{}", path.display()),
            Self::Cluster(address) => url_of(*address, "postgres"),
        }
    }

    /// SQL for a text in lower-case hex: it may have several lines.
    pub fn hex_of_text(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) | Self::Within { .. } => format!("lower(hex({column}))"),
            Self::Postgres(_) | Self::Cluster(_) => {
                format!("encode(convert_to({column}, 'UTF8'), 'hex')")
            }
        }
    }

    /// SQL for a BLOB in lower-case hex.
    pub fn hex(&self, column: &str) -> String {
        match self {
            Self::Sqlite(_) | Self::Within { .. } => format!("lower(hex({column}))"),
            Self::Postgres(_) | Self::Cluster(_) => format!("encode({column}, 'hex')"),
        }
    }
}

/// Between columns: in no text that is stored.
const SEPARATOR: &str = "\u{1f}";

/// A database in the shared Postgres.
pub struct PostgresDatabase {
    port: u16,
    name: String,
    /// Held for as long as the test runs: the watcher looks for it.
    _in_use: File,
}

impl PostgresDatabase {
    fn new() -> Self {
        let name = format!("kipuka-test-postgres-{}", command::user_id());
        Self::below(&env::temp_dir().join(name))
    }

    /// A new database in the cluster of this folder, which is started if need be.
    pub(crate) fn below(folder: &Path) -> Self {
        Self::in_cluster(folder, FAST)
    }

    fn in_cluster(folder: &Path, options: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (port, in_use) = cluster(folder, options);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{count}", std::process::id());
        sql(port, &format!("DROP DATABASE IF EXISTS {name}"));
        sql(port, &format!("CREATE DATABASE {name}"));
        Self { port, name, _in_use: in_use }
    }

    fn url(&self) -> String {
        self.url_by(self.address())
    }

    /// Where Postgres listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same database, reached by another way, on which nothing is encrypted.
    pub fn url_by(&self, address: SocketAddr) -> String {
        url_of(address, &self.name)
    }
}

fn url_of(address: SocketAddr, name: &str) -> String {
    format!("postgres://postgres@{address}/{name}?sslmode=disable")
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // Left over where the test panicked in here; the cluster goes soon anyway.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = psql(self.port, &drop).output();
    }
}

fn sql(port: u16, statement: &str) {
    command::run(&mut psql(port, statement));
}

pub(crate) fn psql(port: u16, statement: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args([
        "-q",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-p",
        &port.to_string(),
        "-c",
        statement,
    ]);
    psql
}

/// The port of the running cluster, and the lock that keeps it running.
fn cluster(folder: &Path, options: &str) -> (u16, File) {
    fs::create_dir_all(folder).unwrap();
    let owner = fs::metadata(folder).unwrap().uid();
    assert_eq!(owner, command::user_id(), "{} belongs to somebody else", folder.display());
    // Whoever starts or stops the cluster holds this one.
    let changing = File::create(folder.join("changing.lock")).unwrap();
    changing.lock().unwrap();
    let in_use = File::create(folder.join("in-use.lock")).unwrap();
    in_use.lock_shared().unwrap();
    let port_file = folder.join("port");
    let running = fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = running.filter(|port| answers(*port)) {
        return (port, in_use);
    }
    let port = start(folder, options);
    fs::write(&port_file, port.to_string()).unwrap();
    (port, in_use)
}

fn answers(port: u16) -> bool {
    psql(port, "SELECT 1").output().is_ok_and(|output| output.status.success())
}

/// Starts a new cluster, and a watcher that stops it once nobody has used it for some ten seconds.
fn start(folder: &Path, options: &str) -> u16 {
    let binaries = binaries();
    let data = folder.join("data");
    let port = Port::reserve();
    // Postgres refuses to run as root.
    let is_root = command::user_id() == 0;
    let environment = [
        ("RUN", if is_root { "runuser -u postgres --" } else { "" }),
        ("OWNER", if is_root { "postgres" } else { "" }),
        ("BIN", &*binaries.to_string_lossy()),
        ("FOLDER", &*folder.to_string_lossy()),
        ("DATA", &*data.to_string_lossy()),
        ("PORT", &*port.number.to_string()),
        ("OPTIONS", options),
        ("WATCH", WATCH),
    ];
    if is_running(&data) {
        command::shell(r#"cd /; $RUN "$BIN/pg_ctl" -D "$DATA" -m immediate -w stop"#, &environment);
    }
    command::shell(START, &environment);
    port.number
}

/// Whether a Postgres is at work in this folder. What a crash left there may name a process that
/// is another by now, so that `pg_ctl stop` cannot be trusted with it.
fn is_running(data: &Path) -> bool {
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let pid = pid.lines().next().unwrap_or_default();
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder == data)
}

/// Tests keep nothing that a power failure could take.
const FAST: &str = "-c fsync=off";
const DURABLE: &str = "-c shared_preload_libraries=pg_stat_statements";

const START: &str = r#"
cd /
rm -rf "$DATA"
mkdir -m 700 "$DATA"
[ -z "$OWNER" ] || chown "$OWNER" "$DATA"
$RUN "$BIN/initdb" -D "$DATA" -U postgres -A trust --no-sync --no-locale -E UTF8 >/dev/null
$RUN "$BIN/pg_ctl" -D "$DATA" -w -l "$DATA/log" -o "-p $PORT -h 127.0.0.1 \
    -c unix_socket_directories='' -c max_connections=400 $OPTIONS" start >/dev/null ||
    { cat "$DATA/log" >&2; exit 1; }
setsid nohup bash -c "$WATCH" </dev/null >/dev/null 2>&1 &
"#;

/// The last look and the stop are under the lock that a test holds while it looks for the cluster:
/// none is told of a cluster that is about to go.
const WATCH: &str = r#"
idle=0
while sleep 2 && [ -e "$FOLDER" ]; do
    if flock -x -n "$FOLDER/in-use.lock" true; then idle=$((idle+1)); else idle=0; fi
    [ $idle -ge 5 ] || continue
    flock -x "$FOLDER/changing.lock" flock -x -n "$FOLDER/in-use.lock" bash -c '
        $RUN "$BIN/pg_ctl" -D "$DATA" -m immediate -w stop
        rm -rf "$DATA" "$FOLDER/port"' && exit
    idle=0
done
"#;

/// The newest Postgres on this machine.
pub(crate) fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).max();
    newest.expect("Postgres is not installed: apt-get install postgresql")
}
