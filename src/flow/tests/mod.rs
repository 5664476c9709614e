//! Flows against a real SQLite file, a clock turned by hand, and a signing key that may be sick.

mod accounts;
mod beginning;
mod crl;
mod finalizing;
mod given_up;
mod histories;
mod issuing;
mod limited;
mod offered;
mod ordering;
mod recheck;
mod retaining;
mod trail;
mod validating;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use harness::csr::Csr;
use harness::{Algorithm, Database, Key};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::sync::{Semaphore, mpsc};

use super::{
    AskedIdentifier, AtOnce, Context, Error, Handed, Handover, Limits, NewAccount, NewKey,
    NewOrderRequest, Shares, begin_challenge, change_key, deactivate_account,
    deactivate_authorization, finalize, issue, new_account, new_authz, new_order, own_certificate,
    update_account, validate,
};
use crate::acme::account::Account;
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::challenge::{ChallengeResult, ChallengeStatus, ChallengeType};
use crate::acme::order::{Order, OrderStatus};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{Authorities, Authority, Lifetime, Meta, NewCa, Proof, Wanted, prepare_ca};
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::jose::jwk::Jwk;
use crate::ledger::{Actor, Entry, Kind};
use crate::policy::Policy;
use crate::signer::key_file::{KeyFile, generate};
use crate::signer::{BoxFuture, Health, SignError, Signer};
use crate::store::{Conclusion, Lease, Left, Store, WorkKind};
use crate::validation::{Options, Validator};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm, VerifiedSignature};
use crate::x509::csr::CertificateRequest;
use crate::x509::dates::RequestedDates;
use crate::x509::profile::Profile;

const START: Timestamp = Timestamp::from_unix_s(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);
const ACCOUNT_URL: &str = "https://ca.test/acme/web/account/1";
const LEASE: Duration = Duration::from_secs(20);

/// A key that first goes through a list of ailments, then signs.
struct Sick {
    key: KeyFile,
    /// Whoever has it holds every signature up.
    turn: tokio::sync::Mutex<()>,
    /// What it answers instead.
    ailments: Mutex<VecDeque<Result<VerifiedSignature, SignError>>>,
    asked: AtomicUsize,
}

impl Sick {
    fn suffers(&self, ailment: &SignError, times: usize) {
        let ailments = std::iter::repeat_n(Err(ailment.clone()), times);
        self.ailments.lock().unwrap().extend(ailments);
    }

    /// Answers with a signature of something else, as if nobody had verified it.
    async fn lies(&self) {
        let lie = self.key.sign(b"something else".to_vec()).await;
        self.ailments.lock().unwrap().push_back(lie);
    }

    /// Until what is returned is dropped, nothing is signed.
    fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.try_lock().unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Signer for Sick {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<VerifiedSignature, SignError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.ailments.lock().unwrap().pop_front() {
            Some(answer) => Box::pin(async move { answer }),
            None => Box::pin(async move {
                let _turn = self.turn.lock().await;
                self.key.sign(message).await
            }),
        }
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn describe(&self) -> String {
        "a sick key".to_owned()
    }
}

fn away() -> SignError {
    SignError::Unavailable { detail: "the token is away".to_owned() }
}

fn wrong() -> SignError {
    SignError::WrongSignature { key_identifier: "00".to_owned() }
}

/// A CA with one account, at work on nothing.
struct Site {
    context: Context,
    authority: Arc<Authority>,
    signer: Arc<Sick>,
    account: Account,
    key: Key,
    database: Database,
}

impl Site {
    async fn new() -> Self {
        Self::with(validator(), |_| {}).await
    }

