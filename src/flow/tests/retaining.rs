//! What was over long ago is forgotten, and nothing else.

use tokio::time::Instant;

use super::super::{RetainProgress, retain};
use super::*;

const ORDERS: &str = "SELECT COUNT(*) FROM orders";

#[tokio::test]
async fn a_clock_that_jumps_ahead_makes_nothing_forgotten_until_it_was_steady_for_an_hour() {
    let site = Site::new().await;
    site.ready(&["a.test"]).await;
    let start = Instant::now();
    let minutes = |minutes: u64| start + Duration::from_secs(60 * minutes);
    let mut progress = RetainProgress::begin(site.context.clock.now(), start);
    let mut step = async |minute: u64| {
        retain(&site.context, &mut progress, minutes(minute)).await.unwrap();
        site.count(ORDERS).await
    };
    site.advance(Duration::from_secs(61 * 60));
    assert_eq!(step(61).await, 1, "it lives");
    // Nobody waited for 500 days.
    site.advance(DAY * 500);
    assert_eq!(step(62).await, 1);
    site.advance(Duration::from_secs(59 * 60));
    assert_eq!(step(121).await, 1);
    site.advance(Duration::from_secs(60));
    assert_eq!(step(122).await, 0, "the clock was right after all");
}
