//! The topology of docker-compose.yml as processes: HAProxy, two instances, Postgres.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::Settings;
use openssl::x509::X509;
use tokio::task::JoinSet;

use super::{Customer, Pair};

const CUSTOMERS: usize = 6;

fn settings() -> Settings {
    Settings {
        // Longer than the balancer takes to see that /readyz is red.
        server: "linger_s = 3".to_owned(),
        validation: "timeout_s = 2".to_owned(),
        ..Settings::key_file()
    }
}

/// Clients that order one certificate after the other until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    issued: Arc<AtomicU32>,
    broken: Arc<AtomicU32>,
    tasks: JoinSet<Customer>,
}

impl Load {
    async fn start(pair: &Pair) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            issued: Arc::default(),
            broken: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..CUSTOMERS {
            let mut customer = Customer::new(pair.client().await, pair.first.roots()).await;
            let stop = Arc::clone(&load.stop);
            let (issued, broken) = (Arc::clone(&load.issued), Arc::clone(&load.broken));
            load.tasks.spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    count += 1;
                    let before = customer.broken;
                    customer.issue(&format!("host-{count}.of-{number}.test")).await;
                    issued.fetch_add(1, Ordering::Relaxed);
                    broken.fetch_add(customer.broken - before, Ordering::Relaxed);
                }
                customer
            });
        }
        load
    }

    /// Waits until so many more certificates were issued.
    async fn more(&self, count: u32) {
        let begun = Instant::now();
        let end = self.issued.load(Ordering::Relaxed) + count;
        while self.issued.load(Ordering::Relaxed) < end {
            assert!(begun.elapsed() < Duration::from_secs(90), "no progress");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn broken(&self) -> u32 {
        self.broken.load(Ordering::Relaxed)
    }

    async fn stop(mut self) -> Vec<Customer> {
        self.stop.store(true, Ordering::Relaxed);
        let mut customers = Vec::new();
        while let Some(customer) = self.tasks.join_next().await {
            customers.push(customer.unwrap());
        }
        customers
    }
}

/// No order is lost, and none has two certificates.
async fn proves_true(pair: &Pair, customers: &[Customer]) {
    let begun = Instant::now();
    while pair.count("work WHERE kind <> 'crl'") > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "work is left over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let of_orders = pair.count("certificates WHERE order_id IS NOT NULL");
    assert_eq!(of_orders, pair.count("certificates WHERE order_id IS NOT NULL AND issued_at > 0"));
    assert_eq!(of_orders, pair.count("orders WHERE certificate_id IS NOT NULL"));
    assert_eq!(pair.count("orders WHERE processing_since > 0 AND certificate_id IS NULL"), 0);
    assert_eq!(pair.count("orders WHERE error IS NOT NULL"), 0);
    let known: BTreeSet<String> =
        pair.query("SELECT serial FROM certificates").into_iter().collect();
    let mut serials = BTreeSet::new();
    for (order, certificate) in customers.iter().flat_map(|customer| &customer.issued) {
        let certificate = X509::from_der(certificate).unwrap();
        let serial = certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap();
        let serial = serial.to_lowercase();
        assert!(known.contains(&serial), "the certificate of {order} is in no database: {serial}");
        assert!(serials.insert(serial), "{order} has the certificate of another");
    }
    assert!(serials.len() as u64 <= of_orders);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_the_balancer_outlive_a_kill_of_one_instance_and_lose_no_order() {
    let mut pair = Pair::start(settings).await;
    let load = Load::start(&pair).await;
    load.more(12).await;
    let answered = pair.answered();
    assert!(answered.iter().all(|count| *count > 0), "both instances work: {answered:?}");
    assert_eq!(load.broken(), 0);
    // By the PROXY protocol they know whom they serve.
    let log = pair.first.log();
    let mut orders = log.lines().filter(|line| line.contains("/acme/ca/new-order"));
    assert!(orders.all(|line| line.contains("\"peer\":\"127.0.0.1:")), "{log}");
    pair.first.kill();
    load.more(12).await;
    pair.first.spawn();
    let before = pair.answered()[0];
    // Within seconds, in which any number of certificates may be issued by the other.
    let spawned = Instant::now();
    while pair.answered()[0] <= before {
        assert!(spawned.elapsed() < Duration::from_secs(30), "the balancer takes it back");
        load.more(1).await;
    }
    load.more(12).await;
    let customers = load.stop().await;
    proves_true(&pair, &customers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_behind_the_balancer_notices_that_the_instances_start_again_in_turn() {
    let mut pair = Pair::start(settings).await;
    let load = Load::start(&pair).await;
    load.more(6).await;
    for turn in [0, 1] {
        let server = if turn == 0 { &mut pair.first } else { &mut pair.second };
        server.signal("TERM");
        let (well, log) = tokio::task::block_in_place(|| server.ended());
        assert!(well && log.contains("\"stopped\""), "{log}");
        tokio::task::block_in_place(|| server.spawn());
        load.more(6).await;
        // The balancer has it back before the other one goes.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    for _ in 0..5 {
        pair.first.reload().await;
        pair.second.reload().await;
    }
    load.more(6).await;
    let customers = load.stop().await;
    let noticed: u32 = customers.iter().map(|one| one.broken + one.unavailable).sum();
    assert_eq!(noticed, 0, "requests without an answer");
    proves_true(&pair, &customers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crls_come_through_the_balancer_and_are_the_same_from_both() {
    let pair = Pair::start(settings).await;
    let mut customer = Customer::new(pair.client().await, pair.first.roots()).await;
    customer.issue("a.test").await;
    let get = |address| harness::server::plain_request(address, "GET", "/crl/ca.crl", "").unwrap();
    let begun = Instant::now();
    loop {
        let crl = get(pair.balancer.http());
        if crl.status == 200 {
            assert_eq!(crl.header("content-type"), "application/pkix-crl");
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", crl.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
