//! Postgres is stopped, crashes, hangs; connections to it are cut.

use std::time::Duration;

use harness::{Cluster, Database, Relay};

use super::{Outage, url_by};
use crate::site::Site;

/// A Postgres of its own, and a way to it that can be cut.
async fn outage() -> (Outage, Cluster, Relay) {
    let cluster = Cluster::start();
    let relay = Relay::start(&[cluster.address()]);
    let site = Site::new(Database::Cluster(cluster.address()), url_by(relay.address)).await;
    (Outage::begin(site).await, cluster, relay)
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_stopped_and_started_again_loses_nothing() {
    let (outage, cluster, _relay) = outage().await;
    for mode in ["fast", "immediate"] {
        cluster.stop(mode);
        outage.is_away().await;
        cluster.resume();
        outage.goes_on().await;
    }
    // A crash so short that nobody need notice.
    cluster.stop("immediate");
    cluster.resume();
    outage.goes_on().await;
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_in_the_middle_of_anything_lose_nothing() {
    let (outage, _cluster, relay) = outage().await;
    for round in 0..40 {
        relay.cut();
        tokio::time::sleep(Duration::from_millis(20 + 13 * round % 170)).await;
    }
    outage.goes_on().await;
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_hangs_is_answered_for_in_bounded_time() {
    let (outage, cluster, _relay) = outage().await;
    cluster.freeze();
    outage.is_away().await;
    cluster.thaw();
    outage.goes_on().await;
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_to_postgres_that_swallows_everything_is_answered_for_in_bounded_time() {
    let (outage, _cluster, relay) = outage().await;
    relay.hold();
    outage.is_away().await;
    relay.release();
    outage.goes_on().await;
    outage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_only_reads_is_away() {
    let (outage, cluster, relay) = outage().await;
    cluster.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    cluster.sql("SELECT pg_reload_conf()");
    relay.cut();
    outage.is_away().await;
    cluster.sql("ALTER SYSTEM RESET default_transaction_read_only");
    cluster.sql("SELECT pg_reload_conf()");
    outage.goes_on().await;
    outage.ends_well().await;
}
