//! A resolver that does not answer for some names holds up only those who ask for these.

use std::time::{Duration, Instant};

use harness::{Database, Patient};

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_is_silent_about_some_names_holds_up_no_other() {
    let database = Database::sqlite();
    let url = database.url();
    let mut site = Site::new(database, url).await;
    site.server.spawn();
    let silent: Vec<_> = (0..12).map(|number| format!("silent{number}.test")).collect();
    for name in &silent {
        site.server.zone.set_silent(name, true);
    }
    for name in &silent {
        site.tell(name.clone()).await;
    }
    let client = site.client().await;
    let mut patient = Patient::new(client, site.roots.clone(), &site.diary).await;
    let asked = || site.server.zone.asked().iter().any(|(name, _)| name.starts_with("silent"));
    while !asked() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let begun = Instant::now();
    for number in 0..3 {
        patient.issue(&format!("good{number}.test")).await;
    }
    // Twelve attempts take two seconds each; one after another they would take longer than this.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // They are tried again, and nobody has lost an order.
    for name in &silent {
        site.server.zone.set_silent(name, false);
    }
    site.stories.spawn(async move { patient });
    let found = site.prove().await;
    assert_eq!(found.orders, silent.len() + 3);
}
