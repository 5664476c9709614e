//! What was measured, in lines for people.

use std::time::Duration;

use crate::client::{STEPS, Steps};
use crate::process::Counters;

/// One run.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) title: String,
    pub(crate) elapsed: Duration,
    pub(crate) issued: Vec<Duration>,
    pub(crate) steps: Vec<Steps>,
    pub(crate) requests: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) before: Counters,
    pub(crate) after: Counters,
}

impl Run {
    pub(crate) fn rate(&self) -> f64 {
        self.issued.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// For one certificate, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> f64 {
        (self.after.cpu() - self.before.cpu()).as_secs_f64() * 1000.0 / self.issued.len() as f64
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        for failure in self.failures.iter().take(3) {
            println!("  FAILED: {failure}");
        }
        if self.issued.is_empty() {
            return println!("  nothing was issued");
        }
        let count = self.issued.len() as f64;
        let user = (self.after.user - self.before.user).as_secs_f64() * 1000.0 / count;
        let each = |name: &str| (self.after.sum(name) - self.before.sum(name)) / count;
        println!(
            "  issued {} in {:.1} s: {:.0}/s, {} failed",
            self.issued.len(),
            self.elapsed.as_secs_f64(),
            self.rate(),
            self.failures.len()
        );
        println!(
            "  for each certificate: server CPU {:.2} ms (user {user:.2}), {:.1} requests, \
             {:.1} SQL round trips, {:.1} statements, {:.2} commits",
            self.cpu_ms(),
            self.requests as f64 / count,
            each("kipuka_store_round_trips_total"),
            each("kipuka_store_statements_total"),
            each("kipuka_store_commits_total"),
        );
        for ((name, before), (_, after)) in self.before.database.iter().zip(&self.after.database) {
            println!(
                "  Postgres says for each certificate: {name} {:.1}",
                (after - before) / count
            );
        }
        println!(
            "  resident memory: {:.1} MB now, {:.1} MB at most",
            self.after.memory.now_kib as f64 / 1024.0,
            self.after.memory.peak_kib as f64 / 1024.0
        );
        println!("  {:<16}{:>9}{:>9}{:>9}   ms", "step", "p50", "p90", "p99");
        for (index, name) in STEPS.iter().enumerate() {
            line(name, self.steps.iter().filter_map(|steps| steps[index]).collect());
        }
        line("whole flow", self.issued.clone());
    }
}

fn line(name: &str, mut times: Vec<Duration>) {
    if times.is_empty() {
        return;
    }
    times.sort_unstable();
    let at = |part: usize| {
        let index = (times.len() * part / 100).min(times.len() - 1);
        times[index].as_secs_f64() * 1000.0
    };
    println!("  {name:<16}{:>9.1}{:>9.1}{:>9.1}", at(50), at(90), at(99));
}
