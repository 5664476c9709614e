//! The login: lost, refused, and given again by a person.

use std::sync::atomic::Ordering;

use super::{SOON, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_gone_is_made_again_in_the_sessions_that_are_left() {
    let site = Site::start().await;
    for number in 1..=3 {
        let before = site.count("C_Login");
        site.suffer(&[&format!("log-out {number}")]);
        site.one_is_issued().await;
        site.until("a login", SOON, || site.count("C_Login") > before).await;
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_token_is_left_alone_until_a_person_says_that_it_is_unlocked() {
    let mut site = Site::start().await;
    site.stop.store(true, Ordering::SeqCst);
    while let Some(client) = site.clients.join_next().await {
        client.unwrap();
    }
    let before = site.count("C_Login");
    site.suffer(&["drop-sessions 1", "refuse-login CKR_PIN_LOCKED"]);
    let mut client = site.server.account("ca").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let csr = order.csr().der();
    order.finalize_with(&csr).await.expect(200);
    site.is_down().await;
    // Long enough for the first probes of a token that is only away.
    tokio::time::sleep(SOON / 2).await;
    assert_eq!(site.count("C_Login"), before + 1);
    site.suffer(&[]);
    site.server.signal("HUP");
    site.until("readyz is green", SOON, || site.ready().0).await;
    let chain = order.certificates().await;
    harness::acme::verify_chain(&chain, &site.server.roots(), "a.test");
    assert!(site.violations().is_empty(), "{:?}", site.violations());
}
