//! The clock of the machine jumps by a day, there and back, while kipuka serves.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::{Database, Patient};
use openssl::asn1::Asn1Time;
use openssl::x509::X509;

use crate::site::{SURELY, Site};

/// libfaketime, of Debian's package faketime.
fn libfaketime() -> PathBuf {
    let path = PathBuf::from(format!(
        "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1",
        std::env::consts::ARCH
    ));
    assert!(path.exists(), "no {}; `tests/install.sh test` installs it", path.display());
    path
}

/// The day of a certificate's notBefore, as a number of days from now.
fn days_from_now(certificate: &X509) -> i32 {
    let now = Asn1Time::days_from_now(0).unwrap();
    now.diff(certificate.not_before()).unwrap().days
}

async fn the_clock_jumps(database: Database) {
    let url = database.url();
    let mut site = Site::new(database, url).await;
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    fs::write(&offset, "+0").unwrap();
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    for (name, value) in [
        ("LD_PRELOAD", text(&libfaketime())),
        ("FAKETIME_TIMESTAMP_FILE", text(&offset)),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // A jump of the clock moves no timer of the kernel.
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ] {
        site.server.environment.push((name.to_owned(), value));
    }
    site.server.spawn();
    let pid = site.server.pid();
    let client = site.client().await;
    let mut patient = Patient::new(client, site.roots.clone(), &site.diary).await;
    patient.takes_any_time = true;
    for (number, (jump, days)) in
        [("+0", 0), ("+1d", 1), ("+0", 0), ("-1d", -1), ("+0", 0)].into_iter().enumerate()
    {
        // An order that is under way at the jump.
        let before = patient.order(&format!("before{number}.test")).await;
        fs::write(&offset, jump).unwrap();
        let begun = Instant::now();
        // What was known of time does not hold up the client: a nonce of the future has expired, so it
        // takes another.
        patient.client.forget_nonce();
        let certificate = patient.finish(&before).await;
        assert!(begun.elapsed() < SURELY, "{jump} held up an order");
        // By the clock as it is, an hour backdated.
        let found = days_from_now(&certificate);
        assert!((days - 1..=days).contains(&found), "{jump}: {found} days from now");
        patient.revoke(&certificate).await;
        let begun = Instant::now();
        while !site.diary.entries().all_revocations_are_told() {
            patient.look_at_crl(&site.roots[0]).await;
            assert!(begun.elapsed() < SURELY, "{jump} held up a CRL: {}", site.server.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (status, text) = site.server.admin_get("/readyz").unwrap();
        assert_eq!(status, 200, "{text}");
    }
    assert_eq!(site.server.pid(), pid);
    site.stories.spawn(async move { patient });
    site.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_a_day_there_and_back_holds_up_nothing_on_sqlite() {
    the_clock_jumps(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_a_day_there_and_back_holds_up_nothing_on_postgres() {
    the_clock_jumps(Database::postgres()).await;
}
