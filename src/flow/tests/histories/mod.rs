//! Random histories: clients, validators, clocks, crashes, two instances on one database. After every
//! step nothing may have moved but along the arrows of RFC 8555 §7.1.6.

mod act;
mod look;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use futures_util::future::join_all;
use harness::Responder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use self::act::{Act, Ailment, Answer, Fate, Step, history};
use self::world::{Instance, World};
use super::*;
use crate::acme::account::AccountStatus;
use crate::acme::key_authorization::key_authorization;

const NAMES: [&str; 3] = ["a.localhost", "b.localhost", "c.localhost"];
const CLIENTS: usize = 2;
/// Of one client, with and without an order.
const MAX_AUTHORIZATIONS: usize = 12;
/// So few that what is done often meets what was done.
const MAX_ORDERS: usize = 3;
/// These cases are long: of proptest's usual 256, or of what `PROPTEST_CASES` says, so many are one.
const CASES_PART: u32 = 10;
/// Longer than any lease and any pause.
const LONG: Duration = Duration::from_secs(40);

struct Client {
    account: Account,
    /// Thumbprints of keys that it had before.
    given_up: Vec<String>,
    orders: Vec<String>,
    authorizations: Vec<String>,
}

/// One history, with new accounts; names, database and clock are those of the histories before.
struct Play<'w> {
    world: &'w World,
    clients: [Mutex<Client>; CLIENTS],
    lingering: Mutex<Vec<(usize, WorkKind, Lease)>>,
    seen: Mutex<Seen>,
}

/// What the last look saw.
#[derive(Default)]
struct Seen {
    /// By kind and id.
    statuses: HashMap<(&'static str, String), &'static str>,
    certificates: HashMap<String, Vec<u8>>,
}

impl<'w> Play<'w> {
    async fn begin(world: &'w World) -> Self {
        let context = world.instances[0].load_full();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let key = Key::new(Algorithm::Es256);
            let account = new_account(&context, &world.authority, asked(&key)).await.unwrap().0;
            let (given_up, orders, authorizations) = (Vec::new(), Vec::new(), Vec::new());
            let client = Client { account, given_up, orders, authorizations };
            clients.push(Mutex::new(client));
        }
        let clients = clients.try_into().unwrap_or_else(|_| unreachable!("as many as there are"));
        Self { world, clients, lingering: Mutex::default(), seen: Mutex::default() }
    }

    async fn act(&self, instance: usize, act: &Act) {
        let context = self.world.instances[instance].load_full();
        let context = &context;
        match act {
            Act::Place { client, names } => self.place(context, *client, *names).await,
            Act::PreAuthorize { client, name } => {
                self.pre_authorize(context, *client, NAMES[*name]).await;
            }
            Act::Begin { client, which, answer } => {
                let id = one_of(&self.clients[*client].lock().unwrap().authorizations, *which);
                if let Some(id) = id {
                    self.begin_one(context, &id, *answer).await;
                }
            }
            Act::BeginTwice { client, which } => {
                let id = one_of(&self.clients[*client].lock().unwrap().authorizations, *which);
                if let Some(id) = id {
                    self.begin_one(context, &id, Answer::Right).await;
                    self.begin_one(context, &id, Answer::Nothing).await;
                }
            }
            Act::BeginAll { client, which } => {
                let id = one_of(&self.clients[*client].lock().unwrap().orders, *which);
                let Some(id) = id else { return };
                let order = context.store.order("web", &id).await.unwrap().unwrap();
                for authorization in &order.authorizations {
                    self.begin_one(context, &authorization.id, Answer::Right).await;
                }
            }
            Act::GiveUpAuthorization { client, which } => {
                let id = one_of(&self.clients[*client].lock().unwrap().authorizations, *which);
                if let Some(id) = id {
                    let found = context.store.authorization("web", &id).await.unwrap().unwrap();
                    may_be_refused(deactivate_authorization(context, found).await);
                }
            }
            Act::GiveUpAccount { client } => {
                let account = self.account(context, *client).await;
                if account.status() == AccountStatus::Valid {
                    may_be_refused(deactivate_account(context, account).await);
                }
            }
            Act::ChangeKey { client, to } => self.change_key(context, *client, *to).await,
            Act::Finalize { client, which, right } => {
                self.finalize(context, *client, *which, *right).await;
            }
            Act::Claim(kind, fate) => {
                let now = context.clock.now();
                let leases = context
                    .store
                    .claim(*kind, now, LEASE, 3, Left::default(), Entropy)
                    .await
                    .unwrap();
                match fate {
                    Fate::Works => {
                        let works = leases.into_iter().map(|lease| work(context, *kind, lease));
                        join_all(works).await;
                    }
                    Fate::Dies => drop(leases),
                    Fate::Lingers => {
                        let leases = leases.into_iter().map(|lease| (instance, *kind, lease));
                        self.lingering.lock().unwrap().extend(leases);
                    }
                }
            }
            Act::GoOn(which) => {
                let lingering = {
                    let mut all = self.lingering.lock().unwrap();
                    (!all.is_empty()).then(|| {
                        let place = which.index(all.len());
                        all.swap_remove(place)
                    })
                };
                if let Some((instance, kind, lease)) = lingering {
                    work(&self.world.instances[instance].load_full(), kind, lease).await;
                }
            }
            Act::Restart => self.world.restart(instance).await,
            Act::Ail(Ailment::Away) => self.world.signer.suffers(&away(), 1),
            Act::Ail(Ailment::WrongSignature) => self.world.signer.suffers(&wrong(), 1),
            Act::Ail(Ailment::Lie) => self.world.signer.lies().await,
            Act::Wait(seconds) => self.world.clock.advance(Duration::from_secs(*seconds)),
        }
    }

