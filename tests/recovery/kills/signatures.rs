//! Killed at `C_Sign`: before the token signs, and when it has signed and kipuka does not know.

use harness::Database;

use crate::site::{SURELY, Site};

async fn killed_at_each_signature(database: Database) {
    let url = database.url();
    let mut site = Site::new(database, url).await;
    site.server.spawn();
    site.client().await;
    for number in 1..=4 {
        for moment in ["before", "after"] {
            site.token().suffer(&["record", &format!("kill-{moment} C_Sign at {number}")]);
            // Enough for so many signatures, of certificates and of CRLs.
            for story in 0..3 {
                site.tell(format!("s{number}{moment}{story}.test")).await;
            }
            assert!(site.is_killed(SURELY).await, "{moment} {number}");
            site.token().suffer(&["record"]);
            site.restart();
        }
    }
    // At its start it has a certificate of its own signed.
    for moment in ["before", "after"] {
        site.server.kill();
        site.token().suffer(&["record", &format!("kill-{moment} C_Sign at 1")]);
        site.server.launch();
        assert!(site.is_killed(SURELY).await, "{moment} its own");
        site.token().suffer(&["record"]);
        site.restart();
    }
    site.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_signature_on_sqlite_nothing_is_lost() {
    killed_at_each_signature(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_and_after_each_signature_on_postgres_nothing_is_lost() {
    killed_at_each_signature(Database::postgres()).await;
}
