//! What happens when the signer is sick, the network silent or the database was altered: with a
//! clock that stands still, a real SQLite store, and a signer that does as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer as OpensslSigner;
use sqlx::Connection as _;
use tempfile::TempDir;

use super::*;
use crate::acme::account::Account;
use crate::acme::challenge::ChallengeType;
use crate::acme::order::Order;
use crate::ca::{Authority, Meta, NewCa, create_ca};
use crate::clock::Timestamp;
use crate::jose::jwk::Jwk;
use crate::signer::{BoxFuture, Health, SignError, Signer};
use crate::store::{Lease, WorkKind};
use crate::validation::{Options, Timeouts};
use crate::x509::algorithm::{PublicKey, SignatureAlgorithm};
use crate::x509::chain::Chain;
use crate::x509::profile::Profile;

const START: Timestamp = Timestamp::from_unix_s(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the signer is to do with the next call.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Away,
    Wrong,
}

/// A P-256 key that does as it is told, and then signs.
struct MoodySigner {
    key: PKey<Private>,
    public_key: PublicKey,
    moods: Mutex<VecDeque<Mood>>,
    /// What was signed, in order.
    signed: Mutex<Vec<Vec<u8>>>,
}

impl MoodySigner {
    fn new() -> Self {
        let key = p256();
        let public_key = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
        Self { key, public_key, moods: Mutex::default(), signed: Mutex::default() }
    }

    fn be(&self, moods: impl IntoIterator<Item = Mood>) {
        self.moods.lock().unwrap().extend(moods);
    }

    fn signatures(&self) -> usize {
        self.signed.lock().unwrap().len()
    }
}

impl Signer for MoodySigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::EcdsaSha256
    }

    fn sign(&self, message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            match self.moods.lock().unwrap().pop_front() {
                Some(Mood::Away) => Err(SignError::Unavailable { detail: "away".to_owned() }),
                // As a token would that found another key under its handle, and nobody looked.
                Some(Mood::Wrong) => Ok(sign(&p256(), &message)),
                None => {
                    let signature = sign(&self.key, &message);
                    self.signed.lock().unwrap().push(message);
                    Ok(signature)
                }
            }
        })
    }

    fn health(&self) -> Health {
        Health::Up
    }

    fn describe(&self) -> String {
        "a moody signer".to_owned()
    }
}

fn p256() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn sign(key: &PKey<Private>, message: &[u8]) -> Vec<u8> {
    let mut signer = OpensslSigner::new(MessageDigest::sha256(), key).unwrap();
    signer.sign_oneshot_to_vec(message).unwrap()
}