    /// The account as every request finds it.
    async fn account(&self, context: &Context, client: usize) -> Account {
        let id = self.clients[client].lock().unwrap().account.id.clone();
        context.store.account("web", &id).await.unwrap().unwrap()
    }

    async fn place(&self, context: &Context, client: usize, names: usize) {
        let account = self.account(context, client).await;
        let many = self.clients[client].lock().unwrap().orders.len() >= MAX_ORDERS;
        if many || account.status() != AccountStatus::Valid {
            return;
        }
        let chosen = NAMES.iter().enumerate().filter(|(bit, _)| names & (1 << bit) != 0);
        let identifiers = chosen.map(|(_, name)| asked_name(name)).collect();
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        let placed = new_order(context, &self.world.authority, &account, request).await;
        let Some(order) = may_be_refused(placed) else { return };
        let mut client = self.clients[client].lock().unwrap();
        for authorization in &order.authorizations {
            if !client.authorizations.contains(&authorization.id) {
                client.authorizations.push(authorization.id.clone());
            }
        }
        client.orders.push(order.id);
    }

    async fn pre_authorize(&self, context: &Context, client: usize, name: &str) {
        let account = self.account(context, client).await;
        let many = self.clients[client].lock().unwrap().authorizations.len() >= MAX_AUTHORIZATIONS;
        if many || account.status() != AccountStatus::Valid {
            return;
        }
        let asked = asked_name(name);
        let made = new_authz(context, &self.world.authority, &account, asked, false).await;
        let Some(made) = may_be_refused(made) else { return };
        self.clients[client].lock().unwrap().authorizations.push(made.id);
    }

    async fn change_key(&self, context: &Context, client: usize, to: Option<usize>) {
        let account = self.account(context, client).await;
        if account.status() != AccountStatus::Valid {
            return;
        }
        let old = Jwk::from_json(&account.jwk).unwrap();
        let new = match to {
            Some(other) => Jwk::from_json(&self.account(context, other).await.jwk).unwrap(),
            None => Jwk::from_json(&Key::new(Algorithm::Es256).jwk().to_string()).unwrap(),
        };
        match may_be_refused(change_key(context, account, &old, &new).await) {
            Some(NewKey::Taken(account)) => {
                assert_eq!(account.thumbprint, new.thumbprint());
                let given_up = &mut self.clients[client].lock().unwrap().given_up;
                given_up.push(old.thumbprint());
                // It may have been its own before, and another's meanwhile.
                given_up.retain(|thumbprint| *thumbprint != account.thumbprint);
            }
            Some(NewKey::InUse(holder)) => {
                assert!(to.is_some(), "{holder} has a key that was just made");
            }
            None => {}
        }
    }

    async fn begin_one(&self, instance: &Instance, id: &str, answer: Answer) {
        let context: &Context = instance;
        let found = context.store.authorization("web", id).await.unwrap().unwrap();
        let account = context.store.account("web", &found.account_id).await.unwrap().unwrap();
        if account.status() != AccountStatus::Valid {
            return;
        }
        let kind = match answer {
            Answer::Right | Answer::Wrong => ChallengeType::Http01,
            Answer::Nothing => ChallengeType::TlsAlpn01,
        };
        let Some(challenge) = found.challenges.iter().find(|one| one.kind == kind).cloned() else {
            return;
        };
        let shown = match answer {
            Answer::Right => key_authorization(&challenge.token, &account.thumbprint),
            Answer::Wrong | Answer::Nothing => "wrong".to_owned(),
        };
        self.world.responder.show_http01(&challenge.token, &shown);
        let begun = begin_challenge(context, found, &challenge.id, &account, "https://ca.test/a");
        may_be_refused(instance.answer(begun).await);
    }

