//! A Postgres of a test's own, which may be stopped, frozen, copied and promoted.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::command;
use crate::database;
use crate::port::Port;

pub struct Cluster {
    folder: TempDir,
    port: Port,
}

impl Cluster {
    /// An empty one, which answers.
    pub fn start() -> Self {
        let cluster = Self::prepare();
        cluster.shell(
            r#"mkdir -m 700 "$DATA"; [ -z "$OWNER" ] || chown "$OWNER" "$DATA" "$FOLDER"
            $RUN "$BIN/initdb" -D "$DATA" -U postgres -A trust --no-sync --no-locale -E UTF8 >/dev/null"#,
        );
        cluster.resume();
        cluster
    }

    fn prepare() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: Port::reserve() }
    }

    /// A copy that follows. From here on, this one commits nothing before the copy has it on its disk.
    pub fn replica(&self) -> Self {
        let replica = Self::prepare();
        replica.shell(&format!(
            r#"[ -z "$OWNER" ] || chown "$OWNER" "$FOLDER"
            $RUN "$BIN/pg_basebackup" -h 127.0.0.1 -p {} -U postgres -D "$DATA" -R -X stream -c fast"#,
            self.port.number
        ));
        replica.resume();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        let is_synchronous = "SELECT sync_state FROM pg_stat_replication";
        while self.sql(is_synchronous).trim() != "sync" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        replica
    }

    /// A replica becomes what it followed.
    pub fn promote(&self) {
        self.shell(r#"$RUN "$BIN/pg_ctl" -D "$DATA" -w promote >/dev/null"#);
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `fast` ends sessions and writes everything; `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        self.shell(&format!(r#"$RUN "$BIN/pg_ctl" -D "$DATA" -m {mode} -w stop >/dev/null"#));
    }

    /// Starts it again.
    pub fn resume(&self) {
        self.shell(
            r#"$RUN "$BIN/pg_ctl" -D "$DATA" -w -l "$DATA/log" -o "-p $PORT -h 127.0.0.1 \
            -c unix_socket_directories='' -c fsync=off" start >/dev/null ||
            { cat "$DATA/log" >&2; exit 1; }"#,
        );
    }

    /// Every process of it stops where it is, and keeps its connections: SIGSTOP.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // The postmaster first: so it starts none in between.
        self.shell(&format!(
            r#"pid=$(head -n 1 "$DATA/postmaster.pid"); kill -{signal} "$pid" $(pgrep -P "$pid")"#
        ));
    }

    /// Runs SQL in the database that kipuka has.
    pub fn sql(&self, statement: &str) -> String {
        let mut psql = database::psql(self.port.number, statement);
        command::run(psql.args(["-A", "-t"]))
    }

    fn shell(&self, script: &str) {
        let is_root = command::user_id() == 0;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let environment = [
            // Postgres refuses to run as root.
            ("RUN", if is_root { "runuser -u postgres --" } else { "" }),
            ("OWNER", if is_root { "postgres" } else { "" }),
            ("BIN", &*text(database::binaries())),
            ("FOLDER", &*text(self.folder.path().to_owned())),
            ("DATA", &*text(self.folder.path().join("data"))),
            ("PORT", &*self.port.number.to_string()),
        ];
        command::shell(&format!("cd /\n{script}"), &environment);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if fs::exists(self.folder.path().join("data/postmaster.pid")).unwrap_or(false) {
            let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.thaw();
                self.stop("immediate");
            }));
            // It was stopped by hand, or a test has failed anyway.
            drop(stopped);
        }
    }
}
