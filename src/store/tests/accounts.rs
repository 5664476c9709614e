//! Accounts, nonces, shared keys.

use std::collections::BTreeSet;

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, begin, claim_one, conclude, entry, execute, failed,
    lease_validation, make_ready, migrated, number, open, order, plan, proved, with_account,
    with_order, with_plan,
};
use crate::acme::account::{Account, Agreement};
use crate::acme::nonce::Nonce;
use crate::acme::order::OrderStatus;
use crate::acme::problem::ProblemType;
use crate::entropy::Entropy;
use crate::store::db::values;
use crate::store::{KeyChanged, NewOrder, Registered, Store, WorkKind};

pub(super) async fn of_concurrent_registrations_of_one_key_one_creates_the_account(
    database: &Database,
) {
    let stores = [migrated(database).await, open(database).await];
    let registrations = (0..16).map(|number| {
        let store = stores[number % 2].clone();
        let id = format!("account-{number}");
        let account = Account { thumbprint: "one key".to_owned(), ..account(&id, CA) };
        tokio::spawn(async move { (id, store.register_account(account, &entry()).await.unwrap()) })
    });
    let mut created = Vec::new();
    let mut found = BTreeSet::new();
    for registration in registrations.collect::<Vec<_>>() {
        match registration.await.unwrap() {
            (id, Registered::Created) => created.push(id),
            (_, Registered::Exists(account)) => {
                found.insert(account.id);
            }
            (_, Registered::TooMany) => unreachable!("nobody counts these"),
            (_, Registered::NotBound) => unreachable!("nothing binds these"),
        }
    }
    assert_eq!(created.len(), 1);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), created);
    assert_eq!(number(&stores[0], "SELECT COUNT(*) FROM accounts").await, 1);
}

pub(super) async fn a_key_has_one_account_with_each_ca(database: &Database) {
    let store = with_account(database).await;
    let elsewhere = Account { id: "elsewhere".to_owned(), ..account(ACCOUNT, "internal") };
    assert_eq!(
        store.register_account(elsewhere.clone(), &entry()).await.unwrap(),
        Registered::Created
    );
    let key = &elsewhere.thumbprint;
    assert_eq!(store.account_by_key(CA, key).await.unwrap().unwrap().id, ACCOUNT);
    assert_eq!(store.account_by_key("internal", key).await.unwrap().unwrap(), elsewhere);
}

pub(super) async fn an_account_is_invisible_to_another_ca(database: &Database) {
    let store = with_account(database).await;
    let known = account(ACCOUNT, CA);
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().as_ref(), Some(&known));
    assert_eq!(store.account_by_key(CA, &known.thumbprint).await.unwrap().as_ref(), Some(&known));
    assert_eq!(store.account("internal", ACCOUNT).await.unwrap(), None);
    assert_eq!(store.account_by_key("internal", &known.thumbprint).await.unwrap(), None);
    assert_eq!(store.account(CA, "nobody").await.unwrap(), None);
}

pub(super) async fn an_update_keeps_what_is_not_given(database: &Database) {
    let store = with_account(database).await;
    let mut expected = account(ACCOUNT, CA);

    store.update_account(ACCOUNT, None, None, &entry()).await.unwrap();
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    let agreement = Agreement { at: after(1), to: Some("https://terms.test/1".to_owned()) };
    store.update_account(ACCOUNT, None, Some(&agreement), &entry()).await.unwrap();
    expected.terms = Some(agreement);
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    let contact = vec!["mailto:new@a.test".to_owned()];
    store.update_account(ACCOUNT, Some(&contact), None, &entry()).await.unwrap();
    expected.contact = contact;
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    store.update_account(ACCOUNT, Some(&[]), None, &entry()).await.unwrap();
    expected.contact.clear();
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);
}

pub(super) async fn an_account_is_deactivated_once_and_not_updated_after(database: &Database) {
    let store = with_account(database).await;
    assert!(store.deactivate_account(ACCOUNT, after(1), &entry()).await.unwrap());
    assert!(!store.deactivate_account(ACCOUNT, after(2), &entry()).await.unwrap());
    let agreement = Agreement { at: after(3), to: None };
    store.update_account(ACCOUNT, Some(&[]), Some(&agreement), &entry()).await.unwrap();
    let expected = Account { deactivated_at: Some(after(1)), ..account(ACCOUNT, CA) };
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);
    // Its key stays taken.
    let again = Account { id: "again".to_owned(), ..account(ACCOUNT, CA) };
    assert_eq!(
        store.register_account(again, &entry()).await.unwrap(),
        Registered::Exists(Box::new(expected))
    );
}

