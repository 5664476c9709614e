//! What the server used: its CPU time and memory, as the kernel counts them, and what its metrics say.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Of `/proc/PID/stat`: what `getconf CLK_TCK` says on every Linux there is.
const TICKS_PER_SECOND: u64 = 100;

/// What was counted up to one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) memory: Memory,
    series: BTreeMap<String, f64>,
    /// What Postgres itself counted: name and number.
    pub(crate) database: Vec<(&'static str, f64)>,
}

impl Counters {
    /// Of this process, whose metrics are asked for last.
    pub(crate) fn now(pid: u32, metrics: impl FnOnce() -> String) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program, in brackets, may have spaces.
        let fields: Vec<_> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| {
            let ticks = fields.get(index).and_then(|field| field.parse::<u64>().ok());
            Duration::from_millis(ticks.unwrap_or(0) * 1000 / TICKS_PER_SECOND)
        };
        let (user, system, memory) = (ticks(11), ticks(12), Memory::of(pid));
        let metrics = metrics();
        let series = metrics.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self { user, system, memory, series: series.collect(), database: Vec::new() }
    }

    /// User and system time.
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// The sum of every series whose name begins so.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let series = self.series.iter().filter(|(series, _)| series.starts_with(name));
        series.map(|(_, value)| value).sum()
    }
}

/// Resident memory in KiB: now, and the most there ever was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) now_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.unwrap_or_default();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(0)
        };
        Self { now_kib: value("VmRSS:"), peak_kib: value("VmHWM:") }
    }
}
