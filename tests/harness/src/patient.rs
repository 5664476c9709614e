//! Clients that do what good ones do where a server is away, and keep a diary of what they saw: what
//! must hold whatever was killed or cut off, held against each answer as it comes.
//!
//! They take no answer but the right one, 503 and a connection that breaks; anything else is a panic.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use openssl::x509::{X509, X509Crl};
use serde_json::{Value, json};

use crate::acme::{Answer, Client, verify_chain, verify_chain_of_any_time};
use crate::csr::Csr;
use crate::key::base64url;

/// How long it goes on asking for one thing: it may be cut off again and again.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(40);
/// Before it asks again: less than servers say in Retry-After, so that more happens.
const PAUSE: Duration = Duration::from_millis(50);
/// Requests that are kept, to be sent again.
const KEPT: usize = 6;

/// What all clients of one CA saw.
#[derive(Clone, Default)]
pub struct Diary(Arc<Mutex<Entries>>);

#[derive(Default)]
pub struct Entries {
    /// Orders by their URLs, with the certificate once there is one.
    pub orders: BTreeMap<String, Option<Vec<u8>>>,
    /// Serials of which the server said that they are revoked, in lower-case hex.
    pub revoked: BTreeSet<String>,
    /// The newest CRL that was seen: number, DER, serials.
    pub crl: Option<(u64, Vec<u8>, BTreeSet<String>)>,
    /// Answers of 503.
    pub unavailable: u64,
    /// Requests without an answer.
    pub broken: u64,
    /// Requests that were sent again with their spent nonces.
    pub replayed: u64,
    /// Restarts of a server that remembers nonces in its memory, as on SQLite: each forgets those before.
    pub restarts: u64,
    /// How often a request with this nonce was taken.
    nonces: HashMap<String, u32>,
    statuses: HashMap<String, &'static str>,
    recent: VecDeque<Sent>,
}

#[derive(Clone)]
struct Sent {
    url: String,
    body: String,
    nonce: String,
}

impl Entries {
    /// Whether the newest CRL tells of every certificate that was said to be revoked.
    pub fn all_revocations_are_told(&self) -> bool {
        let told = self.crl.as_ref().map(|(_, _, serials)| serials);
        told.is_some_and(|told| told.is_superset(&self.revoked))
    }
}

impl Diary {
    pub fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap()
    }

    /// A request was taken that had this nonce.
    fn taken(&self, nonce: &str) {
        let mut entries = self.entries();
        let times = entries.nonces.entry(nonce.to_owned()).or_default();
        *times += 1;
        assert_eq!(*times, 1, "the nonce {nonce} worked twice");
    }

    /// Statuses move along the arrows of RFC 8555 §7.1.6, never back.
    fn saw(&self, url: &str, object: &Value) {
        const ARROWS: [&str; 5] = ["pending", "ready", "processing", "valid", "invalid"];
        let at = |status: &str| ARROWS.iter().position(|known| *known == status);
        let status = object["status"].as_str().and_then(at).unwrap_or_else(|| panic!("{object}"));
        let mut entries = self.entries();
        let before = entries.statuses.insert(url.to_owned(), ARROWS[status]);
        if let Some(before) = before {
            let stays = matches!(before, "valid" | "invalid");
            let fits = if stays { ARROWS[status] == before } else { at(before) <= Some(status) };
            assert!(fits, "{url} was {before} and is {object}");
        }
    }

    /// CRL numbers never go back, a number has one CRL, and a later one never knows less.
    pub fn saw_crl(&self, der: &[u8], issuer: &X509) -> u64 {
        let crl = X509Crl::from_der(der).unwrap();
        assert!(
            crl.verify(&issuer.public_key().unwrap()).unwrap(),
            "a CRL that its CA did not sign"
        );
        let serials = crl.get_revoked().into_iter().flatten();
        let serials: BTreeSet<_> =
            serials.map(|one| hex(&one.serial_number().to_bn().unwrap())).collect();
        let number = number_of(&crl);
        let mut entries = self.entries();
        if let Some((before, before_der, before_serials)) = &entries.crl {
            assert!(number >= *before, "CRL {number} was served after {before}");
            assert!(number > *before || der == before_der, "there are two CRLs {number}");
            assert!(serials.is_superset(before_serials), "CRL {number} forgot what {before} told");
        }
        entries.crl = Some((number, der.to_vec(), serials));
        number
    }
}

