//! What the tests begin with: an account, an order, a ready order, a planned certificate.

use std::time::Duration;

use harness::Database;

use crate::acme::account::Account;
use crate::acme::challenge::{ChallengeResult, ChallengeType};
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::db::{Done, Statement, Value};
use crate::store::{
    Begin, Caps, Conclusion, Lease, Left, NewAuthorization, NewChallenge, NewOrder,
    OrderedIdentifier, Plan, Registered, Store, WorkKind,
};

/// Longer than any test may take.
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);
pub(super) const LEASE: Duration = Duration::from_secs(20);
pub(super) const CA: &str = "web";
pub(super) const ACCOUNT: &str = "account";
pub(super) const ORDER: &str = "order";

pub(super) fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// What the audit trail gets, where a test does not look at it.
pub(super) fn entry() -> Entry {
    Entry::new(Kind::AccountUpdated, Actor::Kipuka, "test", NOW)
}

/// A store on a database whose schema is not made yet.
pub(super) async fn open(database: &Database) -> Store {
    Store::open(&database.url(), 10).await.unwrap()
}

pub(super) async fn migrated(database: &Database) -> Store {
    let store = open(database).await;
    store.migrate().await.unwrap();
    store
}

/// A store with an account.
pub(super) async fn with_account(database: &Database) -> Store {
    let store = migrated(database).await;
    let registered = store.register_account(account(ACCOUNT, CA), &entry()).await.unwrap();
    assert_eq!(registered, Registered::Created);
    store
}

/// A store with an order for `names`; its authorizations are `order-0` and so on, their challenges
/// `order-0-http-01` and so on.
pub(super) async fn with_order(database: &Database, names: &[&str]) -> Store {
    let store = with_account(database).await;
    assert!(store.create_order(&order(ORDER, names), &entry()).await.unwrap());
    store
}

/// A store with an order whose one authorization is valid.
pub(super) async fn with_ready_order(database: &Database) -> Store {
    let store = with_order(database, &["a.test"]).await;
    make_ready(&store, ORDER).await;
    store
}

/// A store with an order whose certificate is planned.
pub(super) async fn with_plan(database: &Database) -> Store {
    let store = with_ready_order(database).await;
    let plan = plan(&store, ORDER).await;
    assert!(store.plan_issuance(plan, &entry()).await.unwrap());
    store
}

/// An account whose key is named as itself.
pub(super) fn account(id: &str, ca: &str) -> Account {
    Account {
        id: id.to_owned(),
        ca: ca.to_owned(),
        jwk: format!("{{\"kty\":\"{id}\"}}"),
        thumbprint: format!("thumbprint of {id}"),
        contact: vec!["mailto:a@a.test".to_owned(), "mailto:\"b\"@b.test".to_owned()],
        terms: None,
        binding: None,
        created_at: NOW,
        deactivated_at: None,
    }
}

pub(super) fn order(id: &str, names: &[&str]) -> NewOrder {
    let authorizations: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let authorization = format!("{id}-{index}");
            NewAuthorization {
                identifier: Identifier::dns(name).unwrap(),
                subdomains: false,
                expires_at: after(3600),
                challenges: ChallengeType::STANDARD
                    .into_iter()
                    .map(|kind| NewChallenge {
                        id: format!("{authorization}-{}", kind.as_str()),
                        kind,
                        token: format!("token of {authorization}-{}", kind.as_str()),
                    })
                    .collect(),
                id: authorization,
            }
        })
        .collect();
    let identifiers = authorizations.iter().map(|authorization| OrderedIdentifier {
        identifier: authorization.identifier.clone(),
        authorization_id: authorization.id.clone(),
    });
    NewOrder {
        id: id.to_owned(),
        ca: CA.to_owned(),
        account_id: ACCOUNT.to_owned(),
        created_at: NOW,
        expires_at: after(3600),
        not_before: None,
        not_after: None,
        profile: None,
        replaces: None,
        identifiers: identifiers.collect(),
        authorizations,
        caps: Caps::default(),
    }
}

pub(super) const ACCOUNT_URL: &str = "https://ca.test/acme/ca/account/account";

/// The client says that the challenge is ready.
pub(super) fn begin(challenge: &str, at: Timestamp) -> Begin {
    Begin {
        challenge_id: challenge.to_owned(),
        account_url: ACCOUNT_URL.to_owned(),
        response: None,
        at,
    }
}

pub(super) fn proved() -> Conclusion {
    concluded(ChallengeResult::Proved { at: NOW })
}

pub(super) fn problem() -> Problem {
    Problem::new(ProblemType::Connection, "nobody \"answers\"")
}

pub(super) fn failed() -> Conclusion {
    concluded(ChallengeResult::Failed { problem: problem() })
}

fn concluded(result: ChallengeResult) -> Conclusion {
    Conclusion { result, evidence: None, attested_key: None }
}

/// Begins the challenge and leases its validation.
pub(super) async fn lease_validation(store: &Store, challenge: &str) -> Lease {
    assert!(store.begin_challenge(begin(challenge, NOW)).await.unwrap());
    let mut leases = claim(store, WorkKind::Validation, NOW, 1000).await;
    let place = leases.iter().position(|lease| lease.subject() == challenge).unwrap();
    leases.swap_remove(place)
}

pub(super) async fn conclude(store: &Store, challenge: &str, conclusion: Conclusion) {
    let lease = lease_validation(store, challenge).await;
    assert!(store.conclude_challenge(&lease, &conclusion, &entry()).await.unwrap());
}

/// Proves every authorization of the order.
pub(super) async fn make_ready(store: &Store, order: &str) {
    for authorization in store.order(CA, order).await.unwrap().unwrap().authorizations {
        conclude(store, &format!("{}-dns-01", authorization.id), proved()).await;
    }
}

/// A plan for the order: what is in it is named after the order.
pub(super) async fn plan(store: &Store, order: &str) -> Plan {
    Plan {
        order_id: order.to_owned(),
        ca: CA.to_owned(),
        account_id: ACCOUNT.to_owned(),
        csr: format!("csr of {order}").into_bytes(),
        certificate_id: format!("certificate of {order}"),
        issuer_id: store.keep_issuer("chain").await.unwrap(),
        serial: format!("serial of {order}"),
        tbs: format!("tbs of {order}").into_bytes(),
        profile: format!("profile of {order}"),
        now: NOW,
    }
}

pub(super) async fn claim(store: &Store, kind: WorkKind, now: Timestamp, limit: i64) -> Vec<Lease> {
    store.claim(kind, now, LEASE, limit, Left::default(), Entropy).await.unwrap()
}

/// The only piece of work that is due.
pub(super) async fn claim_one(store: &Store, kind: WorkKind, now: Timestamp) -> Lease {
    let mut leases = claim(store, kind, now, 10).await;
    assert_eq!(leases.len(), 1);
    leases.remove(0)
}

/// The only number that a query returns.
pub(super) async fn number(store: &Store, sql: &'static str) -> i64 {
    store.db.read(sql, Vec::new()).await.unwrap()[0].int(0).unwrap()
}

/// Changes rows behind the store's back.
pub(super) async fn execute(store: &Store, sql: &'static str, values: Vec<Value>) {
    let done = store.db.transact(vec![Statement::required(sql, values)]).await.unwrap();
    assert_eq!(done, Done::Committed);
}
