//! What the limits count, and whose turn it is.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, LEASE, NOW, account, after, claim, conclude, entry, execute, failed, make_ready,
    migrated, number, open, order, plan, proved, with_account, with_order,
};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::db::values;
use crate::store::work::enqueue;
use crate::store::{
    CaaCheck, Caps, Left, MadeFrom, NewAccount, NewOrder, Registered, Store, Swept, WorkKind,
};

fn capped(id: &str, names: &[&str], caps: Caps, at: Timestamp) -> NewOrder {
    let mut new = NewOrder { caps, created_at: at, ..order(id, names) };
    new.expires_at = at.plus(Duration::from_secs(7200));
    for authorization in &mut new.authorizations {
        authorization.expires_at = new.expires_at;
    }
    new
}

async fn place(store: &Store, id: &str, names: &[&str], caps: Caps, at: Timestamp) -> bool {
    store.create_order(&capped(id, names, caps, at), &entry()).await.unwrap()
}

pub(super) async fn an_account_places_so_many_orders_in_an_hour(database: &Database) {
    let store = with_account(database).await;
    let caps = Caps { orders: 3, ..Caps::default() };
    // All in one instant, whatever their ids.
    for id in ["m", "z", "a"] {
        assert!(place(&store, id, &["a.test"], caps, NOW).await, "{id}");
    }
    assert!(!place(&store, "b", &["a.test"], caps, NOW).await);
    assert!(!place(&store, "c", &["a.test"], caps, after(3599)).await);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM orders").await, 3);
    let usage = store.usage(ACCOUNT, &[], after(3599)).await.unwrap();
    assert_eq!((usage.orders, usage.first_order_at), (3, Some(NOW)));
    assert!(place(&store, "d", &["a.test"], caps, after(3600)).await);
    assert_eq!(store.usage(ACCOUNT, &[], after(3600)).await.unwrap().orders, 1);
    // Others are not counted with it.
    store.register_account(account("other", CA), &entry()).await.unwrap();
    let theirs = NewOrder { account_id: "other".to_owned(), ..capped("e", &[], caps, NOW) };
    assert!(store.create_order(&theirs, &entry()).await.unwrap());
    assert_eq!(store.usage("nobody", &[], NOW).await.unwrap().orders, 0);
}

pub(super) async fn orders_that_can_still_become_valid_are_pending(database: &Database) {
    let store = with_account(database).await;
    let caps = Caps { pending_orders: 2, ..Caps::default() };
    assert!(place(&store, "one", &["a.test", "b.test"], caps, NOW).await);
    assert!(place(&store, "two", &["a.test"], caps, NOW).await);
    assert!(!place(&store, "three", &["a.test"], caps, NOW).await);
    assert_eq!(store.usage(ACCOUNT, &[], NOW).await.unwrap().pending_orders, 2);
    // One of its names failed; and another's authorization is given up.
    conclude(&store, "one-0-dns-01", failed()).await;
    assert!(place(&store, "three", &["a.test"], caps, NOW).await);
    assert!(!place(&store, "four", &["a.test"], caps, NOW).await);
    store.deactivate_authorization("two-0", NOW, &entry()).await.unwrap();
    assert!(place(&store, "four", &["a.test"], caps, NOW).await);
    // Ready ones count, and issued ones do not.
    make_ready(&store, "three").await;
    assert!(!place(&store, "five", &["a.test"], caps, NOW).await);
    let planned = plan(&store, "three").await;
    assert!(store.plan_issuance(planned, &entry()).await.unwrap());
    let lease = claim(&store, WorkKind::Issuance, NOW, 1).await.remove(0);
    assert!(store.complete_issuance(lease, b"certificate".to_vec(), NOW, &entry()).await.unwrap());
    assert!(place(&store, "five", &["a.test"], caps, NOW).await);
    // After their end none does.
    assert!(!place(&store, "six", &["a.test"], caps, after(7199)).await);
    assert!(place(&store, "six", &["a.test"], caps, after(7200)).await);
}