pub(super) async fn a_key_is_changed_once_for_each_key_it_had(database: &Database) {
    let store = with_account(database).await;
    let before = account(ACCOUNT, CA);
    assert_eq!(
        store.change_key(&before, "jwk 2", "two", &entry()).await.unwrap(),
        KeyChanged::Done
    );
    let after_it =
        Account { jwk: "jwk 2".to_owned(), thumbprint: "two".to_owned(), ..before.clone() };
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), after_it);
    assert_eq!(store.account_by_key(CA, "two").await.unwrap().unwrap(), after_it);
    assert_eq!(store.account_by_key(CA, &before.thumbprint).await.unwrap(), None);
    // Whoever still has the old one is late.
    assert_eq!(
        store.change_key(&before, "jwk 3", "three", &entry()).await.unwrap(),
        KeyChanged::Stale
    );
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), after_it);
    // The old key is free again.
    let other = Account { id: "other".to_owned(), ..before };
    assert_eq!(store.register_account(other, &entry()).await.unwrap(), Registered::Created);
}

pub(super) async fn a_key_that_has_an_account_is_not_taken_from_it(database: &Database) {
    let store = with_account(database).await;
    let (one, other) = (account(ACCOUNT, CA), account("other", CA));
    assert_eq!(store.register_account(other.clone(), &entry()).await.unwrap(), Registered::Created);
    for holder in [&one, &other] {
        let changed =
            store.change_key(&one, &holder.jwk, &holder.thumbprint, &entry()).await.unwrap();
        assert_eq!(changed, KeyChanged::Taken(holder.id.clone()));
    }
    // Nor where the account is deactivated …
    assert!(store.deactivate_account("other", NOW, &entry()).await.unwrap());
    let changed = store.change_key(&one, &other.jwk, &other.thumbprint, &entry()).await.unwrap();
    assert!(matches!(changed, KeyChanged::Taken(_)), "{changed:?}");
    assert_eq!(store.change_key(&other, "new", "new", &entry()).await.unwrap(), KeyChanged::Stale);
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), one);
    // … but another CA's accounts are of no concern.
    let elsewhere = account("elsewhere", "internal");
    assert_eq!(
        store.register_account(elsewhere.clone(), &entry()).await.unwrap(),
        Registered::Created
    );
    let changed =
        store.change_key(&one, &elsewhere.jwk, &elsewhere.thumbprint, &entry()).await.unwrap();
    assert_eq!(changed, KeyChanged::Done);
}

pub(super) async fn of_concurrent_changes_to_one_key_one_is_done(database: &Database) {
    let stores = [migrated(database).await, open(database).await];
    for id in 0..8 {
        let account = account(&format!("account-{id}"), CA);
        assert_eq!(
            stores[0].register_account(account, &entry()).await.unwrap(),
            Registered::Created
        );
    }
    let changes = (0..8).map(|id| {
        let (store, account) = (stores[id % 2].clone(), account(&format!("account-{id}"), CA));
        tokio::spawn(
            async move { store.change_key(&account, "new", "new", &entry()).await.unwrap() },
        )
    });
    let mut done = 0;
    for change in changes.collect::<Vec<_>>() {
        match change.await.unwrap() {
            KeyChanged::Done => done += 1,
            KeyChanged::Taken(holder) => assert!(holder.starts_with("account-")),
            KeyChanged::Stale => panic!("the key is somebody's"),
        }
    }
    assert_eq!(done, 1);
}

pub(super) async fn a_nonce_is_spent_for_an_account_with_the_key_it_has_now(database: &Database) {
    let store = with_account(database).await;
    let before = account(ACCOUNT, CA);
    let [first, second, third] = std::array::from_fn(|_| nonce(&store));
    assert!(store.spend_nonce_for(first.clone(), &before).await.unwrap());
    assert!(!store.spend_nonce_for(first, &before).await.unwrap());
    assert_eq!(store.change_key(&before, "jwk", "new", &entry()).await.unwrap(), KeyChanged::Done);
    assert!(!store.spend_nonce_for(second.clone(), &before).await.unwrap());
    let now = Account { thumbprint: "new".to_owned(), ..before };
    assert!(store.spend_nonce_for(second, &now).await.unwrap());
    assert!(store.deactivate_account(ACCOUNT, NOW, &entry()).await.unwrap());
    assert!(!store.spend_nonce_for(third.clone(), &now).await.unwrap());
    assert!(store.spend_nonce(third).await.unwrap(), "it was not spent");
}

