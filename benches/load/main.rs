//! Whole issuances over HTTPS against the release binary: how many, how fast, and at what cost.
//!
//! The clients, a DNS server and the web servers that http-01 asks are this process; kipuka is
//! another, whose CPU time, memory and metrics are read. `--help` lists what can be measured.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

mod answers;
mod arguments;
mod client;
mod http;
mod pebble;
mod process;
mod report;
mod rows;
mod sizes;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Ca, Database, Server, Settings};
use tokio::task::JoinSet;

use self::answers::Answers;
use self::arguments::{KeyIn, Load};
use self::client::{Client, Habits};
use self::pebble::Pebble;
use self::process::{Counters, Memory};
use self::report::Run;

/// Before anything is counted: connections are made and caches filled.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longer than any issuance takes.
const LONGEST: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    match Load::asked(std::env::args().skip(1)) {
        Err(mistake) => {
            eprintln!("{mistake}\n\n{}", arguments::USAGE);
            std::process::exit(2);
        }
        Ok(None) => short_form().await,
        Ok(Some(load)) => run(&load).await,
    }
}

/// A little of everything, in a few minutes.
async fn short_form() {
    use arguments::Database::{Postgres, Sqlite};
    let one = Load { time: Duration::from_secs(8), ..Load::default() };
    run(&one).await;
    run(&Load { database: Postgres, ..one.clone() }).await;
    run(&Load { clients: 1, ..one.clone() }).await;
    for key in [KeyIn::SoftHsm, KeyIn::Kryoptic, KeyIn::Slow] {
        run(&Load { key, ..one.clone() }).await;
    }
    run(&Load { clients: 32, key: KeyIn::Slow, database: Postgres, ..one.clone() }).await;
    let habits = Habits { reconnects: true, polls: true };
    run(&Load { habits, ..one.clone() }).await;
    run(&Load { orders: 100_000, database: Sqlite, ..one.clone() }).await;
    run(&Load { connections: 1000, time: Duration::from_secs(3), ..one.clone() }).await;
    run(&Load { nonces: true, ..one.clone() }).await;
    run(&Load { pebble: 1, ..one.clone() }).await;
    run(&Load { start: Some(100), ..one }).await;
}

async fn run(load: &Load) {
    if let Some(cas) = load.start {
        return start::run(&load.program, cas).await;
    }
    if load.pebble > 0 {
        return in_turn_with_pebble(load).await;
    }
    let bench = Bench::prepare(load).await;
    if load.nonces {
        return bench.nonces(load).await;
    }
    let run = bench.issuances(load).await;
    run.print();
    assert!(run.failures.is_empty(), "{} issuances failed", run.failures.len());
}

/// What a certificate costs kipuka, as a part of what it costs Pebble.
async fn in_turn_with_pebble(load: &Load) {
    let mut ratios = Vec::new();
    for _ in 0..load.pebble {
        let pebble = match Pebble::issuances(load).await {
            Ok(run) => run,
            Err(why) => {
                println!("\nPebble, in memory\n  FAILED: {why}");
                continue;
            }
        };
        let kipuka = Bench::prepare(load).await.issuances(load).await;
        pebble.print();
        kipuka.print();
        assert!(kipuka.failures.is_empty(), "{} issuances failed", kipuka.failures.len());
        ratios.push(kipuka.cpu_ms() / pebble.cpu_ms());
    }
    ratios.sort_unstable_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (ratios.first(), ratios.last()) {
        println!(
            "\nCPU for a certificate, kipuka to Pebble: {:.2} in the middle of {}, {least:.2} to {most:.2}",
            ratios[ratios.len() / 2],
            ratios.len(),
        );
    }
}

