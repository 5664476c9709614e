//! SIGHUP while clients are served.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::{Server, Settings};
use tokio::task::JoinSet;

use crate::BINARY;
use crate::instances::Customer;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_configuration_is_read_again_and_again() {
    let server = Server::start(BINARY, Settings::key_file()).await;
    let (stop, issued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut customers = JoinSet::new();
    for number in 0..4 {
        let client = server.client("ca").await;
        let mut customer = Customer::new(client, server.roots()).await;
        let (stop, issued) = (Arc::clone(&stop), Arc::clone(&issued));
        customers.spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                customer.issue(&format!("host-{count}.of-{number}.test")).await;
                issued.fetch_add(1, Ordering::Relaxed);
            }
            (customer.broken, customer.unavailable)
        });
    }
    let good = fs::read_to_string(server.config()).unwrap();
    let begun = Instant::now();
    let mut said = [0, 0];
    let mut turn = 0;
    while turn < 12 || issued.load(Ordering::Relaxed) < 20 {
        // Every other time there is a mistake in it: then nothing changes.
        let bad = turn % 2 == 1;
        let mistake = if bad { "\n[[ca]]\nid = \"two\"\n" } else { "" };
        fs::write(server.config(), format!("{good}{mistake}")).unwrap();
        said[usize::from(bad)] += 1;
        server.signal("HUP");
        let message = ["\"reloaded\"", "not reloaded"][usize::from(bad)];
        while server.log().matches(message).count() < said[usize::from(bad)] {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        turn += 1;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(failed) = customers.join_next().await {
        assert_eq!(failed.unwrap(), (0, 0), "{}", server.log());
    }
}
