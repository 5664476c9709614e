//! Flows against a real SQLite file, a clock turned by hand, and a signing key that may be sick.

mod crl;
mod offered;
mod recheck;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use harness::csr::Csr;
use harness::{Algorithm, Database, Key};
use sqlx::{Connection as _, Row as _, SqliteConnection};

use super::{
    AskedIdentifier, Context, Error, Limits, NewAccount, NewOrderRequest, begin_challenge,
    deactivate_account, deactivate_authorization, finalize, issue, new_account, new_order,
    own_certificate, update_account, validate,
};
use crate::acme::account::Account;
use crate::acme::authorization::AuthorizationStatus;
use crate::acme::challenge::{ChallengeResult, ChallengeStatus, ChallengeType};
use crate::acme::order::{Order, OrderStatus};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{Authorities, Authority, Lifetime, Meta, NewCa, Proof, Wanted, prepare_ca};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::entropy::Entropy;
use crate::jose::jwk::Jwk;
use crate::policy::Policy;
use crate::signer::key_file::{KeyFile, generate};
use crate::signer::{BoxFuture, Health, SignError, Signer};
use crate::store::{Lease, Left, Store, WorkKind};
use crate::validation::{Options, Validator};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};
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
    /// What it answers instead.
    ailments: Mutex<VecDeque<Result<Vec<u8>, SignError>>>,
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

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, SignError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.ailments.lock().unwrap().pop_front() {
            Some(answer) => Box::pin(async move { answer }),
            None => self.key.sign(message),
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
        let store = Store::open(&database.url(), 1).await.unwrap();
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
        let asked = |name: &&str| AskedIdentifier {
            kind: "dns".to_owned(),
            value: (*name).into(),
            ancestor_domain: None,
        };
        let identifiers = names.iter().map(asked).collect();
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        new_order(&self.context, &self.authority, &self.account, request).await.unwrap()
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
            let begun = begin_challenge(&self.context, placed.clone(), challenge, ACCOUNT_URL)
                .await
                .unwrap();
            assert!(begun.challenges.iter().any(|one| one.begun_at.is_some()));
            let lease = self.claim(WorkKind::Validation).await.unwrap();
            let proved = ChallengeResult::Proved { at: self.context.clock.now() };
            assert!(
                self.store()
                    .conclude_challenge(&lease, &proved, None, self.context.clock.now())
                    .await
                    .unwrap()
            );
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

    /// Looks behind the store: how many rows a query counts.
    async fn count(&self, sql: &'static str) -> i64 {
        let mut connection = SqliteConnection::connect(&self.database.url()).await.unwrap();
        sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
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
    let signer = Arc::new(Sick { key, ailments: Mutex::default(), asked: AtomicUsize::default() });
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

#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Problem {
    match result {
        Err(Error::Refused(problem)) => *problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_validation_without_answer_is_put_off_with_doubling_pauses_and_then_given_up() {
    for kind in [ChallengeType::Http01, ChallengeType::TlsAlpn01] {
        let site = Site::new().await;
        let order = site.place(&["a.localhost"]).await;
        let placed = &order.authorizations[0];
        let challenge = placed.challenges.iter().find(|one| one.kind == kind).unwrap();
        let begun = begin_challenge(&site.context, placed.clone(), &challenge.id, ACCOUNT_URL)
            .await
            .unwrap();
        assert_eq!(begun.status(START), AuthorizationStatus::Pending);

        for (failed, pause) in [1, 2, 4].into_iter().enumerate() {
            let lease = site.claim(WorkKind::Validation).await.unwrap();
            validate(&site.context, lease).await.unwrap();
            let pause = Duration::from_secs(pause);
            // What went wrong until now, query by query, and when the next is due (RFC 8555 §8.2).
            let shown = site.store().to_validate(&challenge.id).await.unwrap().unwrap();
            let retry = shown.authorization.challenges[0].retry.clone().unwrap();
            assert_eq!(retry.at, site.context.clock.now().plus(pause));
            assert_eq!(retry.problem.subproblems.len(), failed + 1);
            assert_eq!(retry.problem.kind, ProblemType::Connection);
            assert_eq!(site.pause(WorkKind::Validation).await, Some(pause), "{kind:?}");
            assert_eq!(site.status(&order.id).await, OrderStatus::Pending);
            site.advance(pause - Duration::from_millis(1));
            assert!(site.claim(WorkKind::Validation).await.is_none());
            site.advance(Duration::from_millis(1));
        }
        let lease = site.claim(WorkKind::Validation).await.unwrap();
        assert_eq!(lease.attempt(), 4);
        validate(&site.context, lease).await.unwrap();
        assert_eq!(site.pause(WorkKind::Validation).await, None);

        let now = site.context.clock.now();
        let found = site.store().authorization("web", &placed.id).await.unwrap().unwrap();
        let AuthorizationStatus::Invalid { problem: Some(problem) } = found.status(now) else {
            panic!("{:?}", found.status(now))
        };
        assert_eq!(problem.kind, ProblemType::Connection);
        assert!(problem.detail.ends_with("(after 4 attempts)"), "{}", problem.detail);
        let shown = found.visible_challenges();
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].status(), ChallengeStatus::Invalid { problem });
        assert_eq!(site.status(&order.id).await.as_str(), "invalid");

        // Said again, the client gets the result; no work comes of it.
        begin_challenge(&site.context, found.clone(), &challenge.id, ACCOUNT_URL).await.unwrap();
        let other = found.challenges.iter().find(|one| one.kind != kind).unwrap();
        let problem =
            refusal(begin_challenge(&site.context, found.clone(), &other.id, ACCOUNT_URL).await);
        assert_eq!(problem.kind, ProblemType::Malformed);
        assert_eq!(site.pause(WorkKind::Validation).await, None);
    }
}

#[tokio::test]
async fn a_validation_that_has_become_pointless_is_dropped() {
    let site = Site::new().await;
    let order = site.place(&["a.localhost", "b.localhost", "c.localhost"]).await;
    for placed in &order.authorizations {
        begin_challenge(&site.context, placed.clone(), &placed.challenges[0].id, ACCOUNT_URL)
            .await
            .unwrap();
    }
    let now = site.context.clock.now();
    let leases = site
        .store()
        .claim(WorkKind::Validation, now, LEASE, 10, Left::default(), Entropy)
        .await
        .unwrap();
    let mut leases = leases.into_iter();
    let first = order
        .authorizations
        .iter()
        .find(|one| leases.as_slice()[0].subject() == one.challenges[0].id);
    deactivate_authorization(&site.context, first.unwrap().clone()).await.unwrap();
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 2);
    // Expired.
    site.advance(DAY * 8);
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 1);
    deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
    validate(&site.context, leases.next().unwrap()).await.unwrap();
    assert_eq!(
        site.count("SELECT COUNT(*) FROM authorizations WHERE concluded_by IS NOT NULL").await,
        0
    );
}

