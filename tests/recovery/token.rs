//! The token fails in every way that can be forced, under a load of orders: none is lost or stuck,
//! none gets two certificates, and signing goes on within five seconds of the token's return.

mod hang;
mod login;
mod neighbours;
mod remote;
mod start;
mod two;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Ca, Client, Server, Settings};
use openssl::x509::X509;
use tokio::task::JoinSet;

use crate::BINARY;

/// How soon after its token's return a CA issues again.
const SOON: Duration = Duration::from_secs(5);
const CLIENTS: usize = 4;

/// A server whose token fails on command, and clients that order one certificate after another.
struct Site {
    server: Server,
    pid: u32,
    stop: Arc<AtomicBool>,
    issued: Arc<Mutex<Vec<(Instant, String)>>>,
    clients: JoinSet<()>,
}

impl Site {
    async fn start() -> Self {
        Self::of(Token::faulty()).await
    }

    async fn of(token: Token) -> Self {
        let settings = Settings {
            cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
            token: Some(token),
            ..Settings::default()
        };
        Self::with(Server::start(BINARY, settings).await).await
    }

    async fn with(server: Server) -> Self {
        let mut site = Self {
            pid: server.pid(),
            stop: Arc::default(),
            issued: Arc::default(),
            clients: JoinSet::new(),
            server,
        };
        for _ in 0..CLIENTS {
            let client = site.server.account("ca").await;
            let (stop, issued) = (Arc::clone(&site.stop), Arc::clone(&site.issued));
            site.clients.spawn(order_until(client, site.server.roots(), stop, issued));
        }
        site.one_is_issued().await;
        site
    }

    fn token(&self) -> &Token {
        self.server.token.as_ref().unwrap()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.server.token.as_mut().unwrap()
    }

    fn suffer(&self, faults: &[&str]) {
        self.token().suffer(faults);
    }

    fn count(&self, what: &str) -> u64 {
        self.token().counters(self.pid).get(what).copied().unwrap_or(0)
    }

    /// The rules of PKCS#11 that kipuka broke.
    fn violations(&self) -> Vec<(String, u64)> {
        self.token().violations(self.pid)
    }

    fn metrics(&self) -> String {
        self.server.admin_get("/metrics").unwrap().1
    }

    fn ready(&self) -> (bool, String) {
        let (status, text) = self.server.admin_get("/readyz").unwrap();
        (status == 200, text)
    }

