//! The parts of an issuance by themselves, for `benches/parts.rs`. It is there with the feature `bench`
//! and in no build that serves.

use std::path::Path;

use crate::acme::account::Account;
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::nonce::{Nonce, NonceKey};
use crate::app::{self, Demand, Tokens};
use crate::ca::{Authority, Wanted};
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Needs};
use crate::entropy::Entropy;
use crate::jose::jwk::Jwk;
use crate::jose::jws::{self, Jws, KeyReference};
use crate::jose::verify::Verifier;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::{Caps, NewAuthorization, NewChallenge, NewOrder, OrderedIdentifier, Store};
use crate::telemetry::metrics::StoreMetrics;
use crate::x509::csr::CertificateRequest;
use crate::x509::dates::RequestedDates;

/// The parts of the server that a configuration describes, with an account.
pub struct Parts {
    store: Store,
    authority: Authority,
    nonces: NonceKey,
    account: Account,
}

/// A request whose signature is right.
pub struct Signed {
    jws: Jws,
    key: Jwk,
    verifier: Verifier,
}

impl Signed {
    /// `body` is a JWS with the key in it.
    pub fn new(body: &[u8]) -> Self {
        let jws = jws::parse(body).expect("the benchmark's own request");
        let KeyReference::Jwk(key) = jws.key() else { panic!("the request has no key in it") };
        let key = key.clone();
        let verifier = Verifier::new(&key, jws.algorithm()).expect("a key of that algorithm");
        Self { jws, key, verifier }
    }

    pub fn verify(&self) {
        assert!(self.verifier.verify(&self.jws));
    }

    /// What is saved by keeping a verifier.
    pub fn make_verifier(&self) {
        Verifier::new(&self.key, self.jws.algorithm()).expect("a key of that algorithm");
    }
}

pub fn read_jws(body: &[u8]) {
    jws::parse(body).expect("the benchmark's own request");
}

/// Reads a CSR and verifies its signature.
pub fn read_csr(der: &[u8]) {
    CertificateRequest::from_der(der).expect("the benchmark's own CSR");
}

impl Parts {
    /// With the first CA of this configuration, whose key is in a file.
    pub async fn open(config: &Path) -> Self {
        let environment = |name: &str| std::env::var(name).ok();
        let (config, _) = config::load(config, &environment, Needs::Serve)
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let store = app::open_store(&config, &StoreMetrics::default()).await;
        let store = store.unwrap_or_else(|error| panic!("{error}"));
        let now = Clock::System.now();
        let tokens = Tokens::new();
        let ca = app::open_authority(&config.cas[0], &tokens, Demand::OneSigns, None, now);
        let authority = ca.await.unwrap_or_else(|error| panic!("{error}"));
        let key = store.nonce_key(Entropy).await.expect("a database");
        let account = Account {
            id: id(),
            ca: authority.id.clone(),
            jwk: "{}".to_owned(),
            thumbprint: id(),
            contact: Vec::new(),
            terms: None,
            binding: None,
            created_at: now,
            deactivated_at: None,
        };
        store.register_account(account.clone(), &entry()).await.expect("a database");
        let nonces = NonceKey::new(key);
        Self { store, authority, nonces, account }
    }

    pub fn make_nonce(&self) -> String {
        let now = Clock::System.now();
        let id = self.store.nonce_id(now, Entropy).expect("randomness");
        self.nonces.make(&self.authority.id, now, id)
    }

    pub fn check_nonce(&self, nonce: &str) {
        self.nonces.open(&self.authority.id, Clock::System.now(), nonce).expect("a right nonce");
    }

    /// Writes and lints a TBSCertificate for a CSR's key and one name.
    pub fn prepare(&self, csr: &[u8]) {
        let request = CertificateRequest::from_der(csr).expect("the benchmark's own CSR");
        let identifiers = [Identifier::dns("a.test").expect("a name")];
        let wanted = Wanted {
            identifiers: &identifiers,
            public_key: request.public_key(),
            profile: &self.authority.profile,
            dates: RequestedDates::default(),
        };
        let now = Clock::System.now();
        let prepared = self.authority.prepare(&wanted, now, Entropy);
        prepared.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Has the CA sign, and verifies that.
    pub async fn sign(&self) {
        self.authority.signer.sign(vec![7; 300]).await.expect("a key file signs");
    }

    pub async fn spend_nonce(&self) {
        let now = Clock::System.now();
        let id = self.store.nonce_id(now, Entropy).expect("randomness").to_vec();
        let nonce = Nonce { id, expires_at: Timestamp::from_unix_s(i64::from(u32::MAX)) };
        assert!(self.store.spend_nonce_for(nonce, &self.account).await.expect("a database"));
    }

    /// Keeps an order for one name, and returns its id.
    pub async fn place_order(&self) -> String {
        let now = Clock::System.now();
        let (order, authorization_id) = (id(), id());
        let identifier = Identifier::dns(&format!("{}.test", order.replace(['-', '_'], "x")));
        let identifier = identifier.expect("a name");
        let challenge = |kind| NewChallenge { id: id(), kind, token: id() };
        let authorization = NewAuthorization {
            id: authorization_id.clone(),
            identifier: identifier.clone(),
            subdomains: false,
            expires_at: now,
            challenges: ChallengeType::STANDARD.into_iter().map(challenge).collect(),
        };
        let new = NewOrder {
            id: order.clone(),
            ca: self.authority.id.clone(),
            account_id: self.account.id.clone(),
            created_at: now,
            expires_at: now,
            not_before: None,
            not_after: None,
            profile: None,
            replaces: None,
            identifiers: vec![OrderedIdentifier { identifier, authorization_id }],
            authorizations: vec![authorization],
            caps: Caps::default(),
        };
        assert!(self.store.create_order(&new, &entry()).await.expect("a database"));
        order
    }

    pub async fn read_order(&self, id: &str) {
        let order = self.store.order(&self.authority.id, id).await.expect("a database");
        order.expect("an order that was placed");
    }
}

fn entry() -> Entry {
    Entry::new(Kind::AccountUpdated, Actor::Kipuka, "a benchmark", Clock::System.now())
}

fn id() -> String {
    Entropy.id().expect("randomness")
}
