//! Authorizations that serve more than one order, and what an order keeps of the client's wishes.

use harness::Database;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, claim_one, conclude, entry, execute, failed,
    make_ready, number, order, plan, proved, with_account, with_order, with_ready_order,
};
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::order::OrderStatus;
use crate::clock::Timestamp;
use crate::store::db::values;
use crate::store::{
    NewAuthorization, NewChallenge, NewOrder, OrderedIdentifier, Registered, Store, WorkKind,
};

const LONG_AGO: Timestamp = Timestamp::from_unix_ms(0);

/// An order for `name` that uses an authorization which is there already.
fn using(id: &str, name: &str, authorization: &str) -> NewOrder {
    let identifiers = vec![OrderedIdentifier {
        identifier: Identifier::dns(name).unwrap(),
        authorization_id: authorization.to_owned(),
    }];
    NewOrder { identifiers, authorizations: Vec::new(), ..order(id, &[]) }
}

/// The ids of valid authorizations, as an order of `account_id` would find them.
async fn found(
    store: &Store,
    account_id: &str,
    names: &[&str],
    proved_after: Timestamp,
    until: Timestamp,
) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let found = store.valid_authorizations(CA, account_id, &names, proved_after, until).await;
    found.unwrap().into_iter().map(|authorization| authorization.id).collect()
}

pub(super) async fn only_authorizations_that_are_valid_and_last_are_found(database: &Database) {
    let names = ["a.test", "*.a.test", "b.test", "c.test", "d.test"];
    let store = with_order(database, &names).await;
    for index in 0..3 {
        conclude(&store, &format!("order-{index}-dns-01"), proved()).await;
    }
    conclude(&store, "order-3-dns-01", failed()).await;
    store.deactivate_authorization("order-2", NOW, &entry()).await.unwrap();

    let all = found(&store, ACCOUNT, &names, LONG_AGO, NOW).await;
    assert_eq!(all, ["order-0", "order-1"], "neither deactivated nor failed nor pending");
    assert_eq!(found(&store, ACCOUNT, &["a.test"], LONG_AGO, NOW).await, ["order-0"]);
    assert_eq!(found(&store, ACCOUNT, &["*.a.test"], LONG_AGO, NOW).await, ["order-1"]);
    assert!(
        found(&store, ACCOUNT, &["x.a.test", "test", "\"", "%"], LONG_AGO, NOW).await.is_empty()
    );
    assert_eq!(found(&store, ACCOUNT, &["a.test"], LONG_AGO, after(3600)).await, ["order-0"]);
    assert!(found(&store, ACCOUNT, &["a.test"], LONG_AGO, after(3601)).await.is_empty());
    assert!(found(&store, ACCOUNT, &["a.test"], NOW, NOW).await.is_empty(), "proved too early");
    assert!(found(&store, "other", &["a.test"], LONG_AGO, NOW).await.is_empty());
    let names = ["a.test".to_owned()];
    let elsewhere = store.valid_authorizations("internal", ACCOUNT, &names, LONG_AGO, NOW).await;
    assert!(elsewhere.unwrap().is_empty());
}

pub(super) async fn an_order_with_valid_authorizations_is_ready_at_once(database: &Database) {
    let store = with_ready_order(database).await;
    assert!(store.create_order(&using("second", "a.test", "order-0"), &entry()).await.unwrap());
    let second = store.order(CA, "second").await.unwrap().unwrap();
    assert_eq!(second.status(NOW), OrderStatus::Ready);
    assert_eq!(second.identifiers, [Identifier::dns("a.test").unwrap()]);
    assert!(store.plan_issuance(plan(&store, "second").await, &entry()).await.unwrap());
    // What one order does is nothing to the other.
    let first = store.order(CA, ORDER).await.unwrap().unwrap();
    assert_eq!(first.status(NOW), OrderStatus::Ready);
}