#[tokio::test]
async fn an_issuance_waits_for_its_signer_and_issues_exactly_one_certificate() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 3);
    site.signer.suffers(&SignError::Deadline { deadline: LEASE }, 3);
    site.signer.suffers(&SignError::PinRefused, 1);
    let (order, _) = site.planned().await;
    for pause in [1, 2, 2, 2, 2, 2, 2] {
        site.issue().await;
        let pause = Duration::from_secs(pause);
        assert_eq!(site.pause(WorkKind::Issuance).await, Some(pause));
        assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
        assert!(site.claim(WorkKind::Issuance).await.is_none());
        site.advance(pause);
    }
    assert_eq!(site.signed().await, 0);
    site.issue().await;
    let OrderStatus::Valid { certificate_id } = site.status(&order.id).await else {
        panic!("not valid")
    };
    assert_eq!(site.signer.asked(), 8);
    assert_eq!(site.signed().await, 1);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    let issued = site.store().certificate("web", &certificate_id).await.unwrap().unwrap();
    assert_eq!(issued.account_id, site.account.id);
    assert_eq!(issued.chain, site.authority.chain.download_chain());
    let certificate = openssl::x509::X509::from_der(&issued.certificate).unwrap();
    let root = openssl::x509::X509::from_pem(issued.chain.as_bytes()).unwrap();
    assert!(certificate.verify(&root.public_key().unwrap()).unwrap());
}

#[tokio::test]
async fn of_two_workers_on_one_plan_only_the_holder_of_the_lease_stores_a_certificate() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let lost = site.claim(WorkKind::Issuance).await.unwrap();
    site.advance(LEASE);
    let held = site.claim(WorkKind::Issuance).await.unwrap();
    issue(&site.context, lost).await.unwrap();
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    assert_eq!(site.signed().await, 0);
    issue(&site.context, held).await.unwrap();
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
    assert_eq!(site.signed().await, 1);
}

