//! Orders.

use std::time::Duration;

use harness::Database;

use super::fixture::{
    ACCOUNT, CA, NOW, ORDER, account, after, claim_one, conclude, entry, execute, failed,
    make_ready, number, order, plan, problem, proved, with_account, with_order,
};
use crate::acme::order::OrderStatus;
use crate::clock::Timestamp;
use crate::store::db::values;
use crate::store::{NewOrder, OrdersCursor, Registered, Store, StoreError, WorkKind};

pub(super) async fn an_order_of_100_identifiers_keeps_their_order(database: &Database) {
    // Neither the names' order nor that of the ids.
    let names: Vec<_> = (0..100).map(|index| format!("n{}.test", index * 37 % 100)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let store = with_order(database, &names).await;
    let order = store.order(CA, ORDER).await.unwrap().unwrap();
    let kept: Vec<_> = order.identifiers.iter().map(ToString::to_string).collect();
    assert_eq!(kept, names);
    assert_eq!(order.account_id, ACCOUNT);
    assert_eq!(order.expires_at, after(3600));
    assert_eq!(number(&store, "SELECT COUNT(*) FROM challenges").await, 300);
    let last = store.authorization(CA, "order-99").await.unwrap().unwrap();
    assert_eq!(last.identifier.to_string(), names[99]);
    assert_eq!(last.challenges.len(), 3);
}

pub(super) async fn an_order_is_invisible_to_another_ca(database: &Database) {
    let store = with_order(database, &["a.test", "*.b.test"]).await;
    assert_eq!(store.order("internal", ORDER).await.unwrap(), None);
    assert_eq!(store.authorization("internal", "order-0").await.unwrap(), None);
    let by_challenge = store.authorization_of_challenge("internal", "order-0-dns-01").await;
    assert_eq!(by_challenge.unwrap(), None);
    assert_eq!(store.order(CA, "nothing").await.unwrap(), None);
    assert_eq!(store.order_csr("nothing").await.unwrap(), None);
    assert!(store.order(CA, ORDER).await.unwrap().is_some());
}

async fn status(store: &Store, id: &str, now: Timestamp) -> OrderStatus {
    store.order(CA, id).await.unwrap().unwrap().status(now)
}

pub(super) async fn the_facts_decide_the_status(database: &Database) {
    let store = with_order(database, &["a.test", "b.test"]).await;
    assert_eq!(status(&store, ORDER, NOW).await, OrderStatus::Pending);
    assert_eq!(status(&store, ORDER, after(3600)).await.as_str(), "invalid");
    conclude(&store, "order-0-http-01", proved()).await;
    assert_eq!(status(&store, ORDER, NOW).await, OrderStatus::Pending);
    conclude(&store, "order-1-tls-alpn-01", proved()).await;
    assert_eq!(status(&store, ORDER, NOW).await, OrderStatus::Ready);
    assert_eq!(store.order_csr(ORDER).await.unwrap(), None);

    assert!(store.plan_issuance(plan(&store, ORDER).await, &entry()).await.unwrap());
    assert_eq!(status(&store, ORDER, after(7200)).await, OrderStatus::Processing);
    assert_eq!(store.order_csr(ORDER).await.unwrap().as_deref(), Some(&b"csr of order"[..]));
    let lease = claim_one(&store, WorkKind::Issuance, NOW).await;
    assert!(store.complete_issuance(lease, b"signed".to_vec(), NOW, &entry()).await.unwrap());
    let certificate_id = "certificate of order".to_owned();
    assert_eq!(status(&store, ORDER, after(7200)).await, OrderStatus::Valid { certificate_id });

    store.create_order(&order("refused", &["a.test", "b.test"]), &entry()).await.unwrap();
    conclude(&store, "refused-1-http-01", failed()).await;
    let OrderStatus::Invalid { problem: found } = status(&store, "refused", NOW).await else {
        panic!("not invalid")
    };
    assert_eq!((found.kind, &found.detail), (problem().kind, &problem().detail));
    assert_eq!(found.subproblems[0].identifier.value, "b.test");

    store.create_order(&order("deactivated", &["a.test"]), &entry()).await.unwrap();
    store.deactivate_authorization("deactivated-0", NOW, &entry()).await.unwrap();
    assert_eq!(status(&store, "deactivated", NOW).await.as_str(), "invalid");
}

/// All ids, page by page, and how many pages they took.
async fn list(store: &Store, now: Timestamp, limit: usize) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut cursor) = (Vec::new(), 0, None::<OrdersCursor>);
    loop {
        let page = store.orders_of(ACCOUNT, now, cursor, limit).await.unwrap();
        assert!(page.ids.len() <= limit);
        ids.extend(page.ids);
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            return (ids, pages);
        }
    }
}