pub(super) async fn a_deactivated_account_leaves_no_work_and_no_status_that_could_go_on(
    database: &Database,
) {
    let store = with_plan(database).await;
    let names = ["b.test", "c.test", "d.test"];
    store.create_order(&order("pending", &names), &entry()).await.unwrap();
    conclude(&store, "pending-0-dns-01", proved()).await;
    conclude(&store, "pending-2-dns-01", failed()).await;
    let validation = lease_validation(&store, "pending-1-dns-01").await;
    store.create_order(&order("ready", &["e.test"]), &entry()).await.unwrap();
    make_ready(&store, "ready").await;
    let issuance = claim_one(&store, WorkKind::Issuance, NOW).await;
    // Another account's work stays.
    let other = account("other", CA);
    assert_eq!(store.register_account(other, &entry()).await.unwrap(), Registered::Created);
    let theirs = NewOrder { account_id: "other".to_owned(), ..order("theirs", &["a.test"]) };
    store.create_order(&theirs, &entry()).await.unwrap();
    assert!(store.begin_challenge(begin("theirs-0-dns-01", NOW)).await.unwrap());

    assert!(store.deactivate_account(ACCOUNT, after(1), &entry()).await.unwrap());

    assert_eq!(number(&store, "SELECT COUNT(*) FROM work").await, 1);
    for id in [ORDER, "pending", "ready"] {
        let order = store.order(CA, id).await.unwrap().unwrap();
        let OrderStatus::Invalid { problem } = order.status(after(1)) else { panic!("{order:?}") };
        assert_eq!(problem.kind, ProblemType::Unauthorized);
    }
    for (index, status) in ["deactivated", "deactivated", "invalid"].into_iter().enumerate() {
        let id = format!("pending-{index}");
        let found = store.authorization(CA, &id).await.unwrap().unwrap();
        assert_eq!(found.status(after(1)).as_str(), status, "{id}");
        let http01 = format!("{id}-http-01");
        let found = store.authorization_of_challenge(CA, &http01).await.unwrap().unwrap();
        assert_eq!(found.status(after(1)).as_str(), status, "{id}");
        assert!(!store.begin_challenge(begin(&http01, after(1))).await.unwrap());
    }
    assert!(!store.conclude_challenge(&validation, &proved(), &entry()).await.unwrap());
    let plan = plan(&store, "ready").await;
    assert!(!store.plan_issuance(plan, &entry()).await.unwrap());
    assert!(store.planned_certificate(ORDER).await.unwrap().unwrap().account_deactivated);
    assert!(
        !store.complete_issuance(issuance, b"certificate".to_vec(), NOW, &entry()).await.unwrap()
    );
    assert_eq!(store.orders_of(ACCOUNT, after(1), None, 10).await.unwrap().ids, [""; 0]);
    assert_eq!(store.order(CA, "theirs").await.unwrap().unwrap().status(NOW).as_str(), "pending");
}

/// Where work came onto the list while its account went, it is not done.
pub(super) async fn work_that_a_deactivation_did_not_see_settles_nothing(database: &Database) {
    let store = with_plan(database).await;
    store.create_order(&order("other", &["b.test"]), &entry()).await.unwrap();
    let validation = lease_validation(&store, "other-0-dns-01").await;
    let issuance = claim_one(&store, WorkKind::Issuance, NOW).await;
    execute(&store, "UPDATE accounts SET deactivated_at = $1", values![after(1)]).await;
    assert!(!store.conclude_challenge(&validation, &proved(), &entry()).await.unwrap());
    assert!(
        !store.complete_issuance(issuance, b"certificate".to_vec(), NOW, &entry()).await.unwrap()
    );
    let kept = "SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL";
    assert_eq!(number(&store, kept).await, 0);
    assert_eq!(store.order(CA, ORDER).await.unwrap().unwrap().status(NOW).as_str(), "invalid");
}

pub(super) async fn an_order_that_is_valid_stays_so_when_its_account_is_deactivated(
    database: &Database,
) {
    let store = with_plan(database).await;
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"certificate".to_vec(), NOW, &entry()).await.unwrap());
    assert!(store.deactivate_account(ACCOUNT, after(1), &entry()).await.unwrap());
    assert_eq!(store.order(CA, ORDER).await.unwrap().unwrap().status(after(1)).as_str(), "valid");
    assert_eq!(store.orders_of(ACCOUNT, after(1), None, 10).await.unwrap().ids, [ORDER]);
}

