//! Databases: a SQLite file, or a database of its own in a real Postgres.
//!
//! All test processes share one Postgres. The first starts it; a watcher stops it when no process
//! has held its lock for a while.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::command;

/// A database that is empty when made.
pub enum Database {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub fn postgres() -> Self {
        Self::Postgres(PostgresDatabase::new())
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/kipuka.db", folder.path().display()),
            Self::Postgres(database) => database.url(),
        }
    }
}

/// A database in the shared Postgres.
pub struct PostgresDatabase {
    port: u16,
    name: String,
    /// Held for as long as the test runs: the watcher looks for it.
    _in_use: File,
}

impl PostgresDatabase {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (port, in_use) = cluster();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{count}", std::process::id());
        sql(port, &format!("DROP DATABASE IF EXISTS {name}"));
        sql(port, &format!("CREATE DATABASE {name}"));
        Self { port, name, _in_use: in_use }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, self.name)
    }
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

fn psql(port: u16, statement: &str) -> Command {
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
fn cluster() -> (u16, File) {
    let user = env::var("USER").unwrap_or_else(|_| "root".to_owned());
    let folder = env::temp_dir().join(format!("kipuka-test-postgres-{user}"));
    fs::create_dir_all(&folder).unwrap();
    let starting = File::create(folder.join("starting.lock")).unwrap();
    starting.lock().unwrap();
    let in_use_path = folder.join("in-use.lock");
    let in_use = File::create(&in_use_path).unwrap();
    in_use.lock_shared().unwrap();
    let port_file = folder.join("port");
    let running = fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = running.filter(|port| answers(*port)) {
        return (port, in_use);
    }
    let port = start(&folder, &in_use_path);
    fs::write(&port_file, port.to_string()).unwrap();
    (port, in_use)
}

fn answers(port: u16) -> bool {
    psql(port, "SELECT 1").output().is_ok_and(|output| output.status.success())
}

fn start(folder: &Path, in_use: &Path) -> u16 {
    let binaries = binaries();
    let data = folder.join("data");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let is_root = command::shell("id -u", &[]).trim() == "0";
    let (owner, run_as) = if is_root { ("postgres", "runuser -u postgres --") } else { ("", "") };
    let owner = if owner.is_empty() {
        "true".to_owned()
    } else {
        format!("chown postgres {}", data.display())
    };
    let (bin, data, lock) = (binaries.display(), data.display(), in_use.display());
    command::shell(
        &format!(
            "{run_as} {bin}/pg_ctl -D {data} -m immediate stop >/dev/null 2>&1 || true\n\
             rm -rf {data}; mkdir -p {data}; {owner}\n\
             cd /tmp\n\
             {run_as} {bin}/initdb -D {data} -U postgres -A trust --no-sync --no-locale -E UTF8 >/dev/null\n\
             {run_as} {bin}/pg_ctl -D {data} -w -l {data}/log -o \"-p {port} -h 127.0.0.1 \
             -c unix_socket_directories='' -c max_connections=400 -c fsync=off\" start >/dev/null\n\
             exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-\n\
             setsid nohup bash -c 'idle=0; while [ $idle -lt 5 ]; do sleep 2; \
             if flock -x -n {lock} true; then idle=$((idle+1)); else idle=0; fi; done; \
             {run_as} {bin}/pg_ctl -D {data} -m immediate stop' </dev/null >/dev/null 2>&1 &"
        ),
        &[],
    );
    port
}

/// The newest Postgres on this machine.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).max();
    newest.expect("Postgres is not installed: apt-get install postgresql")
}
