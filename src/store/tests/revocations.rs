//! Certificates by their serials, and revocations.

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, claim, claim_one, conclude, entry, failed, make_ready,
    migrated, number, open, order, plan, proved, with_order, with_plan,
};
use crate::acme::identifier::Identifier;
use crate::store::{NewRevocation, OwnPlan, Store, WorkKind};

const CERTIFICATE: &str = "certificate of order";
const SERIAL: &str = "serial of order";
const ISSUER: &str = "issuer";

/// A store with an issued certificate.
async fn with_certificate(database: &Database) -> Store {
    let store = with_plan(database).await;
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    store
}

fn revocation<'a>(certificate_id: &'a str, serial: &'a str) -> NewRevocation<'a> {
    NewRevocation {
        certificate_id,
        issuer: ISSUER,
        serial,
        reason: 4,
        revoked_at: after(60),
        revoked_by: "account",
        not_after: after(1000),
    }
}

/// Issues another certificate at this time; its names begin with that of its order.
async fn issue(store: &Store, id: &str, seconds: u64) {
    store.create_order(&order(id, &["a.test"]), &entry()).await.unwrap();
    make_ready(store, id).await;
    assert!(store.plan_issuance(plan(store, id).await, &entry()).await.unwrap());
    let lease = claim_one(store, WorkKind::Issuance, NOW).await;
    assert!(
        store
            .complete_issuance(lease, id.as_bytes().to_vec(), after(seconds), &entry())
            .await
            .unwrap()
    );
}

pub(super) async fn a_certificate_is_revoked_once_and_a_crl_is_asked_for(database: &Database) {
    let store = with_certificate(database).await;
    assert!(store.revoke(revocation(CERTIFICATE, SERIAL), &entry()).await.unwrap());
    let again = NewRevocation { reason: 1, ..revocation(CERTIFICATE, SERIAL) };
    assert!(!store.revoke(again, &entry()).await.unwrap());
    assert_eq!(number(&store, "SELECT reason FROM revocations").await, 4);
    // Refused, it asks for nothing.
    assert_eq!(number(&store, "SELECT asked FROM work WHERE kind = 'crl'").await, 1);
    let lease = claim_one(&store, WorkKind::Crl, after(60)).await;
    assert_eq!(lease.subject(), ISSUER);
    assert!(lease.was_asked_for());
}

pub(super) async fn of_concurrent_revocations_one_wins(database: &Database) {
    let stores = [with_certificate(database).await, open(database).await];
    let revoking: Vec<_> = (0..16)
        .map(|number: usize| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                store.revoke(revocation(CERTIFICATE, SERIAL), &entry()).await.unwrap()
            })
        })
        .collect();
    let mut won = 0;
    for one in revoking {
        won += usize::from(one.await.unwrap());
    }
    assert_eq!(won, 1);
    assert_eq!(number(&stores[0], "SELECT COUNT(*) FROM revocations").await, 1);
    assert_eq!(number(&stores[0], "SELECT asked FROM work WHERE kind = 'crl'").await, 1);
}

pub(super) async fn a_certificate_is_found_by_its_serial_with_its_revocation(database: &Database) {
    let store = with_plan(database).await;
    assert_eq!(store.certificate_by_serial(CA, SERIAL).await.unwrap(), None, "not signed yet");
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), after(5), &entry()).await.unwrap());
    let found = store.certificate_by_serial(CA, SERIAL).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.ca.as_str()), (CERTIFICATE, CA));
    assert_eq!(found.account_id.as_deref(), Some(ACCOUNT));
    assert_eq!((&found.certificate[..], found.issued_at), (&b"signed"[..], after(5)));
    assert_eq!(found.revocation, None);
    assert_eq!(store.certificate_by_serial("internal", SERIAL).await.unwrap(), None);
    assert_eq!(store.certificate_by_serial(CA, "other").await.unwrap(), None);
    assert!(store.revoke(revocation(CERTIFICATE, SERIAL), &entry()).await.unwrap());
    for found in [
        open(database).await.certificate_by_serial(CA, SERIAL).await.unwrap().unwrap(),
        store.certificates_by_serial(SERIAL).await.unwrap().remove(0),
        store.certificates(None, None, 10).await.unwrap().remove(0),
    ] {
        let revocation = found.revocation.unwrap();
        assert_eq!((revocation.reason, revocation.revoked_at), (4, after(60)));
        assert_eq!(revocation.revoked_by, "account");
    }
}