pub(super) async fn a_challenge_is_validated_with_the_key_it_was_begun_with(database: &Database) {
    let store = with_order(database, &["a.test"]).await;
    let before = account(ACCOUNT, CA);
    assert!(store.begin_challenge(begin("order-0-dns-01", NOW)).await.unwrap());
    assert_eq!(store.change_key(&before, "jwk", "new", &entry()).await.unwrap(), KeyChanged::Done);
    assert!(store.begin_challenge(begin("order-0-http-01", NOW)).await.unwrap());
    for (challenge, thumbprint) in
        [("order-0-dns-01", &*before.thumbprint), ("order-0-http-01", "new")]
    {
        let found = store.to_validate(challenge).await.unwrap().unwrap();
        assert_eq!(found.account_thumbprint, thumbprint, "{challenge}");
    }
    // Begun before this was noted.
    let forget = "UPDATE challenges SET key_thumbprint = NULL WHERE begun_at = $1";
    execute(&store, forget, values![NOW]).await;
    let found = store.to_validate("order-0-dns-01").await.unwrap().unwrap();
    assert_eq!(found.account_thumbprint, "new");
}

fn nonce(store: &Store) -> Nonce {
    Nonce { id: store.nonce_id(NOW, Entropy).unwrap().to_vec(), expires_at: after(10) }
}

pub(super) async fn a_nonce_is_spent_once(database: &Database) {
    let store = migrated(database).await;
    let (one, other) = (nonce(&store), nonce(&store));
    assert!(store.spend_nonce(one.clone()).await.unwrap());
    assert!(!store.spend_nonce(one.clone()).await.unwrap());
    assert!(!open(database).await.spend_nonce(one).await.unwrap());
    assert!(store.spend_nonce(other).await.unwrap());
}

pub(super) async fn of_concurrent_spenders_of_a_nonce_one_spends_it(database: &Database) {
    let stores = [migrated(database).await, open(database).await];
    let nonce = nonce(&stores[0]);
    let spenders: Vec<_> = (0..32)
        .map(|number| {
            let (store, nonce) = (stores[number % 2].clone(), nonce.clone());
            tokio::spawn(async move { store.spend_nonce(nonce).await.unwrap() })
        })
        .collect();
    let mut spent = 0;
    for spender in spenders {
        spent += usize::from(spender.await.unwrap());
    }
    assert_eq!(spent, 1);
}

pub(super) async fn only_nonces_that_expired_long_ago_are_forgotten(database: &Database) {
    let store = migrated(database).await;
    let spent = |id: u8, expires_after| values![vec![id; 16], after(expires_after)];
    for spent in [spent(1, 9), spent(2, 10), spent(3, 11)] {
        execute(&store, "INSERT INTO spent_nonces (id, expires_at) VALUES ($1, $2)", spent).await;
    }
    // An instance whose clock is behind takes those that have just expired for good still.
    let lifetime = 3600;
    for (now, left) in [(0, 3), (11, 3), (lifetime, 3), (lifetime + 10, 1)] {
        store.forget_nonces(after(now)).await.unwrap();
        assert_eq!(number(&store, "SELECT COUNT(*) FROM spent_nonces").await, left, "{now}");
    }
    let last = Nonce { id: vec![3; 16], expires_at: after(11) };
    assert!(!store.spend_nonce(last).await.unwrap());
}

pub(super) async fn only_who_shares_the_database_shares_the_nonces(database: &Database) {
    let (one, other) = (migrated(database).await, open(database).await);
    let keys = (one.nonce_key(Entropy).await.unwrap(), other.nonce_key(Entropy).await.unwrap());
    let nonce = nonce(&one);
    let spent_by_the_other = other.spend_nonce(nonce.clone()).await.unwrap();
    let shared = matches!(database, Database::Postgres(..));
    assert_eq!((keys.0 == keys.1, spent_by_the_other), (shared, shared));
    assert_eq!(one.spend_nonce(nonce).await.unwrap(), !shared);
}

pub(super) async fn two_stores_on_one_database_share_their_keys(database: &Database) {
    let stores = [migrated(database).await, open(database).await];
    let (one, other) = tokio::join!(
        stores[0].shared_key("nonces", Entropy),
        stores[1].shared_key("nonces", Entropy),
    );
    let key = one.unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(key, other.unwrap());
    assert_eq!(key, open(database).await.shared_key("nonces", Entropy).await.unwrap());
    assert_ne!(key, stores[0].shared_key("another", Entropy).await.unwrap());
}
