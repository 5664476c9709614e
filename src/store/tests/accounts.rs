//! Accounts, nonces, shared keys.

use std::collections::BTreeSet;

use harness::Database;

use super::fixture::{ACCOUNT, CA, NOW, account, after, migrated, number, open, with_account};
use crate::acme::account::Account;
use crate::acme::nonce::Nonce;
use crate::entropy::Entropy;
use crate::store::Registered;

pub(super) async fn of_concurrent_registrations_of_one_key_one_creates_the_account(
    database: &Database,
) {
    let stores = [migrated(database).await, open(database).await];
    let registrations = (0..16).map(|number| {
        let store = stores[number % 2].clone();
        let id = format!("account-{number}");
        let account = Account { thumbprint: "one key".to_owned(), ..account(&id, CA) };
        tokio::spawn(async move { (id, store.register_account(account).await.unwrap()) })
    });
    let mut created = Vec::new();
    let mut found = BTreeSet::new();
    for registration in registrations.collect::<Vec<_>>() {
        match registration.await.unwrap() {
            (id, Registered::Created) => created.push(id),
            (_, Registered::Exists(account)) => {
                found.insert(account.id);
            }
        }
    }
    assert_eq!(created.len(), 1);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), created);
    assert_eq!(number(&stores[0], "SELECT COUNT(*) FROM accounts").await, 1);
}

pub(super) async fn a_key_has_one_account_with_each_ca(database: &Database) {
    let store = with_account(database).await;
    let elsewhere = Account { id: "elsewhere".to_owned(), ..account(ACCOUNT, "internal") };
    assert_eq!(store.register_account(elsewhere.clone()).await.unwrap(), Registered::Created);
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

    store.update_account(ACCOUNT, None, None).await.unwrap();
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    store.update_account(ACCOUNT, None, Some(after(1))).await.unwrap();
    expected.terms_agreed_at = Some(after(1));
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    let contact = vec!["mailto:new@a.test".to_owned()];
    store.update_account(ACCOUNT, Some(&contact), None).await.unwrap();
    expected.contact = contact;
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);

    store.update_account(ACCOUNT, Some(&[]), None).await.unwrap();
    expected.contact.clear();
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);
}

pub(super) async fn an_account_is_deactivated_once_and_not_updated_after(database: &Database) {
    let store = with_account(database).await;
    store.deactivate_account(ACCOUNT, after(1)).await.unwrap();
    store.deactivate_account(ACCOUNT, after(2)).await.unwrap();
    store.update_account(ACCOUNT, Some(&[]), Some(after(3))).await.unwrap();
    let expected = Account { deactivated_at: Some(after(1)), ..account(ACCOUNT, CA) };
    assert_eq!(store.account(CA, ACCOUNT).await.unwrap().unwrap(), expected);
    // Its key stays taken.
    let again = Account { id: "again".to_owned(), ..account(ACCOUNT, CA) };
    assert_eq!(store.register_account(again).await.unwrap(), Registered::Exists(expected));
}

fn nonce(id: u8, expires_after: u64) -> Nonce {
    Nonce { id: vec![id; 16], expires_at: after(expires_after) }
}

pub(super) async fn a_nonce_is_spent_once(database: &Database) {
    let store = migrated(database).await;
    assert!(store.spend_nonce(nonce(1, 10)).await.unwrap());
    assert!(!store.spend_nonce(nonce(1, 10)).await.unwrap());
    assert!(!open(database).await.spend_nonce(nonce(1, 10)).await.unwrap());
    assert!(store.spend_nonce(nonce(2, 10)).await.unwrap());
}

pub(super) async fn of_concurrent_spenders_of_a_nonce_one_spends_it(database: &Database) {
    let stores = [migrated(database).await, open(database).await];
    let spenders: Vec<_> = (0..32)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move { store.spend_nonce(nonce(1, 10)).await.unwrap() })
        })
        .collect();
    let mut spent = 0;
    for spender in spenders {
        spent += usize::from(spender.await.unwrap());
    }
    assert_eq!(spent, 1);
}

pub(super) async fn only_expired_nonces_are_forgotten(database: &Database) {
    let store = migrated(database).await;
    for (id, expires_after) in [(1, 9), (2, 10), (3, 11)] {
        assert!(store.spend_nonce(nonce(id, expires_after)).await.unwrap());
    }
    store.forget_nonces(NOW).await.unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM spent_nonces").await, 3);
    store.forget_nonces(after(10)).await.unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM spent_nonces").await, 1);
    assert!(!store.spend_nonce(nonce(3, 11)).await.unwrap());
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
