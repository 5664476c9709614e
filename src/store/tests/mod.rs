//! One suite, run on SQLite and on Postgres.

mod accounts;
mod orders;
mod transactions;
mod work;

use std::time::Duration;

use harness::Database;

use super::{NewAuthorization, NewChallenge, NewOrder, Plan, Store, WorkKind};
use crate::acme::account::Account;
use crate::acme::challenge::{ChallengeResult, ChallengeType};
use crate::acme::identifier::Identifier;
use crate::acme::order::Order;
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::store::Lease;

const NOW: Timestamp = Timestamp::from_unix_s(1_800_000_000);
const LEASE: Duration = Duration::from_secs(20);

/// Makes of each named function a test on either database.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::store::tests::Fixture::new(harness::Database::sqlite()).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::store::tests::Fixture::new(harness::Database::postgres()).await).await;
            })+
        }
    };
}
use on_both;

/// A store, and how to open it again.
pub(super) struct Fixture {
    database: Database,
    store: Store,
}

impl Fixture {
    async fn new(database: Database) -> Self {
        let store = Store::open(&database.url(), 10).await.unwrap();
        store.migrate().await.unwrap();
        Self { database, store }
    }

    /// As another process would open it.
    async fn another(&self) -> Store {
        Store::open(&self.database.url(), 10).await.unwrap()
    }

    async fn account(&self, id: &str) -> Account {
        let account = account(id);
        self.store.register_account(account.clone()).await.unwrap();
        account
    }

    /// An order of a new account for these names, with one http-01 and one dns-01 challenge each.
    async fn order(&self, id: &str, names: &[&str]) -> Order {
        let account = self.account(&format!("{id}-account")).await;
        let authorizations = names.iter().map(|name| NewAuthorization {
            id: format!("{id}-{name}"),
            identifier: Identifier::dns(name).unwrap(),
            challenges: [ChallengeType::Http01, ChallengeType::Dns01]
                .map(|kind| NewChallenge {
                    id: format!("{id}-{name}-{}", kind.as_str()),
                    kind,
                    token: format!("token-{id}-{name}"),
                })
                .into(),
        });
        let order = NewOrder {
            id: id.to_owned(),
            ca: "ca".to_owned(),
            account_id: account.id,
            created_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(1000)),
            authorizations: authorizations.collect(),
        };
        self.store.create_order(&order).await.unwrap();
        self.read(id).await
    }

    async fn read(&self, id: &str) -> Order {
        self.store.order("ca", id).await.unwrap().unwrap()
    }

    async fn status(&self, id: &str) -> &'static str {
        self.read(id).await.status(NOW).as_str()
    }

    async fn claim(&self, kind: WorkKind, now: Timestamp) -> Option<Lease> {
        self.store.claim(kind, now, LEASE, 1, Entropy).await.unwrap().pop()
    }

    /// Begins a challenge and claims it.
    async fn begin(&self, challenge: &str) -> Lease {
        assert!(self.store.begin_challenge(challenge, NOW).await.unwrap());
        self.claim(WorkKind::Validation, NOW).await.unwrap()
    }

    async fn ready_order(&self, id: &str) -> Order {
        let order = self.order(id, &["a.test"]).await;
        let lease = self.begin(&format!("{id}-a.test-http-01")).await;
        assert!(self.store.conclude_challenge(&lease, &proved(), None).await.unwrap());
        assert_eq!(self.status(id).await, "ready");
        order
    }

    async fn plan(&self, order: &Order, certificate_id: &str) -> bool {
        let issuer_id = self.store.keep_issuer("chain").await.unwrap();
        let plan = Plan {
            order_id: order.id.clone(),
            ca: "ca".to_owned(),
            account_id: order.account_id.clone(),
            csr: b"csr".to_vec(),
            certificate_id: certificate_id.to_owned(),
            issuer_id,
            serial: format!("serial-{certificate_id}"),
            tbs: b"tbs".to_vec(),
            now: NOW,
        };
        self.store.plan_issuance(plan).await.unwrap()
    }
}

fn account(id: &str) -> Account {
    Account {
        id: id.to_owned(),
        ca: "ca".to_owned(),
        jwk: "{}".to_owned(),
        thumbprint: format!("thumbprint-{id}"),
        contact: vec!["mailto:a@b.test".to_owned()],
        terms_agreed_at: None,
        created_at: NOW,
        deactivated_at: None,
    }
}

fn proved() -> ChallengeResult {
    ChallengeResult::Proved { at: NOW }
}

fn failed() -> ChallengeResult {
    use crate::acme::problem::{Problem, ProblemType};
    ChallengeResult::Failed { problem: Problem::new(ProblemType::Dns, "NXDOMAIN") }
}
