//! External accounts, and the accounts that they bind.

use std::time::Duration;

use harness::Database;

use super::fixture::{CA, NOW, account, after, entry, execute, migrated, number, open};
use crate::acme::account::{Account, Binding};
use crate::acme::external_account::{ExternalAccount, ExternalAccountStatus};
use crate::store::db::values;
use crate::store::{Registered, Store, StoreError};

const KID: &str = "kid-1";

fn external() -> ExternalAccount {
    ExternalAccount {
        kid: KID.to_owned(),
        ca: CA.to_owned(),
        name: Some("the web team".to_owned()),
        algorithm: "HS384".to_owned(),
        mac_key: Some(vec![7; 48]),
        allowed: vec![".a.test".to_owned(), "10.0.0.0/8".to_owned()],
        reusable: false,
        created_at: NOW,
        expires_at: Some(after(100)),
        revoked_at: None,
        accounts: 0,
    }
}

async fn with(database: &Database, external: ExternalAccount) -> Store {
    let store = migrated(database).await;
    store.create_external_account(&external, &entry()).await.unwrap();
    store
}

fn bound(id: &str, kid: &str, at: u64) -> Account {
    let binding = Binding {
        kid: kid.to_owned(),
        jws: format!("{{\"payload\":\"{id}\"}}"),
        allowed: external().allowed,
    };
    Account { binding: Some(binding), created_at: after(at), ..account(id, CA) }
}

async fn found(store: &Store) -> ExternalAccount {
    store.external_account(KID).await.unwrap().unwrap()
}

pub(super) async fn an_external_account_is_given_back_as_it_was_made(database: &Database) {
    let store = with(database, external()).await;
    let (made, found) = (external(), found(&store).await);
    assert_eq!((found.kid, found.ca, found.name), (made.kid, made.ca, made.name));
    assert_eq!(found.algorithm, made.algorithm);
    assert_eq!((found.mac_key, found.allowed), (made.mac_key, made.allowed));
    assert_eq!((found.reusable, found.accounts), (false, 0));
    assert_eq!((found.created_at, found.expires_at), (made.created_at, made.expires_at));
    assert_eq!(found.revoked_at, None);
    assert!(store.external_account("another").await.unwrap().is_none());
    let again = store.create_external_account(&external(), &entry()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))), "{again:?}");
}

pub(super) async fn a_key_binds_one_account_and_is_erased_with_it(database: &Database) {
    let store = with(database, external()).await;
    let one = bound("one", KID, 1);
    assert_eq!(store.register_account(one.clone(), &entry()).await.unwrap(), Registered::Created);
    assert_eq!(store.account(CA, "one").await.unwrap().unwrap(), one);
    let used = found(&store).await;
    assert_eq!((used.mac_key.as_ref(), used.accounts), (None, 1));
    assert_eq!(used.status(after(1)), ExternalAccountStatus::Bound);
    let two = store.register_account(bound("two", KID, 1), &entry()).await.unwrap();
    assert_eq!(two, Registered::NotBound);
    assert_eq!(store.account(CA, "two").await.unwrap(), None);
    // The same key of the account again: its account, as ever.
    let again = Account { id: "again".to_owned(), ..one.clone() };
    assert_eq!(
        store.register_account(again, &entry()).await.unwrap(),
        Registered::Exists(Box::new(one))
    );
}

