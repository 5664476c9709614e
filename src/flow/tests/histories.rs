//! Random histories: clients, validators, clocks, crashes, two instances on one database. After every
//! step nothing may have moved but along the arrows of RFC 8555 §7.1.6.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use futures_util::future::join_all;
use harness::Responder;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use super::*;
use crate::acme::account::AccountStatus;
use crate::acme::key_authorization::key_authorization;

const NAMES: [&str; 3] = ["a.localhost", "b.localhost", "c.localhost"];
const CLIENTS: usize = 2;
/// So few that what is done often meets what was done.
const MAX_ORDERS: usize = 3;
/// These cases are long: of proptest's usual 256, or of what `PROPTEST_CASES` says, so many are one.
const CASES_PART: u32 = 10;
/// Longer than any lease and any pause.
const LONG: Duration = Duration::from_secs(40);

/// What somebody does. Where it takes one of several, any will do.
#[derive(Clone, Debug)]
enum Act {
    /// For the names whose bits are set.
    Place {
        client: usize,
        names: usize,
    },
    Begin {
        client: usize,
        which: Index,
        answer: Answer,
    },
    /// By two ways at once, of which one is right.
    BeginTwice {
        client: usize,
        which: Index,
    },
    /// All of one order, rightly.
    BeginAll {
        client: usize,
        which: Index,
    },
    GiveUpAuthorization {
        client: usize,
        which: Index,
    },
    GiveUpAccount {
        client: usize,
    },
    Finalize {
        client: usize,
        which: Index,
        right: bool,
    },
    /// A worker claims what is due.
    Claim(WorkKind, Fate),
    /// A worker that was slow goes on.
    GoOn(Index),
    /// An instance is killed and starts again.
    Restart,
    Ail(Ailment),
    Wait(u64),
}

/// What the client's server says to the validation.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Right,
    Wrong,
    Nothing,
}

/// What becomes of a worker that has claimed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    /// Between the claim and its settlement.
    Dies,
    /// So slow that its lease may lapse meanwhile.
    Lingers,
}

/// What the signer answers the next time it is asked.
#[derive(Clone, Copy, Debug)]
enum Ailment {
    Away,
    WrongSignature,
    Lie,
}

/// By which instance what is done, and what the other one does at the same time.
type Step = (usize, Act, Option<Act>);