pub(super) async fn certificates_are_listed_newest_first_page_by_page(database: &Database) {
    let store = with_certificate(database).await;
    for (id, seconds) in [("b", 2), ("c", 1), ("d", 2)] {
        issue(&store, id, seconds).await;
    }
    let issuer_id = store.keep_issuer("chain").await.unwrap();
    let own =
        OwnPlan { id: "own", ca: "x", issuer_id: &issuer_id, serial: "01", tbs: b"t", now: NOW };
    store.plan_own_certificate(own, &entry()).await.unwrap();
    store.complete_own_certificate("own", b"own", after(9), &entry()).await.unwrap();
    let mut before = None;
    let mut listed = Vec::new();
    loop {
        let page = store.certificates(None, before, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        before = Some(last.cursor());
        listed.extend(page.into_iter().map(|found| found.certificate));
    }
    assert_eq!(listed, [&b"own"[..], b"d", b"b", b"c", b"signed"]);
    let of_ca = store.certificates(Some("x"), None, 10).await.unwrap();
    assert_eq!(of_ca.len(), 1);
    assert_eq!(of_ca[0].account_id, None);
    assert!(store.certificates(Some("y"), None, 10).await.unwrap().is_empty());
}

pub(super) async fn only_a_valid_authorization_of_the_account_for_the_very_name_counts(
    database: &Database,
) {
    let store = with_order(database, &["a.test", "*.b.test", "c.test"]).await;
    let is = |ca: &'static str, account: &'static str, name: &'static str, now| {
        let store = store.clone();
        let name = Identifier::dns(name).unwrap();
        async move { store.is_authorized(ca, account, &name, true, now).await.unwrap() }
    };
    assert!(!is(CA, ACCOUNT, "a.test", NOW).await, "pending");
    conclude(&store, "order-0-dns-01", proved()).await;
    conclude(&store, "order-1-dns-01", proved()).await;
    conclude(&store, "order-2-dns-01", failed()).await;
    assert!(is(CA, ACCOUNT, "a.test", NOW).await);
    assert!(is(CA, ACCOUNT, "*.b.test", NOW).await);
    assert!(!is(CA, ACCOUNT, "b.test", NOW).await, "that of a wildcard is for the wildcard");
    assert!(!is(CA, ACCOUNT, "c.test", NOW).await, "failed");
    assert!(!is(CA, "other", "a.test", NOW).await);
    assert!(!is("internal", ACCOUNT, "a.test", NOW).await);
    assert!(is(CA, ACCOUNT, "a.test", after(3599)).await);
    assert!(!is(CA, ACCOUNT, "a.test", after(3600)).await, "expired");
    store.deactivate_authorization("order-0", NOW, &entry()).await.unwrap();
    assert!(!is(CA, ACCOUNT, "a.test", NOW).await, "deactivated");
}

pub(super) async fn what_is_over_and_done_with_is_left_out(database: &Database) {
    let store = migrated(database).await;
    store.register_account(account(ACCOUNT, CA), &entry()).await.unwrap();
    for (id, revoked_at, not_after) in
        [("late", 30, 100), ("early", 10, 100), ("expired", 20, 50), ("after-expiry", 90, 40)]
    {
        issue(&store, id, 1).await;
        let certificate_id = format!("certificate of {id}");
        let revocation = NewRevocation {
            revoked_at: after(revoked_at),
            not_after: after(not_after),
            ..revocation(&certificate_id, id)
        };
        assert!(store.revoke(revocation, &entry()).await.unwrap());
    }
    let listed = |since| {
        let store = store.clone();
        async move {
            let revoked = store.revoked_by(ISSUER, after(since)).await.unwrap();
            revoked.into_iter().map(|one| one.serial).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(0).await, ["early", "expired", "late", "after-expiry"]);
    assert_eq!(listed(50).await, ["early", "expired", "late", "after-expiry"]);
    assert_eq!(listed(51).await, ["early", "late", "after-expiry"]);
    assert_eq!(listed(91).await, ["early", "late"]);
    assert!(listed(101).await.is_empty());
    assert!(store.revoked_by("other", NOW).await.unwrap().is_empty());
    assert!(claim(&store, WorkKind::Issuance, NOW, 10).await.is_empty());
    assert_eq!(store.order(CA, ORDER).await.unwrap(), None);
}
