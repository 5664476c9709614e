//! Killed at random, again and again, under the load of many clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Database, Patient, Relay, Server, Settings};

use crate::BINARY;
use crate::load::{load, watch};
use crate::site::Site;

fn kills() -> u32 {
    std::env::var("KIPUKA_TEST_KILLS").map_or(25, |kills| kills.parse().unwrap())
}

/// Not clever, but another each time and the same in each run.
struct Delays(u64);

impl Delays {
    fn next(&mut self, below_ms: u64) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below_ms)
    }
}

async fn killed_at_random(mut site: Site, second: Option<Server>) {
    let mut servers = Vec::new();
    site.server.spawn();
    let mut address = site.server.address;
    let mut relay = None;
    if let Some(mut second) = second {
        second.take_cas_of(&site.server);
        second.spawn();
        let both = Relay::start(&[site.server.address, second.address]);
        address = both.address;
        relay = Some(both);
        servers.push(second);
    }
    let mut accounts = Vec::new();
    for _ in 0..4 {
        let client = site.server.client_by(address, "ca").await;
        accounts.push(Patient::new(client, site.roots.clone(), &site.diary).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching =
        tokio::spawn(watch(accounts[0].fork(), site.issuer().clone(), Arc::clone(&stop)));
    let loading = tokio::spawn(load(accounts, Arc::clone(&stop)));
    let mut delays = Delays(8555);
    for number in 0..kills() {
        // Long enough for a few requests, be the machine busy.
        tokio::time::sleep(Duration::from_millis(100) + delays.next(1000)).await;
        match servers.first_mut() {
            // In turn, so that one is there.
            Some(second) if number % 2 == 1 => {
                second.kill();
                site.kills += 1;
                second.spawn();
            }
            _ => site.restart(),
        }
        assert!(!loading.is_finished() && !watching.is_finished(), "a client gave up");
    }
    stop.store(true, Ordering::SeqCst);
    watching.await.unwrap();
    for mut patient in loading.await.unwrap() {
        site.stories.spawn(async move {
            patient.client.nonce().await;
            patient
        });
    }
    let found = site.prove().await;
    assert!(found.orders > 20 && found.revocations > 3 && found.crls > 1, "{found:?}");
    drop((servers, relay));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_under_load_on_sqlite_nothing_is_lost() {
    let database = Database::sqlite();
    let url = database.url();
    killed_at_random(Site::new(database, url).await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_under_load_on_postgres_nothing_is_lost() {
    let database = Database::postgres();
    let url = database.url();
    killed_at_random(Site::new(database, url).await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_killed_in_turn_under_load_lose_nothing() {
    let database = Database::postgres();
    let url = database.url();
    let site = Site::new(database, url.clone()).await;
    let second = Settings {
        database_url: Some(url),
        validation: "timeout_s = 2".to_owned(),
        http_port: Some(site.server.responder.http_port),
        ..Settings::default()
    };
    let second = Server::prepare(BINARY, second).await;
    killed_at_random(site, Some(second)).await;
}
