mod places;
mod slow;
mod speaking;
mod stopping;

use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::get;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config;
use crate::http::admission::Caller;
use crate::http::tls::{CertificateSlot, server_config};
use crate::telemetry::metrics::{Format, Metrics};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(200);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    metrics: Arc<Metrics>,
}

impl Server {
    async fn start(router: Router, limits: Limits, slot: Option<&Arc<CertificateSlot>>) -> Self {
        Self::start_with_drain(router, limits, slot, PATIENCE).await
    }

    async fn start_with_drain(
        router: Router,
        limits: Limits,
        slot: Option<&Arc<CertificateSlot>>,
        drain: Duration,
    ) -> Self {
        Self::start_with(router, limits, slot, drain, &config::Limits::default()).await
    }

    async fn start_with(
        router: Router,
        limits: Limits,
        slot: Option<&Arc<CertificateSlot>>,
        drain: Duration,
        config: &config::Limits,
    ) -> Self {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new());
        let tls = slot.map(|slot| server_config(Arc::clone(slot)).unwrap());
        let admission = Admission::new(config, metrics.limits.clone());
        let listener = Listener {
            name: "test",
            socket,
            tls,
            router,
            admission,
            metrics: metrics.http.clone(),
        };
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener.serve_within(limits, stopped, drain));
        Self { address, stop, serving, metrics }
    }

    /// That one request of these labels was counted.
    fn has_counted(&self, labels: &str) {
        let text = self.metrics.encode(Format::Prometheus);
        assert!(text.contains(&format!("kipuka_http_requests_total{{{labels}}} 1\n")), "{text}");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The raw bytes that come back until the server closes.
    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn tls(&self, root: &X509, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_der().unwrap())).unwrap();
        let provider = Arc::new(rustls_openssl::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, self.connect().await).await.unwrap()
    }

    async fn h2(&self, root: &X509) -> SendRequest<Empty<bytes::Bytes>> {
        self.h2_with_window(root, 64 * 1024).await
    }

    /// Of each answer so many bytes may come before they are read.
    async fn h2_with_window(&self, root: &X509, window: u32) -> SendRequest<Empty<bytes::Bytes>> {
        let stream = self.tls(root, &[b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(io)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(PATIENCE, self.serving).await.unwrap().unwrap();
    }
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A reset is an end too: the server need not read all that a bad client sent.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server hung on");
    String::from_utf8(answer).unwrap()
}

/// Reads until this text has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(answer).unwrap()
}

fn request(uri: &str) -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get(uri).body(Empty::new()).unwrap()
}

/// A self-signed certificate for `localhost`, and its slot's content.
fn certificate() -> (X509, Vec<u8>, Vec<u8>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "localhost").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::ONE, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    let names = SubjectAlternativeName::new()
        .dns("localhost")
        .build(&builder.x509v3_context(None, None))
        .unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    let (pem, key) = (certificate.to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap());
    (certificate, pem, key)
}

fn slot() -> (X509, Arc<CertificateSlot>) {
    let (certificate, pem, key) = certificate();
    (certificate, CertificateSlot::new(&pem, &key).unwrap())
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { ([("replay-nonce", "abc")], "hello") }))
}

/// Answers `/` only after it was told to; the first signal says that a request came, the second
/// one lets it go on.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (came, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let signals = (Arc::clone(&came), Arc::clone(&go));
    let router = Router::new().route(
        "/",
        get(move || async move {
            signals.0.notify_one();
            signals.1.notified().await;
            "held"
        }),
    );
    (router, came, go)
}

fn short_head() -> Limits {
    Limits { head: SHORT, ..Limits::default() }
}
