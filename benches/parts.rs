//! What the parts of an issuance cost by themselves: microseconds for each, on one thread, and what the
//! database does for many at once.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::csr::Csr;
use harness::{Algorithm, Database, Key, Server, Settings};
use kipuka::bench::{self, Parts, Signed};
use serde_json::json;
use tokio::task::JoinSet;

const TIME: Duration = Duration::from_millis(500);
const TIME_OF_STORE: Duration = Duration::from_secs(2);
const AT_ONCE: [usize; 3] = [1, 8, 64];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let settings = Settings::key_file();
    let server = Server::prepare(env!("CARGO_BIN_EXE_kipuka"), settings).await;
    let parts = Parts::open(&server.config()).await;
    println!("{:<44}{:>10}{:>12}", "one thread", "µs", "per second");
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Es384] {
        let key = Key::new(algorithm);
        let protected = json!({
            "alg": algorithm.name(), "jwk": key.jwk(), "nonce": parts.make_nonce(),
            "url": "https://ca.test/acme/ca/new-order",
        });
        let payload = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] });
        let body = key.sign_jws(protected.to_string(), payload.to_string().as_bytes()).to_string();
        let signed = Signed::new(body.as_bytes());
        let name = algorithm.name();
        measure(&format!("JWS {name}: verify, key known"), || signed.verify());
        measure(&format!("JWS {name}: make the verifier"), || signed.make_verifier());
        if algorithm == Algorithm::Es256 {
            measure("JWS with a jwk: read", || bench::read_jws(body.as_bytes()));
        }
    }
    let nonce = parts.make_nonce();
    measure("nonce: make", || drop(parts.make_nonce()));
    measure("nonce: check", || parts.check_nonce(&nonce));
    let csr = Csr::new(&["a.test"]).der();
    measure("CSR P-256: read and verify", || bench::read_csr(&csr));
    measure("CSR, TBSCertificate and lint", || parts.prepare(&csr));
    for database in [Database::sqlite(), Database::durable_postgres()] {
        let name = if matches!(database, Database::Sqlite(_)) { "SQLite" } else { "Postgres" };
        let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
        let server = Server::prepare(env!("CARGO_BIN_EXE_kipuka"), settings).await;
        let parts = Arc::new(Parts::open(&server.config()).await);
        println!(
            "\n{:<44}{:>10}{:>12}",
            format!("{name}, commits on disk"),
            "at once",
            "per second"
        );
        for at_once in AT_ONCE {
            let shared = Arc::clone(&parts);
            let spent = rate(at_once, move || {
                let parts = Arc::clone(&shared);
                async move { parts.spend_nonce().await }
            });
            line("nonce: spend", at_once, spent.await);
            let shared = Arc::clone(&parts);
            let placed = rate(at_once, move || {
                let parts = Arc::clone(&shared);
                async move { drop(parts.place_order().await) }
            });
            line("order: place", at_once, placed.await);
            let (shared, order) = (Arc::clone(&parts), parts.place_order().await);
            let read = rate(at_once, move || {
                let (parts, order) = (Arc::clone(&shared), order.clone());
                async move { parts.read_order(&order).await }
            });
            line("order: read", at_once, read.await);
        }
    }
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TIME {
        parts.sign().await;
        count += 1;
    }
    let each = begun.elapsed() / count;
    println!("\nkey file P-256: sign, verify what came  {each:.1?}");
}

fn measure(name: &str, mut part: impl FnMut()) {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TIME {
        for _ in 0..16 {
            part();
        }
        count += 16;
    }
    let each = begun.elapsed().as_secs_f64() / f64::from(count);
    println!("{name:<44}{:>10.1}{:>12.0}", each * 1e6, 1.0 / each);
}

fn line(name: &str, at_once: usize, rate: f64) {
    println!("{name:<44}{at_once:>10}{rate:>12.0}");
}

/// How often so many tasks do this in a second.
async fn rate<F>(at_once: usize, part: impl Fn() -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        let part = part.clone();
        tasks.spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < TIME_OF_STORE {
                part().await;
                count += 1;
            }
            count
        });
    }
    let mut count = 0;
    while let Some(done) = tasks.join_next().await {
        count += done.unwrap();
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}
