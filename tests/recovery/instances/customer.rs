//! A client that does what ordinary ones do where a connection breaks: it tries again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::acme::{Answer, verify_chain};
use harness::csr::Csr;
use harness::key::base64url;
use openssl::x509::X509;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Customer {
    pub(crate) client: harness::Client,
    roots: Vec<X509>,
    /// By the order's URL, the certificate (DER).
    pub(crate) issued: BTreeMap<String, Vec<u8>>,
    /// Requests that got no answer.
    pub(crate) broken: u32,
    /// Requests that were answered with 503.
    pub(crate) unavailable: u32,
}

impl Customer {
    /// Registers.
    pub(crate) async fn new(client: harness::Client, roots: Vec<X509>) -> Self {
        let issued = BTreeMap::new();
        let mut customer = Self { client, roots, issued, broken: 0, unavailable: 0 };
        let url = customer.client.url("newAccount");
        let answer = customer.post(&url, json!({ "termsOfServiceAgreed": true })).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        customer.client.kid = Some(answer.header("location").to_owned());
        customer
    }

    /// Sends until it is answered.
    pub(crate) async fn post(&mut self, url: &str, payload: Value) -> Answer {
        let payload = if payload.is_null() { String::new() } else { payload.to_string() };
        let begun = Instant::now();
        loop {
            match self.client.try_post(url, &payload).await {
                Some(answer) if answer.status != 503 => return answer,
                Some(answer) => {
                    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                    self.unavailable += 1;
                }
                None => self.broken += 1,
            }
            assert!(begun.elapsed() < PATIENCE, "no answer from {url}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn get(&mut self, url: &str) -> Value {
        self.post(url, Value::Null).await.expect(200).json()
    }

    /// Places an order; its URL.
    pub(crate) async fn order(&mut self, name: &str) -> String {
        let url = self.client.url("newOrder");
        let payload = json!({ "identifiers": [{ "type": "dns", "value": name }] });
        self.post(&url, payload).await.expect(201).header("location").to_owned()
    }

    /// An order and all that it takes.
    pub(crate) async fn issue(&mut self, name: &str) -> X509 {
        let order = self.order(name).await;
        self.finish(&order).await
    }

    /// Goes on with an order wherever it stands.
    pub(crate) async fn finish(&mut self, url: &str) -> X509 {
        let begun = Instant::now();
        loop {
            let order = self.get(url).await;
            let name = order["identifiers"][0]["value"].as_str().unwrap().to_owned();
            match order["status"].as_str().unwrap() {
                "pending" => self.prove(&name, &order).await,
                "ready" => {
                    let csr = base64url(Csr::new(&[&name]).der());
                    let url = order["finalize"].as_str().unwrap();
                    let answer = self.post(url, json!({ "csr": csr })).await;
                    // Where the answer to the first got lost, it has another CSR already.
                    let taken = answer.status == 403 && answer.problem() == "orderNotReady";
                    assert!(answer.status == 200 || taken, "{}", answer.text());
                }
                "processing" => tokio::time::sleep(PAUSE).await,
                "valid" => return self.download(url, &name, &order).await,
                _ => panic!("{url}: {order}"),
            }
            assert!(begun.elapsed() < PATIENCE, "{url} comes to no end: {order}");
        }
    }

    /// Proves the first authorization that is pending.
    pub(crate) async fn prove(&mut self, name: &str, order: &Value) {
        let url = order["authorizations"][0].as_str().unwrap();
        let authorization = self.get(url).await;
        let challenges = authorization["challenges"].as_array().unwrap();
        let challenge = challenges.iter().find(|one| one["type"] == "http-01");
        match challenge {
            Some(challenge) if challenge["status"] == "pending" => {
                self.client.fulfil(name, challenge);
                self.post(challenge["url"].as_str().unwrap(), json!({})).await.expect(200);
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }

    async fn download(&mut self, url: &str, name: &str, order: &Value) -> X509 {
        let answer = self.post(order["certificate"].as_str().unwrap(), Value::Null).await;
        let chain = X509::stack_from_pem(&answer.expect(200).body).unwrap();
        verify_chain(&chain, &self.roots, name);
        let before = self.issued.insert(url.to_owned(), chain[0].to_der().unwrap());
        assert!(before.is_none_or(|before| before == chain[0].to_der().unwrap()), "{url} has two");
        chain.into_iter().next().unwrap()
    }
}
