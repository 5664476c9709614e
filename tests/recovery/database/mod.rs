//! The database goes away and comes back under a load of orders. Clients see 503, as RFC 8555 has it, or
//! `processing`, and nothing else; readyz is red; what was under way is finished afterwards, without
//! a restart; and nothing is half-written (`harness::proof`).

mod disk;
mod failover;
mod postgres;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::Patient;
use harness::proof::Found;
use tokio::task::JoinHandle;

use crate::load::{load, watch};
use crate::site::Site;

/// How soon after the database's return readyz is green again and orders go on.
const SOON: Duration = Duration::from_secs(25);

/// A site whose server stays up under a load.
struct Outage {
    site: Site,
    pid: u32,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<()>,
    loading: JoinHandle<Vec<Patient>>,
}

impl Outage {
    async fn begin(mut site: Site) -> Self {
        if site.server.pid() == 0 {
            site.server.spawn();
        }
        let mut accounts = Vec::new();
        for _ in 0..3 {
            let client = site.client().await;
            accounts.push(Patient::new(client, site.roots.clone(), &site.diary).await);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let watcher = accounts[0].fork();
        let watching = tokio::spawn(watch(watcher, site.roots[0].clone(), Arc::clone(&stop)));
        let loading = tokio::spawn(load(accounts, Arc::clone(&stop)));
        let outage = Self { pid: site.server.pid(), site, stop, watching, loading };
        outage.goes_on().await;
        outage
    }

    fn certificates(&self) -> usize {
        let entries = self.site.diary.entries();
        entries.orders.values().filter(|certificate| certificate.is_some()).count()
    }

    fn unavailable(&self) -> u64 {
        self.site.diary.entries().unavailable
    }

    fn readyz(&self) -> Option<(u16, String)> {
        self.site.server.admin_get("/readyz")
    }

    async fn until(&self, what: &str, within: Duration, check: impl Fn() -> bool) {
        let begun = Instant::now();
        while !check() {
            assert!(
                !self.loading.is_finished() && !self.watching.is_finished(),
                "a client gave up"
            );
            assert!(begun.elapsed() < within, "{what}: not within {within:?}; {:?}", self.readyz());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clients are told to come again, and whoever looks after the server is told why.
    async fn is_away(&self) {
        let before = self.unavailable();
        self.until("503", SOON, || self.unavailable() > before + 3).await;
        let red = || {
            self.readyz().is_some_and(|(status, text)| {
                assert!(text.contains("\"database\""), "{text}");
                status == 503
            })
        };
        self.until("readyz is red", SOON, red).await;
        let alive = self.site.server.admin_get("/healthz").map(|(status, _)| status);
        assert_eq!(alive, Some(200), "it lives all the same");
    }

    /// Certificates are issued that were ordered before or after now.
    async fn goes_on(&self) {
        let before = self.certificates();
        self.until("certificates", SOON, || self.certificates() > before + 2).await;
        let green = || self.readyz().is_some_and(|(status, _)| status == 200);
        self.until("readyz is green", SOON, green).await;
    }

    async fn ends_well(mut self) -> Found {
        self.stop.store(true, Ordering::SeqCst);
        self.watching.await.unwrap();
        for patient in self.loading.await.unwrap() {
            self.site.stories.spawn(async move { patient });
        }
        assert_eq!(self.site.server.pid(), self.pid, "it was started again");
        let broken = self.site.diary.entries().broken;
        assert_eq!(broken, 0, "clients were answered nothing");
        let found = self.site.prove().await;
        assert!(found.orders > 5, "{found:?}");
        found
    }
}

fn url_by(relay: SocketAddr) -> String {
    format!("postgres://postgres@{relay}/postgres?sslmode=disable")
}