    async fn until(&self, what: &str, within: Duration, check: impl Fn() -> bool) {
        let begun = Instant::now();
        while !check() {
            assert!(begun.elapsed() < within, "{what}: not within {within:?}; {:?}", self.ready());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An order that began before or after, but ends after now, comes to its certificate soon.
    async fn one_is_issued(&self) {
        let now = Instant::now();
        let issued = || self.issued.lock().unwrap().iter().any(|(at, _)| *at > now);
        self.until("a certificate", SOON, issued).await;
    }

    async fn is_down(&self) {
        self.until("readyz is red", Duration::from_secs(10), || !self.ready().0).await;
    }

    /// The clients end what they are at, and order no more.
    async fn rest(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
    }

    /// Every order that was begun ends well; and PKCS#11's rules were kept all the time.
    async fn ends_well(mut self) {
        self.one_is_issued().await;
        self.rest().await;
        self.until("readyz is green", SOON, || self.ready().0).await;
        let issued = std::mem::take(&mut *self.issued.lock().unwrap());
        let serials: BTreeSet<_> = issued.iter().map(|(_, serial)| serial).collect();
        assert_eq!(serials.len(), issued.len(), "a serial twice");
        assert_eq!(self.server.pid(), self.pid, "it was started again");
        let (ended_well, log) = self.server.terminate();
        assert!(ended_well, "{log}");
        // Those of its last moments are among them.
        assert!(self.violations().is_empty(), "{:?}", self.violations());
    }
}

async fn order_until(
    mut client: Client,
    roots: Vec<X509>,
    stop: Arc<AtomicBool>,
    issued: Arc<Mutex<Vec<(Instant, String)>>>,
) {
    let mut kept = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let order = client.order(&["a.test"]).await.prove("http-01").await;
        let url = order.url.clone();
        let chain = order.finalize().await;
        harness::acme::verify_chain(&chain, &roots, "a.test");
        let serial = chain[0].serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
        issued.lock().unwrap().push((Instant::now(), serial));
        kept.push((url, chain));
    }
    // Whatever was tried for it how often: an order has one certificate, and still has that.
    for (url, chain) in kept {
        let order = client.post_as_get(&url).await.expect(200).json();
        assert_eq!(order["status"], "valid", "{order}");
        let answer = client.post_as_get(order["certificate"].as_str().unwrap()).await.expect(200);
        let again = X509::stack_from_pem(&answer.body).unwrap();
        assert_eq!(again[0].to_der().unwrap(), chain[0].to_der().unwrap(), "{url}");
    }
}

async fn away_and_back(faults: &[&str]) {
    let site = Site::start().await;
    for away_ms in [100, 2500] {
        site.suffer(faults);
        site.is_down().await;
        tokio::time::sleep(Duration::from_millis(away_ms)).await;
        site.suffer(&[]);
        site.one_is_issued().await;
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_goes_away_and_comes_back_signs_again() {
    away_and_back(&["vanish kipuka"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_seen_again_only_after_c_initialize_signs_again() {
    away_and_back(&["sticky", "vanish kipuka"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_refuses_every_call_for_a_while_signs_again() {
    away_and_back(&["fail * CKR_DEVICE_ERROR always"]).await;
    away_and_back(&["fail * CKR_GENERAL_ERROR always"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_dropped_at_once_are_opened_again() {
    sessions_are_dropped(Site::start().await).await;
}

async fn sessions_are_dropped(site: Site) {
    for number in 1..=3 {
        site.suffer(&[&format!("drop-sessions {number}")]);
        site.one_is_issued().await;
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_forgot_its_initialisation_is_initialised() {
    let site = Site::start().await;
    let before = site.count("C_Initialize");
    site.suffer(&["fail C_SignInit CKR_CRYPTOKI_NOT_INITIALIZED first 1"]);
    site.until("C_Initialize", SOON, || site.count("C_Initialize") > before).await;
    site.one_is_issued().await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_for_a_minute_holds_up_nobody_else() {
    a_call_hangs(Site::start().await).await;
}

async fn a_call_hangs(site: Site) {
    site.suffer(&["hang C_Sign 60000 first 1"]);
    for _ in 0..3 {
        site.one_is_issued().await;
    }
    let replaced = "kipuka_hsm_steps_total{token=\"hsm\",step=\"thread-replaced\"} 1";
    site.until(replaced, SOON, || site.metrics().contains(replaced)).await;
    // Its order goes on by another session: its client is not stuck for the minute.
    tokio::time::sleep(Duration::from_secs(4)).await;
    site.ends_well().await;
}

/// The library cannot be initialised anew while a thread is inside it: that is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_goes_away_under_a_call_that_hangs_signs_again_when_both_are_over() {
    let site = Site::start().await;
    let hang = "hang C_SignInit 60000 first 1";
    site.suffer(&[hang]);
    // The first hangs, whichever it was; others go on.
    let before = site.count("C_SignInit");
    site.until("calls after it", SOON, || site.count("C_SignInit") > before).await;
    site.suffer(&[hang, "sticky", "vanish kipuka"]);
    site.is_down().await;
    site.suffer(&[hang]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!site.ready().0);
    site.suffer(&[]);
    site.one_is_issued().await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_error_on_every_tenth_call_stops_nothing() {
    every_tenth_call_fails(Site::start().await).await;
}

async fn every_tenth_call_fails(site: Site) {
    site.suffer(&["fail * CKR_DEVICE_ERROR every 10"]);
    for _ in 0..10 {
        site.one_is_issued().await;
    }
    let metrics = site.metrics();
    assert!(metrics.contains("ckr=\"CKR_DEVICE_ERROR\""), "{metrics}");
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_never_leaves_and_its_order_is_signed_again() {
    let site = Site::start().await;
    // Every client verifies what it gets.
    site.suffer(&["wrong-signature every 2"]);
    for _ in 0..5 {
        site.one_is_issued().await;
    }
    away_and_back_wrongly(site, "wrong-signature always").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_keys_sign_nothing_that_leaves() {
    let site = Site::start().await;
    site.token().keygen("EC:prime256v1", "02");
    away_and_back_wrongly(site, "swap-keys always").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_token_that_comes_back_with_another_key_it_is_the_key_that_is_told() {
    let site = Site::start().await;
    site.token().keygen("EC:prime256v1", "02");
    site.suffer(&["fail * CKR_DEVICE_ERROR always"]);
    site.is_down().await;
    away_and_back_wrongly(site, "swap-keys always").await;
}

async fn away_and_back_wrongly(site: Site, fault: &str) {
    site.suffer(&[fault]);
    site.is_down().await;
    // It may be on another rung of the ladder at this moment.
    let told = || site.ready().1.contains("does not verify");
    site.until("what is wrong is told", Duration::from_secs(20), told).await;
    site.suffer(&[]);
    site.one_is_issued().await;
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pin_is_tried_once_and_waits_for_a_person() {
    let mut site = Site::of(Token::softhsm().failing_on_command()).await;
    site.rest().await;
    let before = site.count("C_Login");
    site.suffer(&["drop-sessions 1", "refuse-login CKR_PIN_INCORRECT always"]);
    let mut client = site.server.account("ca").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let csr = order.csr().der();
    let object = order.finalize_with(&csr).await.expect(200).json();
    assert_eq!(object["status"], "processing");
    site.is_down().await;
    assert!(site.ready().1.contains("refused the PIN"), "{}", site.ready().1);
    let metrics = site.metrics();
    for series in ["kipuka_hsm_circuit{token=\"hsm\"} 2", "ckr=\"CKR_PIN_INCORRECT\"} 1"] {
        assert!(metrics.contains(series), "{metrics}");
    }
    // It would be taken now; but nobody says that it is another.
    site.suffer(&[]);
    site.server.signal("HUP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(site.count("C_Login"), before + 1);
    assert!(!site.ready().0);

    site.token().shell(
        "pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --token-label kipuka --login \
         --pin $PIN --change-pin --new-pin 567890",
    );
    let config = fs::read_to_string(site.server.config()).unwrap();
    let corrected = config.replace("pin_env = \"KIPUKA_HSM_PIN\"", "pin = \"567890\"");
    fs::write(site.server.config(), corrected).unwrap();
    site.server.signal("HUP");
    site.until("readyz is green", SOON, || site.ready().0).await;
    let chain = order.certificates().await;
    harness::acme::verify_chain(&chain, &site.server.roots(), "a.test");
    assert!(site.violations().is_empty(), "{:?}", site.violations());
}
