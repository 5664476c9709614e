//! Accounts, nonces and shared keys.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Fixture, NOW, account, on_both};
use crate::acme::account::{Account, AccountStatus};
use crate::acme::nonce::Nonce;
use crate::entropy::Entropy;
use crate::store::Registered;

on_both! {
    one_key_gets_one_account_however_many_ask_at_once,
    an_account_is_known_to_its_ca_alone,
    an_update_keeps_what_it_does_not_name,
    a_nonce_is_spent_once_by_any_instance,
    a_shared_key_is_the_same_for_all_instances,
}

async fn one_key_gets_one_account_however_many_ask_at_once(fixture: Fixture) {
    let other = fixture.another().await;
    let mut tasks = JoinSet::new();
    for index in 0..16 {
        let store = if index % 2 == 0 { fixture.store.clone() } else { other.clone() };
        let account = Account { id: format!("id-{index}"), ..account("same") };
        tasks.spawn(async move { store.register_account(account).await.unwrap() });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().filter(|one| **one == Registered::Created).count(), 1);
    let ids = all.iter().filter_map(|one| match one {
        Registered::Exists(account) => Some(account.id.as_str()),
        Registered::Created => None,
    });
    let found = fixture.store.account_by_key("ca", "thumbprint-same").await.unwrap().unwrap();
    assert!(ids.into_iter().all(|id| id == found.id));
}

async fn an_account_is_known_to_its_ca_alone(fixture: Fixture) {
    let kept = fixture.account("a").await;
    assert_eq!(fixture.store.account("ca", "a").await.unwrap(), Some(kept));
    assert_eq!(fixture.store.account("other", "a").await.unwrap(), None);
    assert_eq!(fixture.store.account_by_key("other", "thumbprint-a").await.unwrap(), None);
    let elsewhere = Account { id: "b".to_owned(), ca: "other".to_owned(), ..account("a") };
    assert_eq!(fixture.store.register_account(elsewhere).await.unwrap(), Registered::Created);
}

async fn an_update_keeps_what_it_does_not_name(fixture: Fixture) {
    let store = &fixture.store;
    fixture.account("a").await;
    store.update_account("a", None, Some(NOW)).await.unwrap();
    let contact = ["mailto:c@d.test".to_owned()];
    store.update_account("a", Some(&contact), None).await.unwrap();
    let read = || async { store.account("ca", "a").await.unwrap().unwrap() };
    assert_eq!((read().await.contact, read().await.terms_agreed_at), (contact.into(), Some(NOW)));
    store.deactivate_account("a", NOW).await.unwrap();
    store.deactivate_account("a", NOW.plus(Duration::from_secs(9))).await.unwrap();
    assert_eq!(read().await.deactivated_at, Some(NOW), "once and for all");
    assert_eq!(read().await.status(), AccountStatus::Deactivated);
    store.update_account("a", Some(&[]), None).await.unwrap();
    assert_eq!(read().await.contact.len(), 1, "nothing changes after that");
}

async fn a_nonce_is_spent_once_by_any_instance(fixture: Fixture) {
    let other = fixture.another().await;
    let nonce = Nonce { id: vec![7; 16], expires_at: NOW.plus(Duration::from_secs(1)) };
    let mut tasks = JoinSet::new();
    for index in 0..16 {
        let store = if index % 2 == 0 { fixture.store.clone() } else { other.clone() };
        let nonce = nonce.clone();
        tasks.spawn(async move { store.spend_nonce(nonce).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|spent| *spent).count(), 1);
    fixture.store.forget_nonces(NOW).await.unwrap();
    assert!(!fixture.store.spend_nonce(nonce.clone()).await.unwrap(), "not expired, not forgotten");
    fixture.store.forget_nonces(nonce.expires_at).await.unwrap();
    assert!(fixture.store.spend_nonce(nonce).await.unwrap());
}

async fn a_shared_key_is_the_same_for_all_instances(fixture: Fixture) {
    let other = fixture.another().await;
    let (one, two) =
        tokio::join!(fixture.store.shared_key("k", Entropy), other.shared_key("k", Entropy));
    assert_eq!(one.unwrap(), two.unwrap());
    let another = fixture.store.shared_key("l", Entropy).await.unwrap();
    assert_ne!(another, fixture.store.shared_key("k", Entropy).await.unwrap());
}