#[tokio::test]
async fn a_wrong_signature_is_never_stored() {
    let site = Site::new().await;
    site.signer.suffers(&wrong(), 2);
    site.signer.lies().await;
    site.signer.lies().await;
    let (order, _) = site.planned().await;
    for pause in [1, 2, 2, 2] {
        site.issue().await;
        assert_eq!(site.signed().await, 0);
        assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
        assert_eq!(site.pause(WorkKind::Issuance).await, Some(Duration::from_secs(pause)));
        site.advance(Duration::from_secs(pause));
    }
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn a_csr_that_is_sent_again_while_the_signer_is_away_plans_nothing_twice() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let (order, csr) = site.planned().await;
    site.issue().await;
    for _ in 0..3 {
        assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    }
    let other = refusal(site.finalize(&order, &Csr::new(&["a.test"]).der()).await);
    assert_eq!(other.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 1);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.finalize(&order, &csr).await.unwrap().as_str(), "valid");
    assert_eq!(site.signed().await, 1);
}

#[tokio::test]
async fn of_csrs_that_come_together_one_is_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let csrs = [Csr::new(&["a.test"]).der(), Csr::new(&["a.test"]).der()];
    let (one, same, other) = tokio::join!(
        site.finalize(&order, &csrs[0]),
        site.finalize(&order, &csrs[0]),
        site.finalize(&order, &csrs[1]),
    );
    let planned = site.store().order_csr(&order.id).await.unwrap().unwrap();
    let (won, lost) = if planned == csrs[0] {
        (vec![one, same], vec![other])
    } else {
        (vec![other], vec![one, same])
    };
    for result in won {
        assert_eq!(result.unwrap(), OrderStatus::Processing);
    }
    for result in lost {
        assert_eq!(refusal(result).kind, ProblemType::OrderNotReady);
    }
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
}

#[tokio::test]
async fn a_plan_older_than_a_day_is_given_up() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let (order, csr) = site.planned().await;
    site.advance(DAY);
    site.issue().await;
    assert_eq!(site.signer.asked(), 1, "a day is not too long");
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.signer.asked(), 1);
    let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
        panic!("not invalid")
    };
    assert_eq!(problem.kind, ProblemType::ServerInternal);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
}

#[tokio::test]
async fn a_plan_that_was_tampered_with_is_never_signed() {
    let site = Site::new().await;
    for part in 0..8 {
        let (order, _) = site.planned().await;
        let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
        let mut tbs = planned.tbs;
        // Everywhere: in the serial, the names, the dates, the key, the extensions.
        let place = part * (tbs.len() - 1) / 7;
        tbs[place] ^= 1;
        let mut connection = SqliteConnection::connect(&site.database.url()).await.unwrap();
        let update = "UPDATE certificates SET tbs = $2 WHERE order_id = $1";
        let update = sqlx::query(update).bind(&order.id).bind(tbs);
        assert_eq!(update.execute(&mut connection).await.unwrap().rows_affected(), 1);
        connection.close().await.unwrap();
        site.issue().await;
        assert_eq!(site.status(&order.id).await.as_str(), "invalid", "byte {place}");
    }
    assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

#[tokio::test]
async fn a_plan_that_differs_in_one_bit_does_not_pass_the_last_look() {
    let site = Site::new().await;
    let (order, csr) = site.planned().await;
    let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
    let request = CertificateRequest::from_der(&csr).unwrap();
    let passes = |tbs: &[u8]| {
        let wanted = Wanted {
            identifiers: &planned.identifiers,
            public_key: request.public_key(),
            profile: &site.authority.profile,
            dates: RequestedDates::default(),
        };
        site.authority.lint(tbs, &planned.serial, &wanted, planned.planned_at, START).is_ok()
    };
    assert!(passes(&planned.tbs));
    for bit in 0..planned.tbs.len() * 8 {
        let mut tbs = planned.tbs.clone();
        tbs[bit / 8] ^= 1 << (bit % 8);
        assert!(!passes(&tbs), "bit {} of byte {}", bit % 8, bit / 8);
    }
}

#[tokio::test]
async fn a_plan_is_signed_as_it_was_made_after_the_profile_has_changed() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let planned = site.store().planned_certificate(&order.id).await.unwrap().unwrap();
    let old = &site.authority;
    let changed = Authority {
        id: old.id.clone(),
        name: old.name.clone(),
        chain: old.chain.clone(),
        issuer_id: old.issuer_id.clone(),
        alternates: Vec::new(),
        signer: Arc::clone(&old.signer),
        crl_validity: None,
        profile: Profile::tls_server(3600),
        policy: Policy::default(),
        profiles: Vec::new(),
        subdomain_authorizations: false,
        meta: Meta::default(),
        proof: Proof::default(),
    };
    site.context.authorities.store(Arc::new(Authorities::new(vec![Arc::new(changed)])));
    site.issue().await;
    let OrderStatus::Valid { certificate_id } = site.status(&order.id).await else {
        panic!("not valid")
    };
    let issued = site.store().certificate("web", &certificate_id).await.unwrap().unwrap();
    let place = issued.certificate.windows(planned.tbs.len()).position(|part| part == planned.tbs);
    assert!(place.is_some(), "the planned bytes are in the certificate");
}