pub(super) async fn of_concurrent_accounts_a_key_binds_one(database: &Database) {
    let stores = [with(database, external()).await, open(database).await];
    let registrations = (0..8).map(|index| {
        let (store, account) = (stores[index % 2].clone(), bound(&format!("a{index}"), KID, 1));
        tokio::spawn(async move { store.register_account(account, &entry()).await.unwrap() })
    });
    let mut created = 0;
    for registration in registrations.collect::<Vec<_>>() {
        match registration.await.unwrap() {
            Registered::Created => created += 1,
            other => assert_eq!(other, Registered::NotBound),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(number(&stores[0], "SELECT COUNT(*) FROM accounts").await, 1);
}

pub(super) async fn a_reusable_key_binds_accounts_until_it_is_revoked(database: &Database) {
    let store = with(database, ExternalAccount { reusable: true, ..external() }).await;
    for id in ["one", "two"] {
        let registered = store.register_account(bound(id, KID, 1), &entry()).await.unwrap();
        assert_eq!(registered, Registered::Created);
    }
    assert_eq!(found(&store).await.accounts, 2);
    assert!(store.revoke_external_account(KID, after(2), &entry()).await.unwrap());
    assert!(!store.revoke_external_account(KID, after(3), &entry()).await.unwrap(), "once");
    assert!(!store.revoke_external_account("another", after(3), &entry()).await.unwrap());
    let revoked = found(&store).await;
    assert_eq!((revoked.mac_key.as_ref(), revoked.revoked_at), (None, Some(after(2))));
    let late = store.register_account(bound("late", KID, 3), &entry()).await.unwrap();
    assert_eq!(late, Registered::NotBound);
    assert_eq!(store.accounts_bound_by(KID).await.unwrap(), ["one", "two"]);
    assert!(store.deactivate_account("one", after(3), &entry()).await.unwrap());
    assert_eq!(store.accounts_bound_by(KID).await.unwrap(), ["two"]);
}

pub(super) async fn an_expired_or_foreign_key_binds_nothing(database: &Database) {
    let store = with(database, external()).await;
    let late = store.register_account(bound("late", KID, 100), &entry()).await.unwrap();
    assert_eq!(late, Registered::NotBound);
    let elsewhere = Account { ca: "internal".to_owned(), ..bound("elsewhere", KID, 1) };
    assert_eq!(store.register_account(elsewhere, &entry()).await.unwrap(), Registered::NotBound);
    let in_time = store.register_account(bound("in time", KID, 99), &entry()).await.unwrap();
    assert_eq!(in_time, Registered::Created);
}

pub(super) async fn external_accounts_are_listed_in_the_order_of_their_creation(
    database: &Database,
) {
    let store = migrated(database).await;
    for index in 0..5_u64 {
        let ca = if index == 3 { "internal" } else { CA };
        let created_at = NOW.plus(Duration::from_secs(index / 2));
        let new = ExternalAccount {
            kid: format!("kid-{index}"),
            ca: ca.to_owned(),
            created_at,
            ..external()
        };
        store.create_external_account(&new, &entry()).await.unwrap();
    }
    let mut listed = Vec::new();
    let mut last: Option<ExternalAccount> = None;
    loop {
        let page = store.external_accounts(None, last.as_ref(), 2).await.unwrap();
        let Some(end) = page.last() else { break };
        listed.extend(page.iter().map(|one| one.kid.clone()));
        last = Some(end.clone());
    }
    assert_eq!(listed, ["kid-0", "kid-1", "kid-2", "kid-3", "kid-4"]);
    let of_one = store.external_accounts(Some("internal"), None, 10).await.unwrap();
    assert_eq!(of_one.iter().map(|one| &*one.kid).collect::<Vec<_>>(), ["kid-3"]);
}

pub(super) async fn an_external_account_that_cannot_be_is_corrupt(database: &Database) {
    let store = with(database, external()).await;
    let registered = store.register_account(bound("one", KID, 1), &entry()).await.unwrap();
    assert_eq!(registered, Registered::Created);
    for allowed in ["", "{}", "[1]"] {
        execute(&store, "UPDATE external_accounts SET allowed = $1", values![allowed]).await;
        let corrupt =
            |error| matches!(error, StoreError::Corrupt { table: "external_accounts", .. });
        assert!(store.external_account(KID).await.is_err_and(corrupt));
        assert!(store.account(CA, "one").await.is_err_and(corrupt));
    }
    execute(&store, "UPDATE external_accounts SET allowed = $1", values!["[]"]).await;
    let half = "UPDATE accounts SET external_account_binding = NULL WHERE id = $1";
    execute(&store, half, values!["one"]).await;
    assert!(store.account(CA, "one").await.is_err());
}
