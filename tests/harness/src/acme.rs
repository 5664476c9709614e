//! An ACME client of which every request can be bent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openssl::hash::{MessageDigest, hash};
use openssl::x509::X509;
use openssl::x509::verify::X509VerifyFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::csr::Csr;
use crate::key::{Key, base64url};
use crate::responder::{self, Responder};
use crate::zone::Zone;

/// How long to poll for a status.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub fn links(&self) -> Vec<&str> {
        self.headers.get_all("link").iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The problem's type, without the prefix that all have.
    pub fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("urn:ietf:params:acme:error:").to_owned()
    }

    /// Panics unless the answer is this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Panics unless the answer is this problem, well-formed.
    #[track_caller]
    pub fn expect_problem(self, status: u16, problem: &str) -> Self {
        assert_eq!((self.status, self.problem().as_str()), (status, problem), "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{body}");
        assert_eq!(body["status"], status, "{body}");
        self
    }
}

/// A JWS on its way, each part of which a test may set.
#[derive(Clone, Debug)]
pub struct Jws {
    pub protected: Value,
    pub payload: Vec<u8>,
}

/// A client of one CA.
#[derive(Clone)]
pub struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) connector: TlsConnector,
    pub directory: Value,
    pub key: Key,
    /// The account's URL.
    pub kid: Option<String>,
    /// Where each connection goes in turn, where they go to several instances.
    turns: Option<(Arc<[SocketAddr]>, Arc<AtomicUsize>)>,
    pub(crate) nonce: Option<String>,
    responder: Responder,
    zone: Zone,
}

impl Client {
    /// For a server that listens at `address`, by the name localhost.
    pub async fn new(
        address: SocketAddr,
        ca: &str,
        key: Key,
        roots: &[X509],
        responder: &Responder,
        zone: &Zone,
    ) -> Self {
        Self::of(address, &format!("/acme/{ca}/directory"), key, roots, responder, zone).await
    }