    async fn finalize(&self, instance: &Instance, client: usize, which: Index, right: bool) {
        let context: &Context = instance;
        let account = self.account(context, client).await;
        let id = one_of(&self.clients[client].lock().unwrap().orders, which);
        let Some(id) = id.filter(|_| account.status() == AccountStatus::Valid) else { return };
        let order = context.store.order("web", &id).await.unwrap().unwrap();
        let names: Vec<String> = order.identifiers.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let csr = if right { Csr::new(&names) } else { Csr::new(&["d.localhost"]) };
        let csr = csr.der();
        let finalized = finalize(context, &self.world.authority, &account, &id, &csr);
        may_be_refused(instance.answer(finalized).await);
    }

    /// Lets the workers go on in peace: then nothing is still under way, and every order that is
    /// valid has one certificate.
    async fn end(self) -> Result<(), TestCaseError> {
        self.world.signer.ailments.lock().unwrap().clear();
        let lingering = std::mem::take(&mut *self.lingering.lock().unwrap());
        for (instance, kind, lease) in lingering {
            work(&self.world.instances[instance].load_full(), kind, lease).await;
        }
        for round in 0.. {
            self.world.clock.advance(LONG);
            for kind in [WorkKind::Validation, WorkKind::Issuance] {
                self.act(round % 2, &Act::Claim(kind, Fate::Works)).await;
            }
            self.look("the end").await?;
            let store = &self.world.instances[0].load().store;
            let next = store.next_due(WorkKind::Validation).await.unwrap();
            if next.is_none() && store.next_due(WorkKind::Issuance).await.unwrap().is_none() {
                break;
            }
            prop_assert!(round < 30, "work is never done");
        }
        let seen = self.seen.into_inner().unwrap();
        let stuck = seen
            .statuses
            .iter()
            .find(|((kind, _), status)| *kind == "order" && **status == "processing");
        prop_assert!(stuck.is_none(), "{:?} is stuck", stuck);
        for client in self.clients {
            let client = client.into_inner().unwrap();
            let signed = count_certificates(&self.world.database, &client.account.id).await;
            let of = |id: &String| seen.certificates.contains_key(id);
            let valid = client.orders.iter().filter(|id| of(id)).count();
            prop_assert_eq!(signed, i64::try_from(valid).unwrap());
        }
        Ok(())
    }
}

fn one_of(ids: &[String], which: Index) -> Option<String> {
    (!ids.is_empty()).then(|| ids[which.index(ids.len())].clone())
}

async fn work(context: &Context, kind: WorkKind, lease: Lease) {
    let done = match kind {
        WorkKind::Validation => validate(context, lease).await,
        WorkKind::Issuance => issue(context, lease).await,
        WorkKind::Crl => unreachable!("no history claims it"),
    };
    done.unwrap();
}

/// A refusal is an answer like any other; a failure is none.
fn may_be_refused<T: fmt::Debug>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(Error::Refused(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn count_certificates(database: &Database, account: &str) -> i64 {
    let count = "SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL \
                 AND account_id = $1";
    match database {
        Database::Sqlite(_) | Database::Within { .. } => {
            let mut connection = SqliteConnection::connect(&database.url()).await.unwrap();
            sqlx::query(count).bind(account).fetch_one(&mut connection).await.unwrap().get(0)
        }
        Database::Postgres(_) | Database::Cluster(_) => {
            let mut connection = sqlx::PgConnection::connect(&database.url()).await.unwrap();
            sqlx::query(count).bind(account).fetch_one(&mut connection).await.unwrap().get(0)
        }
    }
}

fn explore(database: Database) {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new(database));
    let config = Config {
        cases: Config::default().cases / CASES_PART,
        source_file: Some(file!()),
        max_shrink_iters: 100,
        ..Config::default()
    };
    let explored =
        TestRunner::new(config).run(&history(), |steps| runtime.block_on(world.play(steps)));
    explored.unwrap_or_else(|error| panic!("{error}"));
    // Histories in which nothing happens would prove nothing.
    let statuses = world.statuses.into_inner().unwrap();
    for wanted in [("order", "valid"), ("order", "invalid"), ("authorization", "valid")] {
        assert!(statuses.contains_key(&wanted), "no {wanted:?} in {statuses:?}");
    }
}

#[test]
fn no_history_leaves_the_arrows_of_the_rfc_on_sqlite() {
    explore(Database::sqlite());
}

#[test]
fn no_history_leaves_the_arrows_of_the_rfc_on_postgres() {
    explore(Database::postgres());
}