/// A CA with one account, all by itself.
struct House {
    context: Context,
    signer: Arc<MoodySigner>,
    account: Account,
    folder: TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        store.migrate().await.unwrap();
        let signer = Arc::new(MoodySigner::new());
        let root = NewCa {
            subject: "CN=test",
            public_key: signer.public_key(),
            issuer: None,
            path_len: Some(0),
            validity: DAY * 3650,
        };
        let root = create_ca(root, signer.as_ref(), START, Entropy).await.unwrap();
        signer.signed.lock().unwrap().clear();
        let chain = Chain::new(vec![root]).unwrap();
        let issuer_id = store.keep_issuer(&chain.download_chain()).await.unwrap();
        let authority = Authority {
            id: "ca".to_owned(),
            name: "ca".to_owned(),
            chain,
            issuer_id,
            signer: Arc::clone(&signer) as Arc<dyn Signer>,
            profile: Profile::tls_server(90 * 24 * 3600),
            meta: Meta::default(),
        };
        let key = harness::Key::new(harness::Algorithm::Es256);
        let jwk = Jwk::from_canonical_json(&key.jwk().to_string()).unwrap();
        let account = Account {
            id: "account".to_owned(),
            ca: "ca".to_owned(),
            jwk: jwk.canonical_json(),
            thumbprint: jwk.thumbprint(),
            contact: Vec::new(),
            terms_agreed_at: None,
            created_at: START,
            deactivated_at: None,
        };
        store.register_account(account.clone()).await.unwrap();
        let validator = Validator::new(Options {
            // Nobody listens there: every name is this machine, and every port closed.
            resolvers: vec![SocketAddr::from(([127, 0, 0, 1], 9))],
            http_port: 9,
            localhost_is_this_machine: true,
            timeouts: Timeouts { attempt: Duration::from_secs(1), ..Timeouts::default() },
            ..Options::default()
        });
        let context = Context {
            store,
            clock: Clock::fake(START.plus(Duration::from_secs(60))),
            entropy: Entropy,
            authorities: ArcSwap::from_pointee(Authorities::new(vec![Arc::new(authority)])),
            validator: ArcSwap::from_pointee(validator.unwrap()),
            limits: Limits { hold: Duration::ZERO, validation_attempts: 3, ..Limits::default() },
        };
        Self { context, signer, account, folder }
    }

    async fn order(&self) -> Order {
        let names = [("dns".to_owned(), "a.localhost".to_owned())];
        new_order(&self.context, &self.account, &names).await.unwrap()
    }

    /// An order whose authorizations somebody proved.
    async fn ready_order(&self) -> Order {
        let order = self.order().await;
        for authorization in &order.authorizations {
            let challenge = &authorization.challenges[0];
            let store = &self.context.store;
            store.begin_challenge(&challenge.id, self.context.clock.now()).await.unwrap();
            let lease = self.claim(WorkKind::Validation).await.unwrap();
            let at = self.context.clock.now();
            let result = crate::acme::challenge::ChallengeResult::Proved { at };
            assert!(store.conclude_challenge(&lease, &result, None).await.unwrap());
        }
        order
    }

    async fn claim(&self, kind: WorkKind) -> Option<Lease> {
        let now = self.context.clock.now();
        let lease = Duration::from_secs(20);
        self.context.store.claim(kind, now, lease, 1, Entropy).await.unwrap().pop()
    }

    async fn finalize(&self, order: &Order, csr: &[u8]) -> Result<Order, Error> {
        let authorities = self.context.authorities.load_full();
        let authority = authorities.get("ca").unwrap();
        finalize(&self.context, authority, &self.account, &order.id, csr).await
    }

    async fn status(&self, order: &Order) -> String {
        let order = self.context.store.order("ca", &order.id).await.unwrap().unwrap();
        order.status(self.context.clock.now()).as_str().to_owned()
    }

    /// Claims and issues once; `false` where nothing is due.
    async fn issue_once(&self) -> bool {
        match self.claim(WorkKind::Issuance).await {
            None => false,
            Some(lease) => {
                issue(&self.context, lease).await.unwrap();
                true
            }
        }
    }
}

async fn store(folder: &TempDir) -> Store {
    let url = format!("sqlite://{}/test.db", folder.path().display());
    Store::open(&url, 1).await.unwrap()
}

fn csr() -> Vec<u8> {
    harness::csr::Csr::new(&["a.localhost"]).der()
}

#[tokio::test]
async fn an_order_waits_for_a_signer_that_is_away_and_then_gets_one_certificate() {
    let house = House::new().await;
    let order = house.ready_order().await;
    assert_eq!(house.status(&order).await, "ready");
    house.signer.be([Mood::Away, Mood::Away]);
    let csr = csr();
    house.finalize(&order, &csr).await.unwrap();
    assert_eq!(house.status(&order).await, "processing");
    for pause in [1, 2] {
        assert!(house.issue_once().await);
        assert!(!house.issue_once().await, "it is put off");
        assert_eq!(house.status(&order).await, "processing");
        // Sending the same CSR again plans nothing anew.
        house.finalize(&order, &csr).await.unwrap();
        house.context.clock.advance(Duration::from_secs(pause));
    }
    assert!(house.issue_once().await);
    assert_eq!(house.status(&order).await, "valid");
    assert_eq!(house.signer.signatures(), 1);
    house.context.clock.advance(DAY);
    assert!(!house.issue_once().await, "nothing is left to do");
}

#[tokio::test]
async fn a_wrong_signature_is_never_stored() {
    let house = House::new().await;
    let order = house.ready_order().await;
    house.signer.be([Mood::Wrong]);
    house.finalize(&order, &csr()).await.unwrap();
    assert!(house.issue_once().await);
    assert_eq!(house.status(&order).await, "processing");
    house.context.clock.advance(Duration::from_secs(1));
    assert!(house.issue_once().await);
    assert_eq!(house.status(&order).await, "valid");
}