    /// As [`Self::new`], of the directory at this path.
    pub async fn of(
        address: SocketAddr,
        directory: &str,
        key: Key,
        roots: &[X509],
        responder: &Responder,
        zone: &Zone,
    ) -> Self {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from(root.to_der().unwrap())).unwrap();
        }
        let config = ClientConfig::builder_with_provider(responder::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        let mut client = Self {
            address,
            connector: TlsConnector::from(Arc::new(config)),
            directory: Value::Null,
            key,
            kid: None,
            turns: None,
            nonce: None,
            responder: responder.clone(),
            zone: zone.clone(),
        };
        client.directory = client.get(directory).await.expect(200).json();
        client
    }

    /// Asks another instance from now on; URLs that the first one gave are to be written anew.
    pub fn move_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// From now on each request goes to the next of these; URLs stay as they are.
    pub fn alternate_between(&mut self, addresses: &[SocketAddr]) {
        self.turns = Some((addresses.into(), Arc::default()));
    }

    fn next_address(&self) -> SocketAddr {
        match &self.turns {
            Some((addresses, turn)) => {
                addresses[turn.fetch_add(1, Ordering::Relaxed) % addresses.len()]
            }
            None => self.address,
        }
    }

    /// Another client of the same CA, with no account; it asks the server nothing.
    pub fn another(&self, key: Key) -> Self {
        Self { key, kid: None, nonce: None, ..self.clone() }
    }

    /// The next request asks for another nonce.
    pub fn forget_nonce(&mut self) {
        self.nonce = None;
    }

    /// Any request.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.expect("the server answers")
    }

    /// Any request; `None` where the connection broke.
    pub async fn try_send(&self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let stream = TcpStream::connect(self.next_address()).await.ok()?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.connector.connect(name, stream).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let status = StatusCode::as_u16(&parts.status);
        Some(Answer { status, headers: parts.headers, body })
    }

    pub(crate) fn request(&self, method: &str, url: &str) -> http::request::Builder {
        let authority = format!("localhost:{}", self.address.port());
        let path = url.strip_prefix(&format!("https://{authority}")).unwrap_or(url);
        Request::builder().method(method).uri(path).header("host", authority)
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.with_method("GET", url).await
    }

    pub async fn with_method(&self, method: &str, url: &str) -> Answer {
        self.send(self.request(method, url).body(Full::default()).unwrap()).await
    }

    /// POST of any body.
    pub async fn post_raw(&mut self, url: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self.request("POST", url).header("content-type", content_type);
        let answer = self.send(request.body(Full::from(body)).unwrap()).await;
        self.keep_nonce(&answer);
        answer
    }

    pub(crate) fn keep_nonce(&mut self, answer: &Answer) {
        if !answer.header("replay-nonce").is_empty() {
            self.nonce = Some(answer.header("replay-nonce").to_owned());
        }
    }

    /// A nonce that was not used yet.
    pub async fn nonce(&mut self) -> String {
        if let Some(nonce) = self.nonce.take() {
            return nonce;
        }
        let url = self.url("newNonce");
        self.with_method("HEAD", &url).await.expect(200).header("replay-nonce").to_owned()
    }

    /// An entry of the directory.
    pub fn url(&self, entry: &str) -> String {
        self.directory[entry].as_str().unwrap_or_else(|| panic!("no {entry}")).to_owned()
    }

    /// A right request to this URL: signed by the account where there is one, else by the key.
    pub async fn jws(&mut self, url: &str, payload: impl AsRef<[u8]>) -> Jws {
        let nonce = self.nonce().await;
        let mut protected = json!({ "alg": self.key.algorithm.name(), "nonce": nonce, "url": url });
        match &self.kid {
            Some(kid) => protected["kid"] = json!(kid),
            None => protected["jwk"] = self.key.jwk(),
        }
        Jws { protected, payload: payload.as_ref().to_vec() }
    }

    /// Signs a request as it stands.
    pub fn sign(&self, jws: &Jws) -> Value {
        self.sign_text(&jws.protected.to_string(), &jws.payload)
    }

    /// Signs with any protected header, JSON or not.
    pub fn sign_text(&self, protected: &str, payload: &[u8]) -> Value {
        self.sign_bytes(protected.as_bytes(), payload)
    }

    /// Signs with any protected header, text or not.
    pub fn sign_bytes(&self, protected: &[u8], payload: &[u8]) -> Value {
        self.key.sign_jws(protected, payload)
    }

    pub async fn post_json(&mut self, url: &str, body: &Value) -> Answer {
        self.post_raw(url, "application/jose+json", body.to_string().into_bytes()).await
    }

    pub async fn post(&mut self, url: &str, payload: &Value) -> Answer {
        let jws = self.jws(url, payload.to_string()).await;
        let body = self.sign(&jws);
        self.post_json(url, &body).await
    }

    /// As [`Self::post`], of any text; `None` where a connection broke.
    pub async fn try_post(&mut self, url: &str, payload: &str) -> Option<Answer> {
        if self.nonce.is_none() {
            let head = self.request("HEAD", &self.url("newNonce")).body(Full::default());
            let answer = self.try_send(head.unwrap()).await?;
            self.keep_nonce(&answer);
        }
        let jws = self.jws(url, payload).await;
        let body = Full::from(self.sign(&jws).to_string().into_bytes());
        let request = self.request("POST", url).header("content-type", "application/jose+json");
        let answer = self.try_send(request.body(body).unwrap()).await?;
        self.keep_nonce(&answer);
        Some(answer)
    }

    pub async fn post_as_get(&mut self, url: &str) -> Answer {
        let jws = self.jws(url, "").await;
        let body = self.sign(&jws);
        self.post_json(url, &body).await
    }

    /// newAccount with this payload, signed by the key.
    pub async fn new_account(&mut self, payload: &Value) -> Answer {
        let url = self.url("newAccount");
        let kid = self.kid.take();
        let answer = self.post(&url, payload).await;
        self.kid = kid;
        answer
    }

    pub async fn register(&mut self) {
        let answer = self.new_account(&json!({ "termsOfServiceAgreed": true })).await.expect(201);
        self.kid = Some(answer.header("location").to_owned());
    }

    /// newOrder for DNS names and IP addresses.
    pub async fn new_order(&mut self, names: &[&str]) -> Answer {
        let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
        let identifiers: Vec<_> =
            names.iter().map(|name| json!({ "type": kind(name), "value": name })).collect();
        let url = self.url("newOrder");
        self.post(&url, &json!({ "identifiers": identifiers })).await
    }

    /// Places an order.
    pub async fn order(&mut self, names: &[&str]) -> Order<'_> {
        let answer = self.new_order(names).await.expect(201);
        let url = answer.header("location").to_owned();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Order { url, object: answer.json(), names, client: self }
    }

    /// Polls until the object is no longer `pending` or `processing`.
    pub async fn settled(&mut self, url: &str) -> Value {
        let poll = async {
            loop {
                let object = self.post_as_get(url).await.expect(200).json();
                if !matches!(object["status"].as_str(), Some("pending" | "processing")) {
                    return object;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("the status settles")
    }

    pub fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.key.thumbprint())
    }

    /// Sets up what a challenge asks for.
    pub fn fulfil(&self, name: &str, challenge: &Value) {
        if challenge["type"] == "dns-persist-01" {
            let issuer = challenge["issuer-domain-names"][0].as_str().unwrap();
            let account = self.kid.as_deref().unwrap();
            let record = format!("{issuer}; accounturi={account}; policy=wildcard");
            return self.zone.add_txt(&format!("_validation-persist.{name}"), &record);
        }
        let token = challenge["token"].as_str().unwrap();
        let key_authorization = self.key_authorization(token);
        match challenge["type"].as_str().unwrap() {
            "http-01" => self.responder.show_http01(token, &key_authorization),
            "tls-alpn-01" => self.responder.show_tls_alpn01(name, &key_authorization),
            "dns-01" => {
                let digest = hash(MessageDigest::sha256(), key_authorization.as_bytes()).unwrap();
                self.zone.add_txt(&format!("_acme-challenge.{name}"), &base64url(digest));
            }
            "dns-account-01" => {
                let digest = hash(MessageDigest::sha256(), key_authorization.as_bytes()).unwrap();
                let account = self.kid.as_deref().unwrap().as_bytes();
                let account = hash(MessageDigest::sha256(), account).unwrap();
                let label = base32(&account[..10]);
                let name = format!("_{label}._acme-challenge.{name}");
                self.zone.add_txt(&name, &base64url(digest));
            }
            other => panic!("no challenge type of ours: {other}"),
        }
    }
}