#[tokio::test]
async fn a_plan_whose_last_second_has_passed_is_not_signed() {
    let site = Site::new().await;
    site.ready(&["a.test"]).await;
    let not_after = Some(START.plus(Duration::from_secs(60)));
    let identifiers = vec![AskedIdentifier {
        kind: "dns".to_owned(),
        value: "a.test".to_owned(),
        ancestor_domain: None,
    }];
    let request = NewOrderRequest { identifiers, not_after, ..NewOrderRequest::default() };
    let order = new_order(&site.context, &site.authority, &site.account, request).await.unwrap();
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    site.advance(Duration::from_secs(61));
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "invalid");
    assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
}

#[tokio::test]
async fn a_proof_serves_for_as_long_as_is_configured_and_has_an_hour_left() {
    let site = Site::new().await;
    let hour = Duration::from_secs(3600);
    let ready = |order: &Order| order.status(site.context.clock.now()) == OrderStatus::Ready;
    let limits = |reuse: Duration| {
        let limits = Limits { hold: Duration::ZERO, reuse, ..Limits::default() };
        site.context.limits.store(Arc::new(limits));
    };
    let first = site.ready(&["a.test"]).await;
    assert!(ready(&site.place(&["a.test"]).await));
    site.advance(23 * hour);
    let late = site.place(&["a.test"]).await;
    assert!(ready(&late));
    assert_eq!(late.expires_at, first.expires_at, "no longer than its authorization");
    site.advance(hour);
    assert!(!ready(&site.place(&["a.test"]).await));
    limits(7 * DAY);
    assert!(ready(&site.place(&["a.test"]).await));
    site.advance(6 * DAY - hour - hour / 2);
    assert!(ready(&site.place(&["a.test"]).await), "an hour and a half is left");
    site.advance(hour);
    assert!(!ready(&site.place(&["a.test"]).await), "half an hour is left");
    limits(Duration::ZERO);
    assert!(!ready(&site.place(&["a.test"]).await));
}

#[tokio::test]
async fn an_account_that_reached_a_limit_is_told_which_and_when_to_come_again() {
    let site = Site::new().await;
    let allow = |accounts: config::Limits| {
        let limits = Limits { hold: Duration::ZERO, accounts, ..Limits::default() };
        site.context.limits.store(Arc::new(limits));
    };
    let asked = |name: &str| AskedIdentifier {
        kind: "dns".to_owned(),
        value: name.to_owned(),
        ancestor_domain: None,
    };
    let place = async |name: &str| {
        let identifiers = vec![asked(name)];
        let request = NewOrderRequest { identifiers, ..NewOrderRequest::default() };
        new_order(&site.context, &site.authority, &site.account, request).await
    };
    site.ready(&["known.test"]).await;
    site.place(&["a.test"]).await;
    let unlimited = config::Limits::default;
    for (limits, key, wait_s) in [
        (
            config::Limits { orders_per_account_per_hour: 2, ..unlimited() },
            "orders_per_account_per_hour",
            3600,
        ),
        (
            config::Limits { pending_orders_per_account: 2, ..unlimited() },
            "pending_orders_per_account",
            600,
        ),
        (
            config::Limits { pending_authorizations_per_account: 1, ..unlimited() },
            "pending_authorizations_per_account",
            600,
        ),
    ] {
        allow(limits);
        let problem = refusal(place("b.test").await);
        assert_eq!((problem.kind, problem.status), (ProblemType::RateLimited, 429));
        assert!(problem.detail.contains(&format!("({key} in [limits]")), "{}", problem.detail);
        assert!(
            problem.detail.ends_with(&format!("try again in {wait_s} s")),
            "{}",
            problem.detail
        );
        assert_eq!(problem.retry_after_s, Some(wait_s));
    }
    // The last of them is for names that are yet to be proved: neither an order of a proved one nor
    // newAuthz goes round it.
    place("known.test").await.unwrap();
    let (context, authority) = (&site.context, &site.authority);
    let authorized =
        super::new_authz(context, authority, &site.account, asked("c.test"), false).await;
    assert_eq!(refusal(authorized).kind, ProblemType::RateLimited);
    allow(unlimited());
    place("b.test").await.unwrap();
}