pub(super) async fn an_order_that_names_a_deactivated_or_foreign_authorization_leaves_nothing(
    database: &Database,
) {
    let store = with_ready_order(database).await;
    let other = account("other", CA);
    assert_eq!(store.register_account(other, &entry()).await.unwrap(), Registered::Created);
    let foreign =
        NewOrder { account_id: "other".to_owned(), ..using("foreign", "a.test", "order-0") };
    assert!(!store.create_order(&foreign, &entry()).await.unwrap());
    let elsewhere =
        NewOrder { ca: "internal".to_owned(), ..using("elsewhere", "a.test", "order-0") };
    assert!(!store.create_order(&elsewhere, &entry()).await.unwrap());
    assert!(!store.create_order(&using("unknown", "a.test", "order-7"), &entry()).await.unwrap());
    store.deactivate_authorization("order-0", NOW, &entry()).await.unwrap();
    let mut mixed = using("late", "a.test", "order-0");
    mixed.authorizations = order("late", &["b.test"]).authorizations;
    mixed.identifiers.extend(order("late", &["b.test"]).identifiers);
    assert!(!store.create_order(&mixed, &entry()).await.unwrap());
    assert_eq!(number(&store, "SELECT COUNT(*) FROM orders").await, 1);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM authorizations").await, 1);
}

pub(super) async fn nothing_is_planned_with_an_authorization_that_has_expired(database: &Database) {
    let store = with_ready_order(database).await;
    let mut late = plan(&store, ORDER).await;
    late.now = after(3600);
    assert!(!store.plan_issuance(late, &entry()).await.unwrap());
    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
}

pub(super) async fn what_an_order_asks_for_is_given_back(database: &Database) {
    let store = with_account(database).await;
    let asked = NewOrder {
        not_before: Some(after(60)),
        not_after: Some(after(600)),
        profile: Some("short".to_owned()),
        replaces: Some("AQ.AQ".to_owned()),
        ..order(ORDER, &["a.test"])
    };
    assert!(store.create_order(&asked, &entry()).await.unwrap());
    make_ready(&store, ORDER).await;
    let kept = store.order(CA, ORDER).await.unwrap().unwrap();
    assert_eq!((kept.not_before, kept.not_after), (asked.not_before, asked.not_after));
    assert_eq!((&kept.profile, &kept.replaces), (&asked.profile, &asked.replaces));
    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
    let planned = store.planned_certificate(ORDER).await.unwrap().unwrap();
    assert_eq!((planned.not_before, planned.not_after), (asked.not_before, asked.not_after));
    assert_eq!(planned.profile.as_deref(), Some("profile of order"));
}

/// A new authorization for `b.test` that covers the names below it.
fn subdomains() -> NewAuthorization {
    let challenge = NewChallenge {
        id: "b-dns-01".to_owned(),
        kind: ChallengeType::Dns01,
        token: "t".to_owned(),
    };
    NewAuthorization {
        id: "b".to_owned(),
        identifier: Identifier::dns("b.test").unwrap(),
        subdomains: true,
        expires_at: after(3600),
        challenges: vec![challenge],
    }
}

