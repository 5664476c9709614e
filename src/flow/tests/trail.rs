//! Whoever can write to the database rewrites the audit trail.

use super::super::{checkpoint, seal};
use super::*;
use crate::ledger::Head;

/// Another entry at the first position, with hashes that fit, by whoever can drop triggers.
async fn rewrite(site: &Site) {
    let row = site.store().sealed_entries(0, 1).await.unwrap().remove(0);
    let hash = Head::genesis().then(&row.id, "{}").hash;
    let sql = format!(
        "DROP TRIGGER audit_log_is_not_changed; \
         UPDATE audit_log SET entry = '{{}}', hash = '{hash}'; UPDATE audit_head SET hash = '{hash}'"
    );
    site.database.ask(&sql).unwrap();
}

async fn is_neither_sealed_nor_signed(site: &Site) {
    let now = site.context.clock.now();
    let entry = Entry::new(Kind::KeyUsed, Actor::Kipuka, "a key", now);
    site.store().note_alone(&entry).await.unwrap();
    seal(&site.context).await.unwrap();
    assert_eq!(checkpoint(&site.context).await.unwrap(), None);
    assert_eq!(site.count("SELECT COUNT(*) FROM audit_log").await, 1);
    let metrics = site.context.metrics.encode(crate::telemetry::metrics::Format::Prometheus);
    assert!(metrics.contains("kipuka_audit_broken 1"), "{metrics}");
}

#[tokio::test]
async fn a_chain_that_was_written_anew_is_neither_sealed_nor_signed() {
    let site = Site::new().await;
    seal(&site.context).await.unwrap();
    rewrite(&site).await;
    is_neither_sealed_nor_signed(&site).await;
}

#[tokio::test]
async fn a_start_goes_on_from_what_was_signed_and_from_nothing_else() {
    let mut site = Site::new().await;
    seal(&site.context).await.unwrap();
    assert_eq!(checkpoint(&site.context).await.unwrap().unwrap().position, 1);
    site.context.store = Store::open(&site.database.url(), 1).await.unwrap();
    assert!(checkpoint(&site.context).await.unwrap().is_some(), "it is as it was");
    rewrite(&site).await;
    site.context.store = Store::open(&site.database.url(), 1).await.unwrap();
    is_neither_sealed_nor_signed(&site).await;
}
