//! A replica takes over, as with a virtual IP: the address stays.

use harness::{Cluster, Database, Relay};

use super::{Outage, url_by};
use crate::site::Site;

/// What is committed is on both disks (`synchronous_standby_names`): so no commit that kipuka was told
/// of is lost with the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_replica_takes_over_and_nothing_is_lost() {
    let first = Cluster::start();
    let second = first.replica();
    let relay = Relay::start(&[first.address()]);
    let site = Site::new(Database::Cluster(first.address()), url_by(relay.address)).await;
    let mut outage = Outage::begin(site).await;
    first.stop("immediate");
    outage.is_away().await;
    // The address leads to the replica before it may write.
    relay.lead_to(&[second.address()]);
    outage.is_away().await;
    second.promote();
    outage.goes_on().await;
    outage.site.database = Database::Cluster(second.address());
    outage.ends_well().await;
}
