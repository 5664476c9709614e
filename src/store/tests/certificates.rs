//! Certificates and chains.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, after, claim_one, entry, make_ready, migrated, number, order, plan,
    with_plan,
};
use crate::store::{OwnPlan, Plan, StoreError, WorkKind, issuer_id};

const CERTIFICATE: &str = "certificate of order";

pub(super) async fn a_certificate_is_shown_once_it_is_complete_and_only_by_its_ca(
    database: &Database,
) {
    let store = with_plan(database).await;
    assert_eq!(store.certificate(CA, CERTIFICATE).await.unwrap(), None);
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    let shown = store.certificate(CA, CERTIFICATE).await.unwrap().unwrap();
    assert_eq!(shown.account_id, ACCOUNT);
    assert_eq!(shown.certificate, b"signed");
    assert_eq!(shown.chain, "chain");
    assert_eq!(store.certificate("internal", CERTIFICATE).await.unwrap(), None);
    assert_eq!(store.certificate(CA, ORDER).await.unwrap(), None);
}

pub(super) async fn a_certificate_keeps_the_chain_it_was_issued_below(database: &Database) {
    let store = with_plan(database).await;
    let id = store.keep_issuer("chain").await.unwrap();
    assert_eq!(id, issuer_id("chain"));
    let newer = store.keep_issuer("newer chain").await.unwrap();
    assert_ne!(id, newer);
    assert_eq!(store.keep_issuer("newer chain").await.unwrap(), newer);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM issuers").await, 2);

    store.create_order(&order("second", &["b.test"]), &entry()).await.unwrap();
    make_ready(&store, "second").await;
    let plan = Plan { issuer_id: newer, ..plan(&store, "second").await };
    assert!(store.plan_issuance(plan, &entry()).await.unwrap());
    for lease in super::fixture::claim(&store, WorkKind::Issuance, NOW, 10).await {
        assert!(store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    }
    for (certificate, chain) in [(CERTIFICATE, "chain"), ("certificate of second", "newer chain")] {
        assert_eq!(store.certificate(CA, certificate).await.unwrap().unwrap().chain, chain);
    }
}

pub(super) async fn an_own_certificate_is_kept_and_never_shown(database: &Database) {
    let store = migrated(database).await;
    let issuer_id = store.keep_issuer("chain").await.unwrap();
    let plan =
        |id| OwnPlan { id, ca: CA, issuer_id: &issuer_id, serial: "01", tbs: b"t", now: NOW };
    store.plan_own_certificate(plan("own"), &entry()).await.unwrap();
    // The serial is taken.
    let error = store.plan_own_certificate(plan("twin"), &entry()).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    assert_eq!(store.certificate(CA, "own").await.unwrap(), None);
    store.complete_own_certificate("own", b"signed", NOW, &entry()).await.unwrap();
    assert_eq!(store.certificate(CA, "own").await.unwrap(), None);
    let kept = "SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL";
    assert_eq!(number(&store, kept).await, 1);
}

pub(super) async fn an_own_certificate_is_completed_once(database: &Database) {
    let store = with_plan(database).await;
    let issuer_id = store.keep_issuer("chain").await.unwrap();
    let own =
        OwnPlan { id: "own", ca: CA, issuer_id: &issuer_id, serial: "01", tbs: b"t", now: NOW };
    store.plan_own_certificate(own, &entry()).await.unwrap();
    store.complete_own_certificate("own", b"one", after(1), &entry()).await.unwrap();
    store.complete_own_certificate("own", b"other", after(2), &entry()).await.unwrap();
    // One that was ordered is not completed this way.
    store.complete_own_certificate(CERTIFICATE, b"signed", NOW, &entry()).await.unwrap();
    let rows = "SELECT issued_at FROM certificates WHERE certificate IS NOT NULL";
    assert_eq!(number(&store, rows).await, after(1).unix_ms());
    let signed = "SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL";
    assert_eq!(number(&store, signed).await, 1);
}
