//! CRLs: planned, published, numbered.

use harness::Database;

use super::fixture::{LEASE, NOW, after, claim, claim_one, entry, migrated, number, open};
use crate::entropy::Entropy;
use crate::store::db::Done;
use crate::store::{CrlPlan, Left, PublishedCrl, Store, WorkKind, work};

const KIND: WorkKind = WorkKind::Crl;
const ISSUER: &str = "issuer";
const KEY: &str = "key";

fn crl_plan(number: i64) -> CrlPlan {
    CrlPlan {
        number,
        signing_key: KEY.to_owned(),
        this_update: after(1),
        next_update: after(100),
        tbs: format!("tbs {number}").into_bytes(),
    }
}

/// As a revocation does.
async fn ask(store: &Store, seconds: u64) {
    let done = store.db.transact(vec![work::ask(KIND, ISSUER, after(seconds))]).await.unwrap();
    assert_eq!(done, Done::Committed);
}

async fn publish(store: &Store, number: i64) {
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    let lease = claim_one(store, KIND, NOW).await;
    assert!(store.plan_crl(&lease, crl_plan(number), &entry()).await.unwrap());
    let crl = format!("crl {number}").into_bytes();
    assert!(store.publish_crl(&lease, number, crl, after(2), &entry()).await.unwrap());
    store.settle_crl(lease, NOW).await.unwrap();
}

pub(super) async fn a_crl_is_planned_and_published_under_a_lease_alone(database: &Database) {
    let store = migrated(database).await;
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    let lost = claim_one(&store, KIND, NOW).await;
    assert!(!lost.was_asked_for());
    assert_eq!(store.planned_crl(ISSUER, KEY).await.unwrap(), None);
    let held = claim_one(&store, KIND, after(20)).await;
    assert!(!store.plan_crl(&lost, crl_plan(1), &entry()).await.unwrap());
    assert_eq!(number(&store, "SELECT COUNT(*) FROM crls").await, 0);
    assert!(store.plan_crl(&held, crl_plan(1), &entry()).await.unwrap());
    let planned = open(database).await.planned_crl(ISSUER, KEY).await.unwrap().unwrap();
    assert_eq!((planned.number, &planned.tbs[..]), (1, &b"tbs 1"[..]));
    assert_eq!((planned.this_update, planned.next_update), (after(1), after(100)));
    assert_eq!(store.planned_crl(ISSUER, "other").await.unwrap(), None);
    assert_eq!(store.published_crl(ISSUER, KEY).await.unwrap(), None, "not signed yet");

    assert!(!store.publish_crl(&lost, 1, b"lost".to_vec(), after(2), &entry()).await.unwrap());
    assert!(store.publish_crl(&held, 1, b"held".to_vec(), after(2), &entry()).await.unwrap());
    assert!(!store.publish_crl(&held, 1, b"again".to_vec(), after(3), &entry()).await.unwrap());
    assert!(!store.publish_crl(&held, 2, b"unplanned".to_vec(), after(3), &entry()).await.unwrap());
    let published = PublishedCrl {
        number: 1,
        this_update: after(1),
        next_update: after(100),
        signed_at: after(2),
    };
    assert_eq!(store.published_crl(ISSUER, KEY).await.unwrap(), Some(published));
    assert_eq!(store.published_crl(ISSUER, "other").await.unwrap(), None);
    assert_eq!(store.crl(ISSUER, 1).await.unwrap().as_deref(), Some(&b"held"[..]));
    assert_eq!(store.planned_crl(ISSUER, KEY).await.unwrap(), None, "it is signed");
    store.settle_crl(lost, NOW).await.unwrap();
    assert!(store.crl_is_due(ISSUER).await.unwrap(), "whoever lost the lease settles nothing");
    store.settle_crl(held, NOW).await.unwrap();
    assert!(!store.crl_is_due(ISSUER).await.unwrap());
}