/// RFC 4648 §6, in lower case, of a multiple of five octets.
fn base32(bytes: &[u8]) -> String {
    let alphabet: Vec<char> = ('a'..='z').chain('2'..='7').collect();
    let of = |five: &[u8]| {
        let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (0..8).rev().map(|place| (bits >> (5 * place) & 31) as usize).collect::<Vec<_>>()
    };
    bytes.chunks(5).flat_map(of).map(|digit| alphabet[digit]).collect()
}

/// An order that was placed.
pub struct Order<'c> {
    pub client: &'c mut Client,
    pub url: String,
    /// As it was last seen.
    pub object: Value,
    pub names: Vec<String>,
}

impl Order<'_> {
    pub fn authorization_urls(&self) -> Vec<String> {
        let urls = self.object["authorizations"].as_array().unwrap();
        urls.iter().map(|url| url.as_str().unwrap().to_owned()).collect()
    }

    /// The challenge of this type of an authorization.
    pub async fn challenge(&mut self, authorization: &str, kind: &str) -> (String, Value) {
        let object = self.client.post_as_get(authorization).await.expect(200).json();
        let challenges = object["challenges"].as_array().unwrap();
        let challenge = challenges.iter().find(|challenge| challenge["type"] == kind);
        let name = object["identifier"]["value"].as_str().unwrap().to_owned();
        (name, challenge.unwrap_or_else(|| panic!("no {kind} in {object}")).clone())
    }

    /// Fulfils every authorization by this type of challenge; each ends `valid`.
    pub async fn prove(mut self, kind: &str) -> Self {
        for authorization in self.authorization_urls() {
            let object = self.client.post_as_get(&authorization).await.expect(200).json();
            // By an earlier order.
            if object["status"] == "valid" {
                continue;
            }
            let (name, challenge) = self.challenge(&authorization, kind).await;
            self.client.fulfil(&name, &challenge);
            self.client.post(challenge["url"].as_str().unwrap(), &json!({})).await.expect(200);
            let settled = self.client.settled(&authorization).await;
            assert_eq!(settled["status"], "valid", "{settled}");
        }
        self.refresh().await
    }

    pub async fn refresh(mut self) -> Self {
        self.object = self.client.post_as_get(&self.url).await.expect(200).json();
        self
    }

    /// A CSR for the order's names.
    pub fn csr(&self) -> Csr {
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        Csr::new(&names)
    }

    pub async fn finalize_with(&mut self, csr: &[u8]) -> Answer {
        let url = self.object["finalize"].as_str().unwrap().to_owned();
        self.client.post(&url, &json!({ "csr": base64url(csr) })).await
    }

    /// Finalizes and downloads: the certificates, leaf first.
    pub async fn finalize(mut self) -> Vec<X509> {
        let csr = self.csr().der();
        self.finalize_with(&csr).await.expect(200);
        self.certificates().await
    }

    /// Waits until the order is valid, and downloads.
    pub async fn certificates(&mut self) -> Vec<X509> {
        let settled = self.client.settled(&self.url).await;
        assert_eq!(settled["status"], "valid", "{settled}");
        let url = settled["certificate"].as_str().unwrap().to_owned();
        let answer = self.client.post_as_get(&url).await.expect(200);
        assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
        X509::stack_from_pem(&answer.body).unwrap()
    }
}