pub(super) async fn pending_authorizations_are_counted_with_the_new_ones(database: &Database) {
    let store = with_account(database).await;
    let caps = Caps { pending_authorizations: 3, ..Caps::default() };
    assert!(place(&store, "one", &["a.test", "b.test"], caps, NOW).await);
    assert!(!place(&store, "two", &["a.test", "b.test"], caps, NOW).await);
    assert_eq!(store.usage(ACCOUNT, &[], NOW).await.unwrap().pending_authorizations, 2);
    assert!(place(&store, "two", &["a.test"], caps, NOW).await);
    let asked = order("asked", &["c.test"]).authorizations.remove(0);
    assert!(!store.create_authorization(CA, ACCOUNT, &asked, caps, &entry()).await.unwrap());
    assert_eq!(number(&store, "SELECT COUNT(*) FROM authorizations").await, 3);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM challenges").await, 9);
    // An order that has no new ones may be placed.
    conclude(&store, "one-0-dns-01", proved()).await;
    let asked = order("asked", &["c.test"]).authorizations.remove(0);
    assert!(store.create_authorization(CA, ACCOUNT, &asked, caps, &entry()).await.unwrap());
    let mut using = capped("three", &["a.test"], caps, NOW);
    using.authorizations.clear();
    using.identifiers[0].authorization_id = "one-0".to_owned();
    assert!(store.create_order(&using, &entry()).await.unwrap());
    assert!(!place(&store, "four", &["d.test"], caps, NOW).await);
    assert!(place(&store, "four", &["d.test"], caps, after(7200)).await);
}

pub(super) async fn failures_are_counted_by_account_and_name_for_an_hour(database: &Database) {
    let store = with_account(database).await;
    let caps = Caps { failed_validations: 2, ..Caps::default() };
    for id in ["one", "two"] {
        assert!(place(&store, id, &["a.test", "b.test"], caps, NOW).await);
        conclude(&store, &format!("{id}-0-dns-01"), failed()).await;
    }
    assert!(!place(&store, "three", &["b.test", "a.test"], caps, NOW).await);
    assert!(place(&store, "three", &["b.test", "c.test"], caps, NOW).await);
    let names = ["a.test", "b.test"].map(str::to_owned);
    let usage = store.usage(ACCOUNT, &names, NOW).await.unwrap();
    let seen: Vec<_> = usage
        .failed
        .iter()
        .map(|failed| (failed.identifier.as_str(), failed.times, failed.first_at))
        .collect();
    assert_eq!(seen, [("a.test", 2, NOW)]);
    let asked = order("asked", &["a.test"]).authorizations.remove(0);
    let at = |at| Entry::new(Kind::AuthorizationCreated, Actor::Kipuka, "asked", at);
    let create = async |entry: Entry| {
        store.create_authorization(CA, ACCOUNT, &asked, caps, &entry).await.unwrap()
    };
    assert!(!create(at(NOW)).await);
    assert!(create(at(after(3600))).await);
    assert!(place(&store, "four", &["a.test"], caps, after(3600)).await);
}

pub(super) async fn accounts_are_counted_by_the_network_they_are_made_from(database: &Database) {
    let store = migrated(database).await;
    let register = async |id: &str, network: Option<&str>, at: u64| {
        let account = crate::acme::account::Account { created_at: after(at), ..account(id, CA) };
        let from = network.map(|network| MadeFrom { network: network.to_owned(), cap: 2 });
        store.register_account(NewAccount { account, from }, &entry()).await.unwrap()
    };
    let here = Some("192.0.2.1/32");
    assert_eq!(register("one", here, 0).await, Registered::Created);
    assert_eq!(register("two", here, 10).await, Registered::Created);
    assert_eq!(register("three", here, 20).await, Registered::TooMany);
    assert_eq!(store.accounts_made_from("192.0.2.1/32", after(20)).await.unwrap(), (2, Some(NOW)));
    // Whoever has an account finds it all the same.
    assert!(matches!(register("one", here, 20).await, Registered::Exists(_)));
    assert_eq!(register("three", Some("192.0.2.2/32"), 20).await, Registered::Created);
    assert_eq!(register("four", None, 20).await, Registered::Created);
    assert_eq!(register("five", here, 3600).await, Registered::Created);
    assert_eq!(register("six", here, 3600).await, Registered::TooMany);
}