pub(super) async fn numbers_go_up_whatever_becomes_of_the_crls(database: &Database) {
    let store = migrated(database).await;
    assert_eq!(store.highest_crl_number(ISSUER).await.unwrap(), 0);
    publish(&store, 1).await;
    assert_eq!(store.highest_crl_number(ISSUER).await.unwrap(), 1);
    // Planned and never signed, with another key: the number is gone all the same.
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    let lease = claim_one(&store, KIND, NOW).await;
    let other = CrlPlan { signing_key: "other".to_owned(), ..crl_plan(2) };
    assert!(store.plan_crl(&lease, other, &entry()).await.unwrap());
    assert_eq!(open(database).await.highest_crl_number(ISSUER).await.unwrap(), 2);
    assert!(store.plan_crl(&lease, crl_plan(2), &entry()).await.is_err(), "no number twice");
    assert_eq!(store.published_crl(ISSUER, KEY).await.unwrap().unwrap().number, 1);
    assert_eq!(store.highest_crl_number("other").await.unwrap(), 0);
}

pub(super) async fn a_crl_that_was_asked_for_meanwhile_is_due_again(database: &Database) {
    let stores = [migrated(database).await, open(database).await];
    ask(&stores[0], 0).await;
    ask(&stores[1], 0).await;
    let lease = claim_one(&stores[0], KIND, NOW).await;
    ask(&stores[1], 1).await;
    ask(&stores[0], 2).await;
    // What is under way goes on, and nobody else begins.
    assert!(claim(&stores[1], KIND, after(10), 10).await.is_empty());
    assert!(stores[0].plan_crl(&lease, crl_plan(1), &entry()).await.unwrap());
    stores[0].settle_crl(lease, after(3)).await.unwrap();
    assert!(claim(&stores[1], KIND, after(2), 10).await.is_empty());
    let again = claim_one(&stores[1], KIND, after(3)).await;
    assert_eq!((again.attempt(), again.was_asked_for()), (1, true));
    stores[1].settle_crl(again, after(4)).await.unwrap();
    assert!(!stores[0].crl_is_due(ISSUER).await.unwrap());
    // Asked for by many at once, it is done once.
    let asking: Vec<_> = (0..16)
        .map(|number: usize| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move { ask(&store, 5).await })
        })
        .collect();
    for one in asking {
        one.await.unwrap();
    }
    let lease = claim_one(&stores[0], KIND, after(5)).await;
    stores[0].settle_crl(lease, after(5)).await.unwrap();
    assert!(claim(&stores[0], KIND, after(1000), 10).await.is_empty());
}

pub(super) async fn a_scheduled_crl_is_on_the_list_once(database: &Database) {
    let store = migrated(database).await;
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    let lease = claim_one(&store, KIND, NOW).await;
    store.schedule_crl(ISSUER, after(1)).await.unwrap();
    assert!(!lease.was_asked_for());
    // The clock's asking is nothing that came to pass meanwhile.
    store.settle_crl(lease, after(1)).await.unwrap();
    assert!(claim(&store, KIND, after(1000), 10).await.is_empty());
}

pub(super) async fn crls_of_issuers_that_cannot_sign_are_left_to_others(database: &Database) {
    let store = migrated(database).await;
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    store.schedule_crl("other", NOW).await.unwrap();
    let left = Left { not_for: &["x", ISSUER], ..Left::default() };
    let claimed = store.claim(KIND, NOW, LEASE, 10, left, Entropy).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].subject(), "other");
    assert_eq!(claim_one(&store, KIND, NOW).await.subject(), ISSUER);
}

pub(super) async fn old_crls_keep_their_numbers_and_lose_their_bytes(database: &Database) {
    let store = migrated(database).await;
    // A key that signs no more keeps its last one.
    store.schedule_crl(ISSUER, NOW).await.unwrap();
    let lease = claim_one(&store, KIND, NOW).await;
    let other = CrlPlan { signing_key: "other".to_owned(), ..crl_plan(1) };
    assert!(store.plan_crl(&lease, other, &entry()).await.unwrap());
    assert!(store.publish_crl(&lease, 1, b"other".to_vec(), NOW, &entry()).await.unwrap());
    store.settle_crl(lease, NOW).await.unwrap();
    for number in 2..=14 {
        publish(&store, number).await;
    }
    assert_eq!(number(&store, "SELECT COUNT(*) FROM crls").await, 14);
    for gone in 2..=4 {
        assert_eq!(store.crl(ISSUER, gone).await.unwrap(), None, "{gone}");
    }
    for kept in [1, 5, 14] {
        assert!(store.crl(ISSUER, kept).await.unwrap().is_some(), "{kept}");
    }
    assert_eq!(store.highest_crl_number(ISSUER).await.unwrap(), 14);
}