fn act() -> impl Strategy<Value = Act> {
    let client = || 0..CLIENTS;
    let which = any::<Index>;
    let names = prop_oneof![2 => prop::sample::select(vec![1_usize, 2, 4]), 1 => 1_usize..8];
    let answer =
        prop_oneof![6 => Just(Answer::Right), 1 => Just(Answer::Wrong), 1 => Just(Answer::Nothing)];
    let fate =
        || prop_oneof![6 => Just(Fate::Works), 1 => Just(Fate::Dies), 1 => Just(Fate::Lingers)];
    let ailment =
        prop_oneof![Just(Ailment::Away), Just(Ailment::WrongSignature), Just(Ailment::Lie)];
    // Moments, a lease and its like, a day, most and all of an order's lifetime.
    let wait = prop_oneof![9 => 0_u64..4, 6 => 15_u64..25, 1 => Just(90_000), 1 => Just(6 * 86_400), 1 => Just(8 * 86_400)];
    prop_oneof![
        12 => (client(), names).prop_map(|(client, names)| Act::Place { client, names }),
        12 => (client(), which()).prop_map(|(client, which)| Act::BeginAll { client, which }),
        12 => (client(), which(), answer)
            .prop_map(|(client, which, answer)| Act::Begin { client, which, answer }),
        4 => (client(), which()).prop_map(|(client, which)| Act::BeginTwice { client, which }),
        24 => fate().prop_map(|fate| Act::Claim(WorkKind::Validation, fate)),
        20 => (client(), which(), prop::bool::weighted(0.8))
            .prop_map(|(client, which, right)| Act::Finalize { client, which, right }),
        16 => fate().prop_map(|fate| Act::Claim(WorkKind::Issuance, fate)),
        6 => which().prop_map(Act::GoOn),
        2 => (client(), which())
            .prop_map(|(client, which)| Act::GiveUpAuthorization { client, which }),
        1 => client().prop_map(|client| Act::GiveUpAccount { client }),
        2 => Just(Act::Restart),
        3 => ailment.prop_map(Act::Ail),
        8 => wait.prop_map(Act::Wait),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    vec((0..2_usize, act(), prop::option::weighted(0.3, act())), 10..40)
}

/// Two instances of a CA on one database.
struct World {
    database: Database,
    instances: [ArcSwap<Context>; 2],
    authority: Arc<Authority>,
    signer: Arc<Sick>,
    responder: Responder,
    clock: Clock,
    /// How many objects of each kind had each status at some look.
    statuses: Mutex<BTreeMap<(&'static str, &'static str), usize>>,
}

impl World {
    async fn new(database: Database) -> Self {
        let clock = Clock::fake(START);
        let store = Store::open(&database.url(), 4).await.unwrap();
        store.migrate().await.unwrap();
        let (authority, signer) = authority(&store, clock.now()).await;
        let authority = Arc::new(authority);
        let responder = Responder::start().await;
        let instance = |tls| open(&database, &authority, &responder, &clock, tls);
        let instances = [instance(true).await, instance(false).await].map(ArcSwap::from_pointee);
        let statuses = Mutex::default();
        Self { database, instances, authority, signer, responder, clock, statuses }
    }

    async fn restart(&self, instance: usize) {
        let context =
            open(&self.database, &self.authority, &self.responder, &self.clock, instance == 0)
                .await;
        context.store.lapse_leases(self.clock.now()).await.unwrap();
        self.instances[instance].store(Arc::new(context));
    }

    async fn play(&self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let play = Play::begin(self).await;
        for (instance, act, meanwhile) in &steps {
            match meanwhile {
                None => play.act(*instance, act).await,
                Some(other) => {
                    tokio::join!(play.act(*instance, act), play.act(1 - instance, other));
                }
            }
            play.look(&format!("{act:?} and {meanwhile:?}")).await?;
        }
        play.end().await
    }
}

async fn open(
    database: &Database,
    authority: &Arc<Authority>,
    responder: &Responder,
    clock: &Clock,
    sees_tls: bool,
) -> Context {
    let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let validator = Validator::new(Options {
        resolvers: vec![closed()],
        http_port: responder.http_port,
        https_port: closed().port(),
        // One gets a wrong answer where the other gets none.
        tls_alpn_port: if sees_tls { responder.tls_port } else { closed().port() },
        ..Options::default()
    });
    Context {
        store: Store::open(&database.url(), 4).await.unwrap(),
        clock: clock.clone(),
        entropy: Entropy,
        authorities: ArcSwap::from_pointee(Authorities::new(vec![Arc::clone(authority)])),
        validator: ArcSwap::from_pointee(validator.unwrap()),
        limits: ArcSwap::from_pointee(Limits { hold: Duration::ZERO, ..Limits::default() }),
    }
}

struct Client {
    account: Account,
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
            let client = Client { account, orders: Vec::new(), authorizations: Vec::new() };
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
        let identifiers = chosen
            .map(|(_, name)| AskedIdentifier {
                kind: "dns".to_owned(),
                value: (*name).into(),
                ancestor_domain: None,
            })
            .collect();
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

    async fn begin_one(&self, context: &Context, id: &str, answer: Answer) {
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
        may_be_refused(begin_challenge(context, found, &challenge.id, "https://ca.test/a").await);
    }

    async fn finalize(&self, context: &Context, client: usize, which: Index, right: bool) {
        let account = self.account(context, client).await;
        let id = one_of(&self.clients[client].lock().unwrap().orders, which);
        let Some(id) = id.filter(|_| account.status() == AccountStatus::Valid) else { return };
        let order = context.store.order("web", &id).await.unwrap().unwrap();
        let names: Vec<String> = order.identifiers.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let csr = if right { Csr::new(&names) } else { Csr::new(&["d.localhost"]) };
        may_be_refused(finalize(context, &self.world.authority, &account, &id, &csr.der()).await);
    }

    /// Compares everything with the last look.
    async fn look(&self, after: &str) -> Result<(), TestCaseError> {
        for (number, client) in self.clients.iter().enumerate() {
            let (account, orders, authorizations) = {
                let client = client.lock().unwrap();
                (client.account.id.clone(), client.orders.clone(), client.authorizations.clone())
            };
            let context = self.world.instances[number % 2].load_full();
            let (store, now) = (&context.store, self.world.clock.now());
            let known = store.account("web", &account).await.unwrap().unwrap();
            self.moved("account", &account, known.status().as_str(), after)?;
            let mut statuses = HashMap::new();
            for id in authorizations {
                let found = store.authorization("web", &id).await.unwrap().unwrap();
                prop_assert_eq!(&found.account_id, &account, "{} is shared", id);
                let status = found.status(now).as_str();
                self.moved("authorization", &id, status, after)?;
                for challenge in &found.challenges {
                    let status = found.challenge_status(challenge, now).as_str();
                    self.moved("challenge", &challenge.id, status, after)?;
                }
                let ended = found.challenges.iter().filter(|one| one.result.is_some()).count();
                prop_assert!(ended <= 1, "{} challenges decided {} by {}", ended, id, after);
                statuses.insert(id, status);
            }
            let mut listed = Vec::new();
            for id in orders {
                let order = store.order("web", &id).await.unwrap().unwrap();
                let status = order.status(now);
                self.moved("order", &id, status.as_str(), after)?;
                prop_assert_eq!(&order.account_id, &account);
                let all_valid =
                    order.authorizations.iter().all(|one| statuses.get(&one.id) == Some(&"valid"));
                match &status {
                    OrderStatus::Ready => prop_assert!(all_valid, "{} is ready too soon", id),
                    OrderStatus::Pending => prop_assert!(!all_valid, "{} is ready too late", id),
                    OrderStatus::Valid { certificate_id } => {
                        self.has_its_certificate(store, &order, certificate_id).await?;
                    }
                    OrderStatus::Processing | OrderStatus::Invalid { .. } => {}
                }
                if !matches!(status, OrderStatus::Invalid { .. }) {
                    listed.push(id);
                }
            }
            let mut page = store.orders_of(&account, now, None, 1000).await.unwrap().ids;
            page.sort();
            listed.sort();
            prop_assert_eq!(page, listed, "the account's list, after {}", after);
        }
        Ok(())
    }

    fn moved(
        &self,
        kind: &'static str,
        id: &str,
        status: &'static str,
        after: &str,
    ) -> Result<(), TestCaseError> {
        let mut seen = self.seen.lock().unwrap();
        let before = seen.statuses.insert((kind, id.to_owned()), status).unwrap_or(match kind {
            "account" => "valid",
            // It may be of an order that was placed in this very step.
            _ => "pending",
        });
        if before != status {
            *self.world.statuses.lock().unwrap().entry((kind, status)).or_default() += 1;
        }
        let may = before == status || reachable(kind, before).contains(&status);
        prop_assert!(may, "the {} {} went from {} to {} by {}", kind, id, before, status, after);
        Ok(())
    }

    async fn has_its_certificate(
        &self,
        store: &Store,
        order: &Order,
        id: &str,
    ) -> Result<(), TestCaseError> {
        let issued = store.certificate("web", id).await.unwrap().unwrap();
        prop_assert_eq!(&issued.account_id, &order.account_id);
        let certificate = openssl::x509::X509::from_der(&issued.certificate).unwrap();
        let names = certificate.subject_alt_names().unwrap();
        let names: Vec<_> = names.iter().filter_map(|name| name.dnsname()).collect();
        let ordered: Vec<_> = order.identifiers.iter().map(ToString::to_string).collect();
        prop_assert_eq!(names, ordered);
        let mut seen = self.seen.lock().unwrap();
        let first = seen.certificates.entry(order.id.clone());
        prop_assert_eq!(first.or_insert_with(|| issued.certificate.clone()), &issued.certificate);
        Ok(())
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

/// What RFC 8555 §7.1.6 lets follow sooner or later.
fn reachable(kind: &str, status: &str) -> &'static [&'static str] {
    match (kind, status) {
        ("account", "valid") => &["deactivated", "revoked"],
        ("order", "pending") => &["ready", "processing", "valid", "invalid"],
        ("order", "ready") => &["processing", "valid", "invalid"],
        ("order" | "challenge", "processing") => &["valid", "invalid"],
        ("authorization", "pending") => &["valid", "invalid", "expired", "deactivated", "revoked"],
        ("authorization", "valid") => &["expired", "deactivated", "revoked"],
        ("challenge", "pending") => &["processing", "valid", "invalid"],
        _ => &[],
    }
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
        Database::Sqlite(_) => {
            let mut connection = SqliteConnection::connect(&database.url()).await.unwrap();
            sqlx::query(count).bind(account).fetch_one(&mut connection).await.unwrap().get(0)
        }
        Database::Postgres(_) => {
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
