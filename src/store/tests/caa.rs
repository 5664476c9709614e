//! What CAA records said.

use harness::Database;

use super::fixture::{
    ACCOUNT, ACCOUNT_URL, CA, NOW, ORDER, account, after, conclude, entry, order, proved,
    with_order,
};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::clock::Timestamp;
use crate::store::{CaaCheck, Store};

const HTTP: &str = "order-0-http-01";

async fn keep(store: &Store, checked_at: Timestamp, permits: bool, bend: impl Fn(&mut CaaCheck)) {
    let mut check = CaaCheck {
        id: format!("{checked_at:?} {permits} {}", store.names_to_sign(ORDER).await.unwrap().len()),
        account_id: ACCOUNT.to_owned(),
        identifier: Identifier::dns("a.test").unwrap(),
        method: ChallengeType::Http01,
        checked_at,
        permits,
        evidence: "seen".to_owned(),
    };
    bend(&mut check);
    store.keep_caa_check(&check, &entry()).await.unwrap();
}

async fn permitted_at(store: &Store) -> Option<Timestamp> {
    let names = store.names_to_sign(ORDER).await.unwrap();
    assert_eq!(names.len(), 1);
    let name = &names[0];
    assert_eq!(name.identifier.to_string(), "a.test");
    assert_eq!((name.method, &*name.token), (ChallengeType::Http01, "token of order-0-http-01"));
    assert_eq!(name.account_url.as_deref(), Some(ACCOUNT_URL));
    assert_eq!(name.account_thumbprint, "thumbprint of account");
    name.permitted_at
}

pub(super) async fn the_newest_permission_counts_unless_a_refusal_came_after(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    conclude(&store, HTTP, proved()).await;
    assert_eq!(permitted_at(&store).await, None);
    for (at, permits, expected) in [
        (1, false, None),
        (2, true, Some(2)),
        (3, true, Some(3)),
        (4, false, None),
        (5, true, Some(5)),
    ] {
        keep(&store, after(at), permits, |_| {}).await;
        assert_eq!(permitted_at(&store).await, expected.map(after), "{at}");
    }
}

pub(super) async fn a_permission_is_of_one_account_one_name_and_one_method(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    conclude(&store, HTTP, proved()).await;
    store.register_account(account("other", CA), &entry()).await.unwrap();
    store.create_order(&order("second", &["a.test"]), &entry()).await.unwrap();
    keep(&store, after(1), true, |check| check.account_id = "other".to_owned()).await;
    let wildcard = Identifier::dns("*.a.test").unwrap();
    keep(&store, after(2), true, |check| check.identifier = wildcard.clone()).await;
    keep(&store, after(3), true, |check| check.method = ChallengeType::Dns01).await;
    assert_eq!(permitted_at(&store).await, None);
    keep(&store, NOW, true, |_| {}).await;
    assert_eq!(permitted_at(&store).await, Some(NOW));
}