/// The cRLNumber (RFC 5280 §5.2.3): rust-openssl has no other way to it.
fn number_of(crl: &X509Crl) -> u64 {
    let der = crl.to_der().unwrap();
    // id-ce-cRLNumber, then an OCTET STRING with an INTEGER in it.
    let oid = [0x06, 0x03, 0x55, 0x1d, 0x14, 0x04];
    let at = der.windows(oid.len()).rposition(|window| window == oid).expect("a cRLNumber");
    let integer = &der[at + oid.len() + 1..];
    assert_eq!(integer[0], 0x02, "{integer:?}");
    let length = usize::from(integer[1]);
    integer[2..2 + length].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn hex(number: &openssl::bn::BigNumRef) -> String {
    number.to_hex_str().unwrap().to_lowercase()
}

/// A certificate's serial, in lower-case hex.
pub fn serial(certificate: &X509) -> String {
    hex(&certificate.serial_number().to_bn().unwrap())
}

/// A client with an account.
#[derive(Clone)]
pub struct Patient {
    pub client: Client,
    pub diary: Diary,
    /// Whether certificates may be of any time: the server's clock is another.
    pub takes_any_time: bool,
    roots: Vec<X509>,
    /// For each order, so that it is the same whenever it is sent.
    csrs: HashMap<String, Vec<u8>>,
    /// The restarts before the client's nonce was made.
    nonce_from: u64,
}

impl Patient {
    /// Registers.
    pub async fn new(client: Client, roots: Vec<X509>, diary: &Diary) -> Self {
        let (diary, csrs) = (diary.clone(), HashMap::new());
        let mut patient = Self { client, diary, takes_any_time: false, roots, csrs, nonce_from: 0 };
        let url = patient.client.url("newAccount");
        let answer = patient.post(&url, &json!({ "termsOfServiceAgreed": true }).to_string()).await;
        // 200 where an earlier request had come through, but its answer had not.
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        patient.client.kid = Some(answer.header("location").to_owned());
        patient
    }

    /// The same account, to be used at the same time.
    pub fn fork(&self) -> Self {
        let mut fork = self.clone();
        // A nonce is for one of them.
        fork.client.nonce = None;
        fork
    }

    /// Sends until there is an answer that is none of 503.
    pub async fn post(&mut self, url: &str, payload: &str) -> Answer {
        let begun = Instant::now();
        loop {
            if let Some(answer) = self.once(url, payload).await {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer from {url}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(&mut self, url: &str, payload: &str) -> Option<Answer> {
        if self.client.nonce.is_none() {
            let from = self.diary.entries().restarts;
            let request = self.client.request("HEAD", &self.client.url("newNonce"));
            let answer = self.answer(request.body(Full::default()).unwrap()).await?;
            assert_eq!(answer.status, 200, "{}", answer.text());
            self.client.keep_nonce(&answer);
            self.nonce_from = from;
        }
        let from = self.nonce_from;
        let jws = self.client.jws(url, payload).await;
        let nonce = jws.protected["nonce"].as_str().unwrap().to_owned();
        let body = self.client.sign(&jws).to_string();
        let sent = Sent { url: url.to_owned(), body, nonce };
        let mut answer = self.send(&sent).await;
        if answer.as_ref().is_some_and(|answer| answer.problem() == "badNonce") {
            assert!(self.diary.entries().restarts > from, "of a nonce that was sent once");
            answer = None;
        } else if answer.is_some() {
            self.diary.taken(&sent.nonce);
        }
        {
            let mut entries = self.diary.entries();
            entries.recent.push_back(sent.clone());
            if entries.recent.len() > KEPT {
                entries.recent.pop_front();
            }
        }
        answer
    }

    async fn send(&mut self, sent: &Sent) -> Option<Answer> {
        let request = self.client.request("POST", &sent.url);
        let request = request.header("content-type", "application/jose+json");
        let body = Full::from(sent.body.clone().into_bytes());
        let from = self.diary.entries().restarts;
        let answer = self.answer(request.body(body).unwrap()).await?;
        self.client.keep_nonce(&answer);
        self.nonce_from = from;
        Some(answer)
    }

    /// Any answer but 503, which is looked at and counted.
    async fn answer(&self, request: http::Request<Full<Bytes>>) -> Option<Answer> {
        let answer = tokio::time::timeout(ANSWER, self.client.try_send(request)).await;
        let Some(answer) = answer.expect("an answer, or none at all, in time") else {
            self.diary.entries().broken += 1;
            return None;
        };
        if answer.status != 503 {
            return Some(answer);
        }
        let retry_after = answer.header("retry-after").to_owned();
        assert!(retry_after.parse::<u32>().is_ok(), "503 with Retry-After {retry_after:?}");
        answer.expect_problem(503, "serverInternal");
        self.diary.entries().unavailable += 1;
        None
    }

    /// What was sent of late is sent again, twice, as it was: no nonce works a second time.
    pub async fn replay(&mut self) {
        let recent: Vec<_> = self.diary.entries().recent.drain(..).collect();
        for sent in recent {
            for _ in 0..2 {
                let Some(answer) = self.send(&sent).await else { continue };
                self.diary.entries().replayed += 1;
                if answer.problem() != "badNonce" {
                    self.diary.taken(&sent.nonce);
                }
            }
        }
    }

    async fn get(&mut self, url: &str) -> Value {
        let answer = self.post(url, "").await;
        answer.expect(200).json()
    }

    async fn look(&mut self, url: &str) -> Value {
        let object = self.get(url).await;
        self.diary.saw(url, &object);
        object
    }

    /// One order to its end; its certificate.
    pub async fn issue(&mut self, name: &str) -> X509 {
        let url = self.order(name).await;
        self.finish(&url).await
    }

    /// Places an order; its URL.
    pub async fn order(&mut self, name: &str) -> String {
        let payload = json!({ "identifiers": [{ "type": "dns", "value": name }] });
        let url = self.client.url("newOrder");
        let answer = self.post(&url, &payload.to_string()).await.expect(201);
        let url = answer.header("location").to_owned();
        self.diary.saw(&url, &answer.json());
        self.diary.entries().orders.entry(url.clone()).or_default();
        url
    }

    /// Does whatever an order needs, until it is valid; its certificate.
    pub async fn finish(&mut self, url: &str) -> X509 {
        let begun = Instant::now();
        loop {
            let order = self.look(url).await;
            match order["status"].as_str().unwrap() {
                "pending" => self.prove(url, &order).await,
                "ready" => self.finalize(url, &order).await,
                "processing" => tokio::time::sleep(PAUSE).await,
                "valid" => return self.download(url, &order).await,
                _ => panic!("{url}: {order}"),
            }
            assert!(begun.elapsed() < PATIENCE, "{url} comes to no end: {order}");
        }
    }

    async fn prove(&mut self, order_url: &str, order: &Value) {
        let mut all_valid = true;
        for url in order["authorizations"].as_array().unwrap() {
            let url = url.as_str().unwrap();
            let authorization = self.look(url).await;
            if authorization["status"] == "pending" {
                all_valid = false;
                let challenges = authorization["challenges"].as_array().unwrap();
                let challenge = challenges.iter().find(|one| one["type"] == "http-01").unwrap();
                if challenge["status"] == "pending" {
                    let name = authorization["identifier"]["value"].as_str().unwrap();
                    self.client.fulfil(name, challenge);
                    let answer = self.post(challenge["url"].as_str().unwrap(), "{}").await;
                    answer.expect(200);
                } else {
                    tokio::time::sleep(PAUSE).await;
                }
            } else {
                assert_eq!(authorization["status"], "valid", "{authorization}");
            }
        }
        if all_valid {
            // In the very instant in which the last authorization was.
            let order = self.look(order_url).await;
            assert_ne!(order["status"], "pending", "{order}");
        }
    }

    async fn finalize(&mut self, url: &str, order: &Value) {
        let name = order["identifiers"][0]["value"].as_str().unwrap().to_owned();
        let csr = self.csrs.entry(url.to_owned()).or_insert_with(|| Csr::new(&[&name]).der());
        let payload = json!({ "csr": base64url(&*csr) }).to_string();
        let answer = self.post(order["finalize"].as_str().unwrap(), &payload).await.expect(200);
        self.diary.saw(url, &answer.json());
    }

    async fn download(&mut self, url: &str, order: &Value) -> X509 {
        let certificate = order["certificate"].as_str().unwrap();
        let answer = self.post(certificate, "").await.expect(200);
        let chain = X509::stack_from_pem(&answer.body).unwrap();
        let name = order["identifiers"][0]["value"].as_str().unwrap();
        match self.takes_any_time {
            true => verify_chain_of_any_time(&chain, &self.roots, name),
            false => verify_chain(&chain, &self.roots, name),
        }
        let der = chain[0].to_der().unwrap();
        let before = self.diary.entries().orders.insert(url.to_owned(), Some(der.clone()));
        if let Some(Some(before)) = before {
            assert_eq!(before, der, "{url} has two certificates");
        }
        chain.into_iter().next().unwrap()
    }

    /// Revokes.
    pub async fn revoke(&mut self, certificate: &X509) {
        let url = self.client.url("revokeCert");
        let payload = json!({ "certificate": base64url(certificate.to_der().unwrap()) });
        let answer = self.post(&url, &payload.to_string()).await;
        match (answer.status, answer.problem().as_str()) {
            // An earlier request had come through, but its answer had not.
            (200, _) | (400, "alreadyRevoked") => {}
            _ => panic!("{}", answer.text()),
        }
        self.diary.entries().revoked.insert(serial(certificate));
    }

    /// Finishes every order of the account, those among them of which the client never heard.
    pub async fn finish_all(&mut self) {
        let account = self.get(&self.client.kid.clone().unwrap()).await;
        let mut page = account["orders"].as_str().map(str::to_owned);
        let mut orders = Vec::new();
        while let Some(url) = page {
            let answer = self.post(&url, "").await.expect(200);
            let listed = answer.json();
            let listed = listed["orders"].as_array().unwrap().iter();
            orders.extend(listed.map(|url| url.as_str().unwrap().to_owned()));
            let links = answer.links();
            let next = links.iter().find(|link| link.contains("rel=\"next\""));
            page = next.map(|link| link[1..link.find('>').unwrap()].to_owned());
        }
        for url in orders {
            self.finish(&url).await;
        }
    }

    /// Looks at the CRL once; its number, where there is one.
    pub async fn look_at_crl(&self, issuer: &X509) -> Option<u64> {
        let request = self.client.request("GET", "/crl/ca.crl").body(Full::default()).unwrap();
        let answer = self.client.try_send(request).await?;
        match answer.status {
            200 => Some(self.diary.saw_crl(&answer.body, issuer)),
            503 => {
                assert!(!answer.header("retry-after").is_empty());
                None
            }
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    }
}
