//! The process, as Linux tells of it, under the names that all Prometheus clients give these.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Series;

/// Of the times in `/proc/PID/stat`: `USER_HZ`, which is this on every platform of ours (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Process));
}

pub(super) fn register_build(series: &mut Series<'_>) {
    let labels = vec![("version", env!("CARGO_PKG_VERSION"))];
    series.0.register("build", "Which kipuka this is", Info::new(labels));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            // Not under Linux, or `/proc` is hidden: then they are not told of.
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            let metric_type = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, metric_type)?)
        };
        let stat = Stat::read();
        gauge(
            "process_resident_memory_bytes",
            "Memory in use.",
            stat.as_ref().and_then(|_| resident_bytes()),
        )?;
        gauge("process_open_fds", "File descriptors open.", open_fds())?;
        gauge("process_max_fds", "File descriptors that may be open.", max_fds())?;
        gauge("process_threads", "Threads.", stat.as_ref().map(|stat| stat.threads))?;
        gauge(
            "process_start_time_seconds",
            "When the process started, in Unix time.",
            stat.as_ref().and_then(Stat::started_at_s),
        )?;
        if let Some(stat) = stat {
            let cpu = ConstCounter::new(stat.cpu_s);
            let metric_type = cpu.metric_type();
            let help = "CPU time used, by user and system, in seconds.";
            cpu.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                metric_type,
            )?)?;
        }
        Ok(())
    }
}

/// From `/proc/self/stat`.
struct Stat {
    cpu_s: f64,
    threads: f64,
    start_ticks: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before it may hold anything, parentheses too. Fields count from 1; this is the third.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_s: (field(14)? + field(15)?) / TICKS_PER_SECOND,
            threads: field(20)?,
            start_ticks: field(22)?,
        })
    }

    fn started_at_s(&self) -> Option<f64> {
        let text = fs::read_to_string("/proc/stat").ok()?;
        let boot = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(boot.trim().parse::<f64>().ok()? + self.start_ticks / TICKS_PER_SECOND)
    }
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}

fn open_fds() -> Option<f64> {
    // Without the one that lists them.
    Some((fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1)) as f64)
}

fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        soft => soft.parse().ok(),
    }
}
