//! A program that a token's library talks to.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::command;

/// Runs programs until the pipe at its stdin is closed: by [`Daemon`]'s drop, or by the death of the
/// test, however it dies.
const KEEP: &str = "\"$@\" </dev/null & read -r _; kill $(jobs -p); wait";

/// It ends with this value.
pub(super) struct Daemon {
    child: Child,
    line: Vec<String>,
    ready: String,
}

impl Daemon {
    /// Runs `prelude` in bash, then `program` (arguments included), all of it below `unshare`, and
    /// waits until the shell command `ready` succeeds.
    pub(super) fn start(unshare: &[&str], prelude: &str, program: &[&str], ready: &str) -> Self {
        let script = format!("set -euo pipefail; {prelude}\nset +e; {KEEP}");
        let line = [unshare, &["bash", "-c", &script, "bash"], program].concat();
        let line: Vec<_> = line.into_iter().map(str::to_owned).collect();
        let child = spawn(&line, ready);
        Self { child, line, ready: ready.to_owned() }
    }

    /// SIGKILL, to what the programs have started as well.
    pub(super) fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        command::run(Command::new("kill").args(["-KILL", "--", &group]));
        self.child.wait().unwrap();
    }

    /// Starts again what was killed.
    pub(super) fn restart(&mut self) {
        self.child = spawn(&self.line, &self.ready);
    }

    /// The process whose namespaces it lives in.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn spawn(line: &[String], ready: &str) -> Child {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `tests/install.sh test` installs what is missing")
    });
    let begin = Instant::now();
    let is_ready = || {
        let mut test = Command::new("sh");
        test.args(["-c", ready]).stdout(Stdio::null()).stderr(Stdio::null());
        test.status().unwrap().success()
    };
    while !is_ready() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{command:?} ended with {ended:?}");
        assert!(begin.elapsed() < Duration::from_secs(20), "{command:?} does not start");
        thread::sleep(Duration::from_millis(10));
    }
    child
}