#[tokio::test]
async fn two_workers_with_one_plan_store_one_certificate() {
    let house = House::new().await;
    let order = house.ready_order().await;
    house.finalize(&order, &csr()).await.unwrap();
    let slow = house.claim(WorkKind::Issuance).await.unwrap();
    house.context.clock.advance(Duration::from_secs(21));
    let quick = house.claim(WorkKind::Issuance).await.unwrap();
    issue(&house.context, quick).await.unwrap();
    let find = || async { house.context.store.order("ca", &order.id).await.unwrap().unwrap() };
    let id = find().await.certificate_id.unwrap();
    let stored = house.context.store.certificate("ca", &id).await.unwrap();
    issue(&house.context, slow).await.unwrap();
    assert_eq!(house.context.store.certificate("ca", &id).await.unwrap(), stored);
    let signed = house.signer.signed.lock().unwrap().clone();
    assert!(signed.iter().all(|tbs| *tbs == signed[0]), "whoever signs, signs the same bytes");
}

#[tokio::test]
async fn a_plan_that_was_altered_in_the_database_is_not_signed() {
    let house = House::new().await;
    let order = house.ready_order().await;
    house.finalize(&order, &csr()).await.unwrap();
    let plan = house.context.store.planned_certificate(&order.id).await.unwrap().unwrap();
    let at = plan.tbs.windows(11).position(|window| window == b"a.localhost").unwrap();
    let mut altered = plan.tbs;
    altered[at] = b'b';
    let url = format!("sqlite://{}/test.db", house.folder.path().display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let update = sqlx::query("UPDATE certificates SET tbs = $1").bind(altered);
    update.execute(&mut database).await.unwrap();
    assert!(house.issue_once().await);
    assert_eq!(house.signer.signatures(), 0);
    assert_eq!(house.status(&order).await, "invalid");
}

#[tokio::test]
async fn a_plan_is_given_up_after_a_day() {
    let house = House::new().await;
    let order = house.ready_order().await;
    house.finalize(&order, &csr()).await.unwrap();
    house.context.clock.advance(DAY + Duration::from_secs(1));
    assert!(house.issue_once().await);
    assert_eq!(house.status(&order).await, "invalid");
    assert_eq!(house.signer.signatures(), 0);
}

#[tokio::test]
async fn nothing_is_planned_for_an_account_that_was_deactivated() {
    let house = House::new().await;
    let order = house.ready_order().await;
    deactivate_account(&house.context, house.account.clone()).await.unwrap();
    assert!(matches!(house.finalize(&order, &csr()).await, Err(Error::Refused(_))));
    assert!(!house.issue_once().await);
}

#[tokio::test]
async fn a_validation_without_an_answer_is_tried_again_and_then_given_up() {
    let house = House::new().await;
    let order = house.order().await;
    let authorization = &order.authorizations[0];
    let find = |kind| authorization.challenges.iter().find(move |challenge| challenge.kind == kind);
    let challenge = find(ChallengeType::Http01).unwrap();
    begin_challenge(&house.context, authorization.clone(), &challenge.id).await.unwrap();
    for pause in [1, 2] {
        let lease = house.claim(WorkKind::Validation).await.unwrap();
        validate(&house.context, lease).await.unwrap();
        assert_eq!(house.status(&order).await, "pending");
        assert!(house.claim(WorkKind::Validation).await.is_none(), "it is put off");
        house.context.clock.advance(Duration::from_secs(pause));
    }
    let lease = house.claim(WorkKind::Validation).await.unwrap();
    validate(&house.context, lease).await.unwrap();
    assert_eq!(house.status(&order).await, "invalid");
    let after = house.context.store.authorization("ca", &authorization.id).await.unwrap().unwrap();
    assert_eq!(after.status(house.context.clock.now()).as_str(), "invalid");
    let shown = after.visible_challenges();
    let crate::acme::challenge::ChallengeStatus::Invalid { problem } = shown[0].status() else {
        panic!("{shown:?}")
    };
    assert!(problem.detail.contains("after 3 attempts"), "{}", problem.detail);
    assert!(house.claim(WorkKind::Validation).await.is_none());
}