/// Has the clients order one certificate after the other while `time` passes, after they have warmed up.
async fn drive(clients: Vec<Client>, counters: impl Fn() -> Counters, time: impl Future) -> Run {
    let (stop, counting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (stop, counting) = (Arc::clone(&stop), Arc::clone(&counting));
        tasks.spawn(async move {
            let mut run = Run::default();
            while !stop.load(Ordering::Relaxed) {
                let (begun, before) = (Instant::now(), client.requests);
                let Ok(issued) = tokio::time::timeout(LONGEST, client.issue()).await else {
                    // Counted in any case: it may have begun while others were.
                    run.failures.push(format!("an issuance that hung for {LONGEST:?}"));
                    client.disconnect();
                    continue;
                };
                if !counting.load(Ordering::Relaxed) {
                    continue;
                }
                run.requests += client.requests - before;
                match issued {
                    Ok(steps) => {
                        run.issued.push(begun.elapsed());
                        run.steps.push(steps);
                    }
                    Err(error) => run.failures.push(error.to_string()),
                }
            }
            run
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let mut run = Run { before: counters(), ..Run::default() };
    let begun = Instant::now();
    counting.store(true, Ordering::Relaxed);
    time.await;
    counting.store(false, Ordering::Relaxed);
    run.elapsed = begun.elapsed();
    run.after = counters();
    stop.store(true, Ordering::Relaxed);
    while let Some(part) = tasks.join_next().await {
        let part = part.unwrap();
        run.issued.extend(part.issued);
        run.steps.extend(part.steps);
        run.failures.extend(part.failures);
        run.requests += part.requests;
    }
    run
}

/// A server, and what surrounds it.
struct Bench {
    server: Server,
    database: Database,
    answers: Answers,
    clients: Vec<Client>,
}

impl Bench {
    async fn prepare(load: &Load) -> Self {
        let answers = Answers::default();
        let database = match load.database {
            arguments::Database::Sqlite => Database::sqlite(),
            arguments::Database::Postgres => Database::durable_postgres(),
        };
        let (ca, token) = match load.key {
            KeyIn::File => (Ca::KeyFile { id: "ca", rsa: false }, None),
            KeyIn::SoftHsm => (in_token(), Some(Token::softhsm())),
            KeyIn::Kryoptic => (in_token(), Some(Token::kryoptic())),
            KeyIn::Slow => (in_token(), Some(Token::softhsm().failing_on_command())),
        };
        if let (KeyIn::Slow, Some(token)) = (load.key, &token) {
            token.suffer(&["latency C_Sign 5", "parallel C_Sign 8"]);
        }
        let settings = Settings {
            cas: vec![ca],
            token,
            database_url: Some(database.url()),
            http_port: Some(answers.serve().await),
            resolver: Some(answers::serve_dns().await),
            forgets_log: true,
            // One client alone asks for more than an account is meant to.
            sections:
                "[limits]\nrequests_per_second_per_account = 0\norders_per_account_per_hour = 0"
                    .to_owned(),
            ..Settings::default()
        };
        let mut server = Server::prepare(&load.program, settings).await;
        server.spawn();
        if load.orders > 0 {
            rows::add(&server, &database, load.orders).await;
        }
        let https = http::Server::new(server.address, &server.roots(), !load.habits.reconnects);
        let mut clients = Vec::with_capacity(load.clients);
        for number in 0..load.clients {
            let account = server.account("ca").await;
            let (https, answers) = (https.clone(), answers.clone());
            clients.push(Client::new(&account, https, answers, load.habits, format!("c{number}")));
        }
        Self { server, database, answers, clients }
    }

    async fn issuances(mut self, load: &Load) -> Run {
        let idle = self.idle_connections(load).await;
        let clients = std::mem::take(&mut self.clients);
        let mut run = drive(clients, || self.counters(), self.pass(load)).await;
        run.title = load.title();
        if load.sizes {
            sizes::print(&self.database);
        }
        if let Some(idle) = idle {
            idle.abort();
        }
        drop(self.answers);
        shut_down(&mut self.server);
        run
    }

    /// Lets the time pass; says each minute of a soak how much memory there is.
    async fn pass(&self, load: &Load) {
        if !load.is_soak {
            return tokio::time::sleep(load.time).await;
        }
        let end = Instant::now() + load.time;
        let minute = Duration::from_secs(60);
        while Instant::now() < end {
            let memory = self.memory();
            let left = end - Instant::now();
            println!("  {:>6} s left: {:.1} MB", left.as_secs(), memory.now_kib as f64 / 1024.0);
            tokio::time::sleep(left.min(minute)).await;
        }
    }

    /// Connections on which nothing is asked after a nonce, kept alive with one each few seconds.
    async fn idle_connections(&self, load: &Load) -> Option<tokio::task::AbortHandle> {
        if load.connections == 0 {
            return None;
        }
        let https = http::Server::new(self.server.address, &self.server.roots(), false);
        let account = self.server.account("ca").await;
        let mut idle = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            let (https, answers) = (https.clone(), self.answers.clone());
            let name = format!("idle{number}");
            let mut client = Client::new(&account, https, answers, load.habits, name);
            client.new_nonce().await.unwrap();
            idle.push(client);
        }
        let memory = self.memory();
        println!(
            "\n{} connections: {:.1} MB resident",
            load.connections,
            memory.now_kib as f64 / 1024.0
        );
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                for client in &mut idle {
                    let _ = client.new_nonce().await;
                }
            }
        });
        Some(task.abort_handle())
    }

    /// newNonce on kept connections.
    async fn nonces(mut self, load: &Load) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let before = self.counters();
        let begun = Instant::now();
        for mut client in std::mem::take(&mut self.clients) {
            let stop = Arc::clone(&stop);
            tasks.spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    client.new_nonce().await.unwrap();
                    times.push(begun.elapsed());
                }
                times
            });
        }
        tokio::time::sleep(load.time).await;
        let (elapsed, after) = (begun.elapsed(), self.counters());
        stop.store(true, Ordering::Relaxed);
        let mut times: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        times.sort_unstable();
        let cpu = (after.cpu() - before.cpu()).as_secs_f64();
        println!(
            "\nnewNonce; {} clients: {:.0}/s; {:.0} for each second of the server's CPU; p99 {:.1} ms",
            load.clients,
            times.len() as f64 / elapsed.as_secs_f64(),
            times.len() as f64 / cpu,
            times.get(times.len() * 99 / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        );
        shut_down(&mut self.server);
    }

    fn counters(&self) -> Counters {
        let metrics = || self.server.admin_get("/metrics").unwrap_or_default().1;
        let mut counters = Counters::now(self.server.pid(), metrics);
        counters.database = self.database_counters();
        counters
    }

    fn memory(&self) -> Memory {
        Memory::of(self.server.pid())
    }

    /// What Postgres counts itself, to compare with what kipuka says.
    fn database_counters(&self) -> Vec<(&'static str, f64)> {
        let number = |sql: &str| {
            self.database.ask(sql).and_then(|answer| answer.trim().parse().ok()).unwrap_or(0.0)
        };
        match self.database {
            Database::Sqlite(_) | Database::Within { .. } => Vec::new(),
            Database::Postgres(_) | Database::Cluster(_) => vec![
                ("statements", number("SELECT SUM(calls) FROM pg_stat_statements")),
                ("log flushes to disk", number("SELECT wal_sync FROM pg_stat_wal")),
            ],
        }
    }
}

/// As an operator does: a program that is killed writes no profile (`make release`).
fn shut_down(server: &mut Server) {
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "{log}");
}

fn in_token() -> Ca {
    Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }
}