pub(super) async fn a_list_of_orders_is_paged_also_where_all_are_of_one_instant(
    database: &Database,
) {
    let store = with_account(database).await;
    assert_eq!(list(&store, NOW, 10).await, (Vec::new(), 1));
    let other = account("other", CA);
    assert_eq!(store.register_account(other, &entry()).await.unwrap(), Registered::Created);
    let not_mine = NewOrder { account_id: "other".to_owned(), ..order("not-mine", &["a.test"]) };
    store.create_order(&not_mine, &entry()).await.unwrap();
    for index in 0..12 {
        store
            .create_order(&order(&format!("same{index:02}"), &["a.test"]), &entry())
            .await
            .unwrap();
    }
    for (id, age) in [("older", 1000), ("newer", 0)] {
        let created_at = if age == 0 { after(1) } else { Timestamp::from_unix_ms(1) };
        let order = NewOrder { created_at, ..order(id, &["a.test"]) };
        store.create_order(&order, &entry()).await.unwrap();
    }
    let mut expected = vec!["newer".to_owned()];
    expected.extend((0..12).rev().map(|index| format!("same{index:02}")));
    expected.push("older".to_owned());
    for (limit, pages) in [(1, 14), (5, 3), (7, 2), (13, 2), (14, 1), (100, 1)] {
        assert_eq!(list(&store, NOW, limit).await, (expected.clone(), pages), "limit {limit}");
    }
}

pub(super) async fn a_list_of_orders_leaves_out_those_that_are_invalid(database: &Database) {
    let store = with_account(database).await;
    let ids =
        ["pending", "ready", "processing", "valid", "failed", "refused", "deactivated", "aged"];
    for id in ids {
        store.create_order(&order(id, &["a.test", "b.test"]), &entry()).await.unwrap();
    }
    for id in ["ready", "processing", "valid", "failed"] {
        make_ready(&store, id).await;
    }
    for id in ["processing", "valid", "failed"] {
        assert!(store.plan_issuance(plan(&store, id).await, &entry()).await.unwrap());
    }
    for lease in super::fixture::claim(&store, WorkKind::Issuance, NOW, 10).await {
        match lease.subject() {
            "valid" => {
                assert!(
                    store
                        .complete_issuance(lease, b"signed".to_vec(), NOW, &entry())
                        .await
                        .unwrap()
                );
            }
            "failed" => assert!(store.fail_issuance(lease, &problem(), &entry()).await.unwrap()),
            _ => {}
        }
    }
    conclude(&store, "refused-1-http-01", failed()).await;
    store.deactivate_authorization("deactivated-1", NOW, &entry()).await.unwrap();
    // One that an earlier order had proved.
    let sooner = "UPDATE authorizations SET expires_at = $1 WHERE id = 'aged-0'";
    execute(&store, sooner, values![after(1800)]).await;

    for (now, seconds, count) in [(NOW, 0, 5), (after(1800), 1800, 4), (after(3600), 3600, 2)] {
        let (mut listed, _) = list(&store, now, 2).await;
        listed.sort();
        let mut expected = Vec::new();
        for id in ids {
            if status(&store, id, now).await.as_str() != "invalid" {
                expected.push(id.to_owned());
            }
        }
        expected.sort();
        assert_eq!(listed, expected, "after {:?}", Duration::from_secs(seconds));
        assert_eq!(listed.len(), count);
    }
}

pub(super) async fn a_second_order_with_the_same_id_is_a_conflict_and_leaves_nothing(
    database: &Database,
) {
    let store = with_order(database, &["a.test"]).await;
    // The last statement fails: the others came before it.
    let mut again = order("another", &["b.test"]);
    again.authorizations[0].challenges[0].id = "order-0-http-01".to_owned();
    let error = store.create_order(&again, &entry()).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    let error = store.create_order(&order(ORDER, &["b.test"]), &entry()).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    assert_eq!(number(&store, "SELECT COUNT(*) FROM orders").await, 1);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM authorizations").await, 1);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM challenges").await, 3);
}