#[tokio::test]
async fn an_issuance_waits_for_a_ca_that_is_not_configured() {
    let site = Site::new().await;
    let (order, _) = site.planned().await;
    let authorities = site.context.authorities.swap(Arc::default());
    site.issue().await;
    assert_eq!(site.pause(WorkKind::Issuance).await, Some(Duration::from_secs(1)));
    site.context.authorities.store(authorities);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    assert_eq!(site.status(&order.id).await.as_str(), "valid");
}

#[tokio::test]
async fn an_order_whose_account_was_deactivated_meanwhile_is_not_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let gone = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(gone.status().as_str(), "deactivated");
    let problem = refusal(site.finalize(&order, &Csr::new(&["a.test"]).der()).await);
    assert_eq!(problem.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 0);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
    let again = refusal(new_account(&site.context, &site.authority, asked(&site.key)).await);
    assert_eq!(again.kind, ProblemType::Unauthorized);
}

#[tokio::test]
async fn a_plan_of_a_deactivated_account_is_never_signed() {
    let site = Site::new().await;
    // While it waits for a token that is away …
    site.signer.suffers(&away(), 1);
    let (waiting, _) = site.planned().await;
    site.issue().await;
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    site.advance(Duration::from_secs(1));
    // … and where a worker has it already.
    let claimed = site.claim(WorkKind::Issuance).await.unwrap();
    let gone = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
    issue(&site.context, claimed).await.unwrap();
    assert!(site.claim(WorkKind::Issuance).await.is_none());
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    let OrderStatus::Invalid { problem } = site.status(&waiting.id).await else {
        panic!("not invalid")
    };
    assert_eq!(problem.kind, ProblemType::Unauthorized);
    // Said twice, it is the same.
    let again = deactivate_account(&site.context, site.account.clone()).await.unwrap();
    assert_eq!(again.deactivated_at, gone.deactivated_at);
}

#[tokio::test]
async fn a_plan_whose_authorization_was_deactivated_is_never_signed() {
    let site = Site::new().await;
    site.signer.suffers(&away(), 1);
    let order = site.ready(&["a.test", "b.test"]).await;
    let csr = Csr::new(&["a.test", "b.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
    site.issue().await;
    let one = site.order(&order.id).await.authorizations.remove(1);
    deactivate_authorization(&site.context, one).await.unwrap();
    assert_eq!(site.status(&order.id).await, OrderStatus::Processing);
    site.advance(Duration::from_secs(1));
    site.issue().await;
    let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
        panic!("not invalid")
    };
    assert_eq!((problem.kind, problem.status), (ProblemType::Unauthorized, 403));
    let named: Vec<_> = problem.subproblems.iter().map(|sub| &sub.identifier.value).collect();
    assert_eq!(named, ["b.test"]);
    assert_eq!((site.signer.asked(), site.signed().await), (1, 0));
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

#[tokio::test]
async fn a_plan_that_the_policy_no_longer_allows_is_never_signed() {
    let key_types = config::Policy {
        key_types: Some(vec!["rsa-4096"]),
        ..config::Policy::default()
    };
    let deny = config::Policy {
        deny: Some(vec!["a.test".parse().unwrap()]),
        ..config::Policy::default()
    };
    for (stricter, kind) in
        [(deny, ProblemType::RejectedIdentifier), (key_types, ProblemType::BadCsr)]
    {
        let site = Site::new().await;
        let (order, _) = site.planned().await;
        let (mut changed, _) = authority(site.store(), START).await;
        changed.policy = Policy::new(&stricter, &config::Policy::default());
        site.context.authorities.store(Arc::new(Authorities::new(vec![Arc::new(changed)])));
        site.issue().await;
        let OrderStatus::Invalid { problem } = site.status(&order.id).await else {
            panic!("not invalid")
        };
        assert_eq!(problem.kind, kind);
        assert_eq!((site.signer.asked(), site.signed().await), (0, 0));
        assert_eq!(site.pause(WorkKind::Issuance).await, None);
    }
}

#[tokio::test]
async fn an_authorization_of_a_deactivated_account_goes_no_further() {
    let site = Site::new().await;
    let order = site.place(&["a.localhost"]).await;
    let placed = &order.authorizations[0];
    begin_challenge(&site.context, placed.clone(), &placed.challenges[0].id, ACCOUNT_URL)
        .await
        .unwrap();
    let lease = site.claim(WorkKind::Validation).await.unwrap();
    deactivate_account(&site.context, site.account.clone()).await.unwrap();
    let found = site.store().authorization("web", &placed.id).await.unwrap().unwrap();
    assert_eq!(found.status(START), AuthorizationStatus::Deactivated);
    validate(&site.context, lease).await.unwrap();
    let late = begin_challenge(&site.context, found, &placed.challenges[1].id, ACCOUNT_URL).await;
    assert_eq!(refusal(late).kind, ProblemType::Malformed);
    assert_eq!(site.status(&order.id).await.as_str(), "invalid");
    assert_eq!(site.count("SELECT COUNT(*) FROM work").await, 0);
}

#[tokio::test]
async fn an_order_whose_authorization_was_deactivated_is_not_planned() {
    let site = Site::new().await;
    let order = site.ready(&["a.test", "b.test"]).await;
    let one = site.order(&order.id).await.authorizations.remove(1);
    deactivate_authorization(&site.context, one).await.unwrap();
    let problem = refusal(site.finalize(&order, &Csr::new(&["a.test", "b.test"]).der()).await);
    assert_eq!(problem.kind, ProblemType::OrderNotReady);
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 0);
}

#[tokio::test]
async fn a_csr_that_does_not_fit_the_order_is_refused_and_may_be_corrected() {
    let site = Site::new().await;
    let order = site.ready(&["a.test"]).await;
    let account_key = Csr { key: site.key.private.clone(), ..Csr::new(&["a.test"]) };
    let csrs = [
        Csr::new(&["b.test"]).der(),
        Csr::new(&["a.test", "b.test"]).der(),
        Csr::new(&[]).der(),
        account_key.der(),
        b"nonsense".to_vec(),
    ];
    for csr in csrs {
        assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::BadCsr);
    }
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(site.finalize(&order, &csr).await.unwrap(), OrderStatus::Processing);
}

