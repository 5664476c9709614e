//! Which authorizations an order takes.

use super::*;

#[tokio::test]
async fn a_proof_serves_for_as_long_as_is_configured_and_has_an_hour_left() {
    let site = Site::new().await;
    let hour = Duration::from_secs(3600);
    let ready = |order: &Order| order.status(site.context.clock.now()) == OrderStatus::Ready;
    let limits = |reuse: Duration| {
        let limits = Limits { hold: Duration::ZERO, reuse, ..Limits::default() };
        site.context.limits.store(Arc::new(limits));
    };
    let first = site.ready(&["a.test"]).await;
    assert!(ready(&site.place(&["a.test"]).await));
    site.advance(23 * hour);
    let late = site.place(&["a.test"]).await;
    assert!(ready(&late));
    assert_eq!(late.expires_at, first.expires_at, "no longer than its authorization");
    site.advance(hour);
    assert!(!ready(&site.place(&["a.test"]).await));
    limits(7 * DAY);
    assert!(ready(&site.place(&["a.test"]).await));
    site.advance(6 * DAY - hour - hour / 2);
    assert!(ready(&site.place(&["a.test"]).await), "an hour and a half is left");
    site.advance(hour);
    assert!(!ready(&site.place(&["a.test"]).await), "half an hour is left");
    limits(Duration::ZERO);
    assert!(!ready(&site.place(&["a.test"]).await));
}