/// Panics unless a chain, leaf first, leads to one of the roots for this name.
pub fn verify_chain(chain: &[X509], roots: &[X509], name: &str) {
    verify(chain, roots, name, X509VerifyFlags::X509_STRICT);
}

/// The same, whenever the certificates are valid.
pub fn verify_chain_of_any_time(chain: &[X509], roots: &[X509], name: &str) {
    verify(chain, roots, name, X509VerifyFlags::X509_STRICT | X509VerifyFlags::NO_CHECK_TIME);
}

fn verify(chain: &[X509], roots: &[X509], name: &str, flags: X509VerifyFlags) {
    use openssl::stack::Stack;
    use openssl::x509::store::X509StoreBuilder;
    use openssl::x509::verify::X509VerifyParam;
    let mut store = X509StoreBuilder::new().unwrap();
    for root in roots {
        store.add_cert(root.clone()).unwrap();
    }
    let mut parameters = X509VerifyParam::new().unwrap();
    parameters.set_flags(flags).unwrap();
    match name.parse::<IpAddr>() {
        Ok(address) => parameters.set_ip(address).unwrap(),
        Err(_) => parameters.set_host(name).unwrap(),
    }
    store.set_param(&parameters).unwrap();
    let mut untrusted = Stack::new().unwrap();
    for certificate in &chain[1..] {
        untrusted.push(certificate.clone()).unwrap();
    }
    let mut context = openssl::x509::X509StoreContext::new().unwrap();
    let verified = context
        .init(&store.build(), &chain[0], &untrusted, |context| {
            Ok((context.verify_cert()?, context.error()))
        })
        .unwrap();
    assert!(verified.0, "{name}: {}", verified.1);
}
