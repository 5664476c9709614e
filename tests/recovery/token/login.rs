//! The login: lost, refused, and given again by a person.

use std::fs;
use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Ca, Server, Settings};

use super::{SOON, Site};
use crate::BINARY;

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
    site.rest().await;
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

/// Every thread that has nothing to do uses the session that the login lives in, and one of them does
/// not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_in_the_session_of_the_login_holds_up_nobody() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token: Some(Token::faulty()),
        ..Settings::default()
    };
    let mut server = Server::prepare(BINARY, settings).await;
    let config = fs::read_to_string(server.config()).unwrap();
    let impatient = config.replace("max_sessions = 8", "max_sessions = 2\nkeepalive_s = 1");
    assert_ne!(config, impatient);
    fs::write(server.config(), impatient).unwrap();
    server.spawn();
    let mut site = Site::with(server).await;
    site.rest().await;
    // The first two may be the threads' own sessions; one of the next is the login's.
    let hangs = ["hang C_FindObjectsInit 60000 at 2", "hang C_FindObjectsInit 60000 at 3"];
    site.suffer(&hangs);
    let replaced = "step=\"thread-replaced\"";
    site.until(replaced, SOON * 2, || site.metrics().contains(replaced)).await;
    // Long enough for the next threads to lie idle, and to be given up were they to wait.
    tokio::time::sleep(Duration::from_secs(8)).await;
    site.until("readyz is green", SOON, || site.ready().0).await;
    let mut client = site.server.account("ca").await;
    let begun = Instant::now();
    let chain = client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    harness::acme::verify_chain(&chain, &site.server.roots(), "a.test");
    site.suffer(&[]);
}
