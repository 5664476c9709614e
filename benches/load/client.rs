//! One ACME client: it has an account, and orders one certificate after the other.

use std::io;
use std::time::{Duration, Instant};

use harness::Key;
use harness::csr::Csr;
use harness::key::base64url;
use serde_json::{Value, json};

use crate::answers::Answers;
use crate::http::{Answer, Connection, Server};

/// The steps of an issuance, as they are reported.
pub(crate) const STEPS: [&str; 6] =
    ["new-order", "authorization", "challenge", "poll", "finalize", "certificate"];
const ORDER: usize = 0;
const AUTHORIZATION: usize = 1;
const CHALLENGE: usize = 2;
const POLL: usize = 3;
const FINALIZE: usize = 4;
const CERTIFICATE: usize = 5;
/// Between two looks at what is not done yet.
const PAUSE: Duration = Duration::from_millis(20);

/// How clients behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Each issuance on a connection of its own.
    pub(crate) reconnects: bool,
    /// Asks for the authorization and the order once more before it goes on, as most clients do,
    /// whatever the last answer said.
    pub(crate) polls: bool,
}

/// How long the steps of one issuance took; a step that was not needed took nothing.
pub(crate) type Steps = [Option<Duration>; STEPS.len()];

pub(crate) struct Client {
    server: Server,
    connection: Option<Connection>,
    answers: Answers,
    habits: Habits,
    key: Key,
    thumbprint: String,
    kid: String,
    /// The paths of the directory's resources, and what URLs have before them.
    new_nonce: String,
    new_order: String,
    base: String,
    nonce: Option<String>,
    /// Makes its names unlike those of others.
    name: String,
    orders: u64,
    pub(crate) requests: u64,
}

impl Client {
    pub(crate) fn new(
        account: &harness::Client,
        server: Server,
        answers: Answers,
        habits: Habits,
        name: String,
    ) -> Self {
        let kid = account.kid.clone().unwrap();
        let base = kid.strip_suffix(&path(&kid)).unwrap_or_default().to_owned();
        Self {
            server,
            connection: None,
            answers,
            habits,
            thumbprint: account.key.thumbprint(),
            key: account.key.clone(),
            kid,
            new_nonce: path(&account.url("newNonce")),
            new_order: path(&account.url("newOrder")),
            base,
            nonce: None,
            name,
            orders: 0,
            requests: 0,
        }
    }

    /// Orders a certificate for a name that nobody had before, and gets it.
    pub(crate) async fn issue(&mut self) -> io::Result<Steps> {
        let mut steps = Steps::default();
        if self.habits.reconnects {
            self.connection = None;
        }
        self.orders += 1;
        let name = format!("n{}.{}.load.test", self.orders, self.name);
        let payload = json!({ "identifiers": [{ "type": "dns", "value": name }] }).to_string();
        let url = self.new_order.clone();
        let placed = self.post(&mut steps[ORDER], &url, payload.as_bytes(), 201).await?;
        let order_url = path(placed.location.as_deref().unwrap_or_default());
        let order = object(&placed);
        let authorization_url = path(text(&order["authorizations"][0]));
        let authorization = self.get(&mut steps[AUTHORIZATION], &authorization_url).await?;
        let authorization = object(&authorization);
        let challenges = authorization["challenges"].as_array();
        let challenge = challenges
            .and_then(|all| all.iter().find(|challenge| challenge["type"] == "http-01"))
            .ok_or_else(|| io::Error::other("no http-01"))?;
        let token = text(&challenge["token"]);
        self.answers.show(token, format!("{token}.{}", self.thumbprint));
        let url = path(text(&challenge["url"]));
        let mut state = object(&self.post(&mut steps[CHALLENGE], &url, b"{}", 200).await?);
        while self.habits.polls || matches!(text(&state["status"]), "pending" | "processing") {
            state = object(&self.get(&mut steps[POLL], &authorization_url).await?);
            if text(&state["status"]) != "pending" {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.answers.hide(token);
        if text(&state["status"]) != "valid" {
            return Err(io::Error::other(format!("{name} is not valid: {state}")));
        }
        let csr = json!({ "csr": base64url(Csr::new(&[&name]).der()) }).to_string();
        let url = path(text(&order["finalize"]));
        let mut order = object(&self.post(&mut steps[FINALIZE], &url, csr.as_bytes(), 200).await?);
        while self.habits.polls || text(&order["status"]) == "processing" {
            order = object(&self.get(&mut steps[POLL], &order_url).await?);
            if text(&order["status"]) != "processing" {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let Some(url) = order["certificate"].as_str() else {
            return Err(io::Error::other(format!("{name} has no certificate: {order}")));
        };
        let certificate = self.get(&mut steps[CERTIFICATE], &path(url)).await?;
        if !certificate.body.starts_with(b"-----BEGIN CERTIFICATE-----") {
            return Err(io::Error::other("what came is no certificate"));
        }
        Ok(steps)
    }

    /// Only a nonce.
    pub(crate) async fn new_nonce(&mut self) -> io::Result<()> {
        let path = self.new_nonce.clone();
        self.send(&path, None).await.map(drop)
    }

    /// Only a connection, which is kept.
    pub(crate) async fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.server.connect().await?);
        }
        Ok(())
    }

    /// What was under way on the connection is forgotten with it.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// POST-as-GET.
    async fn get(&mut self, took: &mut Option<Duration>, path: &str) -> io::Result<Answer> {
        self.post(took, path, b"", 200).await
    }

    async fn post(
        &mut self,
        took: &mut Option<Duration>,
        path: &str,
        payload: &[u8],
        expected: u16,
    ) -> io::Result<Answer> {
        let begun = Instant::now();
        if self.nonce.is_none() {
            self.new_nonce().await?;
        }
        // By hand: what a JSON library would make of it, for less.
        let protected = format!(
            "{{\"alg\":\"ES256\",\"kid\":\"{}\",\"nonce\":\"{}\",\"url\":\"{}{path}\"}}",
            self.kid,
            self.nonce.take().unwrap_or_default(),
            self.base
        );
        let (protected, payload) = (base64url(protected), base64url(payload));
        let signature = base64url(self.key.sign(format!("{protected}.{payload}").as_bytes()));
        let body = format!(
            "{{\"protected\":\"{protected}\",\"payload\":\"{payload}\",\"signature\":\"{signature}\"}}"
        );
        let answer = self.send(path, Some(body.as_bytes())).await?;
        *took = Some(took.unwrap_or_default() + begun.elapsed());
        if answer.status != expected {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(io::Error::other(format!("{path}: {} {body}", answer.status)));
        }
        Ok(answer)
    }

    async fn send(&mut self, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        self.connect().await?;
        let Some(connection) = &mut self.connection else {
            return Err(io::Error::other("no connection"));
        };
        self.requests += 1;
        let sent = connection.send(path, body).await;
        match sent {
            Ok(mut answer) => {
                self.nonce = answer.nonce.take();
                Ok(answer)
            }
            Err(error) => {
                self.connection = None;
                Err(error)
            }
        }
    }
}

fn object(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A URL without its scheme and host.
fn path(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or_else(String::new, |slash| rest[slash..].to_owned())
}