#[tokio::test]
async fn an_order_that_is_not_ready_or_not_ones_own_is_not_finalized() {
    let site = Site::new().await;
    let order = site.place(&["a.test"]).await;
    let csr = Csr::new(&["a.test"]).der();
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
    let key = Key::new(Algorithm::Es256);
    let (other, _) = new_account(&site.context, &site.authority, asked(&key)).await.unwrap();
    let order = site.ready(&["a.test"]).await;
    let theirs = finalize(&site.context, &site.authority, &other, &order.id, &csr).await;
    assert_eq!(refusal(theirs).status, 404);
    site.advance(DAY * 8);
    assert_eq!(refusal(site.finalize(&order, &csr).await).kind, ProblemType::OrderNotReady);
}

#[tokio::test]
async fn an_account_is_found_by_its_key_and_changes_as_asked() {
    let site = Site::new().await;
    let (found, created) =
        new_account(&site.context, &site.authority, asked(&site.key)).await.unwrap();
    assert_eq!((&found, created), (&site.account, false));
    let contact = Some(vec!["mailto:a@a.test".to_owned()]);
    let changed =
        update_account(&site.context, &site.authority, found, contact, false).await.unwrap();
    let kept = site.store().account("web", &site.account.id).await.unwrap().unwrap();
    assert_eq!(kept, changed);
    assert_eq!(kept.contact, ["mailto:a@a.test"]);
    let nonsense = Some(vec!["tel:1".to_owned()]);
    refusal(update_account(&site.context, &site.authority, changed, nonsense, false).await);
}

#[tokio::test]
async fn an_own_certificate_is_planned_before_it_is_signed() {
    let site = Site::new().await;
    let names = ["ca.test".to_owned()];
    site.signer.suffers(&away(), 1);
    let error = own_certificate(&site.context, &site.authority, &names, &[]).await.err().unwrap();
    assert!(matches!(error, Error::Failed(_)), "{error:?}");
    assert_eq!(site.count("SELECT COUNT(*) FROM certificates").await, 1);
    assert_eq!(site.signed().await, 0);
    let own = own_certificate(&site.context, &site.authority, &names, &[]).await.unwrap();
    assert!(own.chain_pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(site.signed().await, 1);
    assert_eq!(site.pause(WorkKind::Issuance).await, None);
}

mod histories;