pub(super) async fn one_authorization_stands_for_several_names_below_it(database: &Database) {
    let store = with_account(database).await;
    let names = ["1.b.test", "2.b.test", "b.test"];
    let place = |name: &&str| OrderedIdentifier {
        identifier: Identifier::dns(name).unwrap(),
        authorization_id: "b".to_owned(),
    };
    let asked = NewOrder {
        identifiers: names.iter().map(place).collect(),
        authorizations: vec![subdomains()],
        ..order(ORDER, &[])
    };
    assert!(store.create_order(&asked, &entry()).await.unwrap());
    conclude(&store, "b-dns-01", proved()).await;
    let kept = store.order(CA, ORDER).await.unwrap().unwrap();
    assert_eq!(kept.status(NOW), OrderStatus::Ready);
    assert_eq!(kept.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
    assert!(kept.authorizations.iter().all(|one| one.id == "b" && one.subdomains));
    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
    let planned = store.planned_certificate(ORDER).await.unwrap().unwrap();
    assert_eq!(planned.identifiers, kept.identifiers);
    // Used again, by the names alone.
    assert!(store.create_order(&using("again", "3.b.test", "b"), &entry()).await.unwrap());
    let again = store.order(CA, "again").await.unwrap().unwrap();
    assert_eq!(again.identifiers[0].to_string(), "3.b.test");
    // Whoever alters the database gains no name by that.
    let alter = "UPDATE order_authorizations SET identifier = $1 WHERE order_id = 'again'";
    execute(&store, alter, values!["c.test"]).await;
    assert!(store.order(CA, "again").await.is_err());
}

/// Two accounts and two CAs place orders with whatever authorizations there are.
pub(super) async fn no_authorization_is_ever_shared_across_accounts_or_cas(database: &Database) {
    let store = with_account(database).await;
    assert_eq!(
        store.register_account(account("other", CA), &entry()).await.unwrap(),
        Registered::Created
    );
    let third = account("third", "internal");
    assert_eq!(store.register_account(third, &entry()).await.unwrap(), Registered::Created);
    let owners = [(ACCOUNT, CA), ("other", CA), ("third", "internal")];
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec((0..3_usize, 0..4_usize, any::<prop::sample::Index>()), 60);
    let steps = steps.new_tree(&mut runner).unwrap().current();
    let mut kept: Vec<(usize, String)> = Vec::new();
    let (mut refused, mut shared) = (0, 0);
    for (step, (owner, kind, choice)) in steps.into_iter().enumerate() {
        let (id, (account_id, ca)) = (format!("o{step}"), owners[owner]);
        let new = NewOrder {
            account_id: account_id.to_owned(),
            ca: ca.to_owned(),
            ..order(&id, &["a.test"])
        };
        if kind == 0 || kept.is_empty() {
            assert!(store.create_order(&new, &entry()).await.unwrap());
            kept.push((owner, format!("{id}-0")));
            continue;
        }
        let (of, authorization) = choice.get(&kept).clone();
        let using = using(&id, "a.test", &authorization);
        let new = NewOrder { account_id: new.account_id, ca: new.ca, ..using };
        assert_eq!(store.create_order(&new, &entry()).await.unwrap(), of == owner);
        *(if of == owner { &mut shared } else { &mut refused }) += 1;
    }
    assert!(refused > 5 && shared > 5, "{refused} refused, {shared} shared");
    let mixed = "SELECT COUNT(*) FROM order_authorizations p JOIN orders o ON o.id = p.order_id \
                 JOIN authorizations a ON a.id = p.authorization_id \
                 WHERE a.account_id <> o.account_id OR a.ca <> o.ca";
    assert_eq!(number(&store, mixed).await, 0);
}

pub(super) async fn only_an_order_that_is_valid_has_replaced_a_certificate(database: &Database) {
    let store = with_account(database).await;
    for (id, ca) in [("waits", CA), ("valid", CA)] {
        let replaces = Some("AQ.AQ".to_owned());
        let asked = NewOrder { ca: ca.to_owned(), replaces, ..order(id, &["a.test"]) };
        assert!(store.create_order(&asked, &entry()).await.unwrap());
    }
    make_ready(&store, "valid").await;
    assert!(store.plan_issuance(plan(&store, "valid").await, &entry()).await.unwrap());
    assert!(!store.is_replaced(CA, "AQ.AQ").await.unwrap());
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    assert!(store.is_replaced(CA, "AQ.AQ").await.unwrap());
    assert!(!store.is_replaced(CA, "AQ.Ag").await.unwrap());
    assert!(!store.is_replaced("internal", "AQ.AQ").await.unwrap());
}

pub(super) async fn orders_are_listed_newest_first_by_ca_account_and_id(database: &Database) {
    let store = with_account(database).await;
    for (id, age) in [("first", 1), ("second", 2), ("third", 3)] {
        let asked = NewOrder { created_at: after(age), ..order(id, &["a.test"]) };
        assert!(store.create_order(&asked, &entry()).await.unwrap());
    }
    let list = async |ca, account, id, limit| -> Vec<String> {
        let listed = store.listed_orders(ca, account, id, limit).await.unwrap();
        listed.into_iter().map(|order| order.id).collect()
    };
    assert_eq!(list(None, None, None, 10).await, ["third", "second", "first"]);
    assert_eq!(list(Some(CA), Some(ACCOUNT), None, 2).await, ["third", "second"]);
    assert_eq!(list(None, None, Some("first"), 1).await, ["first"]);
    assert!(list(Some("internal"), None, None, 10).await.is_empty());
    assert!(list(None, Some("other"), None, 10).await.is_empty());
}