pub(super) async fn nobody_waits_for_all_that_another_has_asked_for(database: &Database) {
    const KIND: WorkKind = WorkKind::Validation;
    let store = migrated(database).await;
    let many = (0..100).map(|piece| enqueue(KIND, &format!("many-{piece:03}"), "many", NOW));
    store.db.transact(many.collect()).await.unwrap();
    let few = (0..3).map(|piece| enqueue(KIND, &format!("few-{piece}"), "few", after(1)));
    store.db.transact(few.collect()).await.unwrap();
    let subjects = async |limit, left: Left<'_>| -> BTreeSet<String> {
        let leases = store.claim(KIND, after(2), LEASE, limit, left, Entropy).await.unwrap();
        leases.iter().map(|lease| lease.subject().to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    // Behind the first that anybody waits for, and from then on side by side.
    let first = subjects(5, Left::default()).await;
    assert_eq!(first, set(&["many-000", "many-001", "few-0", "many-002", "few-1"]));
    // Who comes now is not behind the others' pieces either.
    store.db.transact(vec![enqueue(KIND, "late", "late", after(2))]).await.unwrap();
    let second = subjects(2, Left::default()).await;
    assert!(second.contains("late"), "{second:?}");
    let left = Left { not_now: &["many"], ..Left::default() };
    assert_eq!(subjects(50, left).await, set(&["few-2"]));
    assert!(subjects(50, left).await.is_empty());
    assert_eq!(subjects(200, Left::default()).await.len(), 100 + 3 + 1 - 5 - 2 - 1);
}

pub(super) async fn what_was_over_long_ago_is_forgotten(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    // One that failed, one that was issued with a new name and the earlier one's, one that was planned.
    conclude(&store, "order-0-dns-01", failed()).await;
    for id in ["issued", "planned"] {
        store.create_order(&order(id, &["b.test"]), &entry()).await.unwrap();
        make_ready(&store, id).await;
        let planned = plan(&store, id).await;
        assert!(store.plan_issuance(planned, &entry()).await.unwrap());
        if id == "issued" {
            let lease = claim(&store, WorkKind::Issuance, NOW, 1).await.remove(0);
            assert!(
                store
                    .complete_issuance(lease, b"certificate".to_vec(), NOW, &entry())
                    .await
                    .unwrap()
            );
        }
    }
    let asked = order("asked", &["c.test"]).authorizations.remove(0);
    store.create_authorization(CA, ACCOUNT, &asked, Caps::default(), &entry()).await.unwrap();
    let check = |id: &str, checked_at| CaaCheck {
        id: id.to_owned(),
        account_id: ACCOUNT.to_owned(),
        identifier: crate::acme::identifier::Identifier::dns("a.test").unwrap(),
        method: crate::acme::challenge::ChallengeType::Dns01,
        checked_at,
        permits: true,
        evidence: "seen".to_owned(),
    };
    for (id, at) in [("old", NOW), ("new", after(10))] {
        store.keep_caa_check(&check(id, at), &entry()).await.unwrap();
    }
    let orders = "SELECT COUNT(*) FROM orders";
    let authorizations = "SELECT COUNT(*) FROM authorizations";
    let start = Swept::default();
    // Before their end nothing goes.
    assert_eq!(store.forget_orders(&start, after(3600), after(3600)).await.unwrap(), None);
    assert_eq!(store.forget_authorizations(&start, after(3600)).await.unwrap(), None);
    assert_eq!((number(&store, orders).await, number(&store, authorizations).await), (3, 4));
    // Then what led to nothing, and later what led to a certificate.
    store.forget_orders(&start, after(3601), NOW).await.unwrap();
    store.forget_authorizations(&start, after(3601)).await.unwrap();
    assert_eq!((number(&store, orders).await, number(&store, authorizations).await), (2, 2));
    store.forget_orders(&start, after(3601), after(3601)).await.unwrap();
    store.forget_authorizations(&start, after(3601)).await.unwrap();
    assert_eq!((number(&store, orders).await, number(&store, authorizations).await), (1, 1));
    assert!(store.order(CA, "planned").await.unwrap().is_some(), "the token may have signed it");
    assert_eq!(number(&store, "SELECT COUNT(*) FROM challenges").await, 3);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM certificates").await, 2);
    assert!(store.certificate(CA, "certificate of issued").await.unwrap().is_some());
    assert!(!store.forget_caa_checks(after(10)).await.unwrap());
    assert_eq!(number(&store, "SELECT COUNT(*) FROM caa_checks").await, 1);
}

pub(super) async fn forgetting_goes_on_where_it_ended(database: &Database) {
    let store = with_account(database).await;
    for number in 0..12 {
        // Every third stays, as it has a planned certificate.
        let id = format!("order-{number:02}");
        store.create_order(&order(&id, &["a.test"]), &entry()).await.unwrap();
        if number % 3 == 0 {
            make_ready(&store, &id).await;
            let planned = plan(&store, &id).await;
            assert!(store.plan_issuance(planned, &entry()).await.unwrap());
        }
    }
    let mut from = Swept::default();
    let mut steps = 1;
    while let Some(next) = store.forget_orders_in_steps(&from, after(7200), NOW, 5).await.unwrap() {
        assert_ne!(next, from);
        from = next;
        steps += 1;
    }
    assert_eq!((steps, number(&store, "SELECT COUNT(*) FROM orders").await), (3, 4));
}

/// How SQLite goes about each of these statements: by an index, and not row by row.
#[tokio::test]
async fn no_limit_is_counted_by_reading_a_whole_table() {
    let database = Database::sqlite();
    let store = migrated(&database).await;
    for sql in crate::store::LIMITED {
        let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
        let rows = store.db.read(explain, Vec::new()).await.unwrap();
        let plan: Vec<_> = rows.iter().map(|row| row.text(3).unwrap()).collect();
        for step in &plan {
            let table = step.strip_prefix("SCAN ").unwrap_or_default();
            // Of certificates, which belong to accounts: rows that a new one would make right, looked
            // for only where something is wrong. The others are made by the statement itself.
            let harmless = ["", "certificates", "json_each", "CONSTANT", "q", "b", "n", "i", "t"];
            let by_index = table.contains("USING") && table.contains("INDEX");
            let name = table.split(' ').next().unwrap_or_default();
            assert!(harmless.contains(&name) || by_index, "{step}\n{sql}\n{plan:#?}");
        }
    }
}

#[tokio::test]
async fn entries_are_sealed_by_their_ids_whatever_the_statistics_say() {
    let database = Database::sqlite();
    let store = migrated(&database).await;
    store.note_alone(&entry()).await.unwrap();
    execute(&store, "ANALYZE", values![]).await;
    let sql = crate::store::ledger::KEEP_ON_SQLITE;
    let explain: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
    let rows = open(&database).await.db.read(explain, Vec::new()).await.unwrap();
    let plan: Vec<_> = rows.iter().map(|row| row.text(3).unwrap()).collect();
    assert!(plan.iter().any(|step| step.starts_with("SEARCH p USING")), "{plan:#?}");
}

/// As the release before wrote them.
pub(super) async fn rows_of_the_release_before_are_counted_as_far_as_they_can_be(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    execute(&store, "UPDATE orders SET number = 0", values![]).await;
    let caps = Caps { orders: 2, pending_orders: 10, ..Caps::default() };
    assert!(place(&store, "second", &["a.test"], caps, after(1)).await);
    assert!(!place(&store, "third", &["a.test"], caps, after(2)).await);
}