    /// With a CA that is bent a little, and that looks at the network in this way.
    async fn with(validator: Validator, bend: impl FnOnce(&mut Authority)) -> Self {
        let database = Database::sqlite();
        let metrics = Arc::new(crate::telemetry::metrics::Metrics::new());
        let url = database.url();
        let store = Store::open_counted(&url, 1, metrics.store.clone()).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Clock::fake(START);
        let (mut authority, signer) = authority(&store, clock.now()).await;
        bend(&mut authority);
        let authority = Arc::new(authority);
        let context = Context {
            store,
            clock,
            entropy: Entropy,
            authorities: ArcSwap::from_pointee(Authorities::new(vec![Arc::clone(&authority)])),
            validator: ArcSwap::from_pointee(validator),
            limits: ArcSwap::from_pointee(Limits {
                hold: Duration::ZERO,
                validation_attempts: 4,
                ..Limits::default()
            }),
            at_once: AtOnce::default(),
            at_cap: Default::default(),
            metrics,
            refusals: Default::default(),
            changes: Default::default(),
        };
        let key = Key::new(Algorithm::Es256);
        let (account, created) = new_account(&context, &authority, asked(&key)).await.unwrap();
        assert!(created);
        Self { context, authority, signer, account, key, database }
    }

    /// As by a reload with another list of challenges.
    fn offer(&mut self, challenges: &[ChallengeType]) {
        self.context.authorities.store(Arc::new(Authorities::new(Vec::new())));
        let authority = Arc::get_mut(&mut self.authority).unwrap();
        authority.proof.challenges = challenges.to_vec();
        let authorities = Authorities::new(vec![Arc::clone(&self.authority)]);
        self.context.authorities.store(Arc::new(authorities));
    }

    fn store(&self) -> &Store {
        &self.context.store
    }

    fn advance(&self, span: Duration) {
        self.context.clock.advance(span);
    }

    async fn place(&self, names: &[&str]) -> Order {
        let identifiers = names.iter().map(|name| asked_name(name)).collect();
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        new_order(&self.context, &self.authority, &self.account, request).await.unwrap()
    }

    /// The client says that this challenge is ready.
    async fn begin(&self, of: &Authorization, challenge: &str) -> Result<Authorization, Error> {
        begin_challenge(&self.context, of.clone(), challenge, &self.account, ACCOUNT_URL).await
    }

    async fn order(&self, id: &str) -> Order {
        self.store().order("web", id).await.unwrap().unwrap()
    }

    async fn status(&self, id: &str) -> OrderStatus {
        self.order(id).await.status(self.context.clock.now())
    }

    /// Claims the only piece of work that is due.
    async fn claim(&self, kind: WorkKind) -> Option<Lease> {
        let now = self.context.clock.now();
        let mut leases =
            self.store().claim(kind, now, LEASE, 10, Left::default(), Entropy).await.unwrap();
        assert!(leases.len() <= 1);
        leases.pop()
    }

    /// How long until work of this kind is due; `None` where there is none.
    async fn pause(&self, kind: WorkKind) -> Option<Duration> {
        let due = self.store().next_due(kind).await.unwrap()?;
        Some(due.since(self.context.clock.now()))
    }

    /// An order whose authorizations are all proved.
    async fn ready(&self, names: &[&str]) -> Order {
        let order = self.place(names).await;
        for placed in &order.authorizations {
            // By an earlier order.
            if placed.status(self.context.clock.now()) == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = &placed.challenges[0].id;
            let begun = self.begin(placed, challenge).await.unwrap();
            assert!(begun.challenges.iter().any(|one| one.begun_at.is_some()));
            let lease = self.claim(WorkKind::Validation).await.unwrap();
            let now = self.context.clock.now();
            let result = ChallengeResult::Proved { at: now };
            let proved = Conclusion { result, evidence: None, attested_key: None };
            let entry = Entry::new(Kind::AuthorizationValid, Actor::Kipuka, "by the test", now);
            let store = self.store();
            assert!(store.conclude_challenge(&lease, &proved, &entry).await.unwrap());
        }
        assert_eq!(self.status(&order.id).await, OrderStatus::Ready);
        order
    }

    async fn finalize(&self, order: &Order, csr: &[u8]) -> Result<OrderStatus, Error> {
        let order = finalize(&self.context, &self.authority, &self.account, &order.id, csr).await?;
        Ok(order.status(self.context.clock.now()))
    }

    /// An order whose certificate is planned, with its CSR.
    async fn planned(&self) -> (Order, Vec<u8>) {
        let order = self.ready(&["a.test"]).await;
        let csr = Csr::new(&["a.test"]).der();
        assert_eq!(self.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
        (order, csr)
    }

    /// Does the issuance that is due, if any.
    async fn issue(&self) {
        let lease = self.claim(WorkKind::Issuance).await.unwrap();
        issue(&self.context, lease).await.unwrap();
    }

    fn commits(&self) -> u64 {
        let metrics = self.context.metrics.encode(crate::telemetry::metrics::Format::Prometheus);
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("kipuka_store_commits_total "));
        line.unwrap().parse().unwrap()
    }

    /// Looks behind the store: how many rows a query counts.
    async fn count(&self, sql: &'static str) -> i64 {
        let mut connection = SqliteConnection::connect(&self.database.url()).await.unwrap();
        sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
    }

    /// How many transactions the store was given, be it that nothing of them was kept.
    fn transactions(&self) -> u64 {
        let text = self.context.metrics.encode(crate::telemetry::metrics::Format::Prometheus);
        let series = "kipuka_store_transaction_seconds_count{access=\"write\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    }

    async fn signed(&self) -> i64 {
        self.count("SELECT COUNT(*) FROM certificates WHERE certificate IS NOT NULL").await
    }
}

fn asked(key: &Key) -> NewAccount {
    NewAccount {
        key: Jwk::from_json(&key.jwk().to_string()).unwrap(),
        contact: Vec::new(),
        terms_agreed: true,
        only_return_existing: false,
        external_account_binding: None,
        url: "https://ca.test/acme/web/new-account".to_owned(),
        network: None,
    }
}

fn asked_name(name: &str) -> AskedIdentifier {
    AskedIdentifier { kind: "dns".to_owned(), value: name.to_owned(), ancestor_domain: None }
}

/// A root that issues by itself.
async fn authority(store: &Store, now: Timestamp) -> (Authority, Arc<Sick>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let public_key = generate(&path).unwrap();
    let key = KeyFile::open(&path, None, Some(&public_key)).unwrap();
    let new = NewCa {
        subject: &"CN=a root".parse().unwrap(),
        public_key: &public_key,
        key_identifier: None,
        issuer: None,
        path_len: Some(0),
        lifetime: Lifetime::For(DAY * 3650),
    };
    let root = prepare_ca(&new, key.algorithm(), now, Entropy).unwrap();
    let chain = root.sign(&key).await.unwrap();
    let signer = Arc::new(Sick {
        key,
        turn: Default::default(),
        ailments: Mutex::default(),
        asked: AtomicUsize::default(),
    });
    let authority = Authority {
        id: "web".to_owned(),
        name: "a CA".to_owned(),
        issuer_id: store.keep_issuer(&chain.download_chain()).await.unwrap(),
        chain,
        alternates: Vec::new(),
        signer: Arc::clone(&signer) as Arc<dyn Signer>,
        crl_validity: Some(DAY * 7),
        profile: Profile::tls_server(90 * 24 * 3600),
        profiles: Vec::new(),
        subdomain_authorizations: false,
        policy: Policy::default(),
        meta: Meta::default(),
        proof: Proof::default(),
    };
    (authority, signer)
}

/// Finds nobody at home, wherever it looks.
fn validator() -> Validator {
    let closed = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Validator::new(Options {
        resolvers: vec![closed()],
        http_port: closed().port(),
        https_port: closed().port(),
        tls_alpn_port: closed().port(),
        ..Options::default()
    })
    .unwrap()
}

/// What is handed over from now on, which nobody does.
fn receive<K: Send + 'static>(handover: &Handover<K>) -> mpsc::UnboundedReceiver<Handed<K>> {
    let (places, shares) = (Arc::new(Semaphore::new(4)), Arc::new(Shares::default()));
    let (sender, receiver) = mpsc::unbounded_channel();
    let take = move |handed| sender.send(handed).err().map(|refused| refused.0);
    handover.open(places, shares, Box::new(take));
    receiver
}

#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Problem {
    match result {
        Err(Error::Refused(problem)) => *problem,
        other => panic!("{other:?}"),
    }
}
