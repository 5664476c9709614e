use axum::routing::get;
use bytes::Bytes;
use harness::csr;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::http::tls::{self, CertificateSlot};

const LIMITS: Limits = Limits {
    connections: 3,
    head: Duration::from_millis(300),
    request: Duration::from_millis(900),
};
/// Longer than anything here may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener that serves, until it is told to stop.
struct Serving {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// A request to `/wait` has arrived.
    arrived: Arc<Notify>,
    /// Lets it go on.
    go_on: Arc<Notify>,
}

async fn serving(tls: Option<Arc<ServerConfig>>) -> Serving {
    serving_within(LIMITS, tls, PATIENCE).await
}

async fn serving_within(
    limits: Limits,
    tls: Option<Arc<ServerConfig>>,
    drain: Duration,
) -> Serving {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (arrived, go_on) = (Arc::clone(&arrived), Arc::clone(&go_on));
        move || async move {
            arrived.notify_one();
            go_on.notified().await;
            "waited"
        }
    };
    let router = Router::new()
        .route("/", get(|| async { ([("replay-nonce", "a")], "hello") }))
        .route("/peer", get(|peer: axum::Extension<Peer>| async move { peer.0.0.to_string() }))
        .route("/panic", get(|| async { panic!("on purpose") as &str }))
        .route("/wait", get(wait));
    let metrics = Arc::new(Metrics::new());
    let (stop, stopped) = watch::channel(false);
    let listener = Listener { name: "test", socket, tls, router, metrics: Arc::clone(&metrics) };
    let task = tokio::spawn(listener.serve_within(limits, stopped, drain));
    Serving { address, metrics, stop, task, arrived, go_on }
}

impl Serving {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// What the server says to these bytes until it closes the connection.
    async fn says(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        // The server may have closed before all was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        read_to_end(&mut stream).await
    }

    fn counted(&self, route: &str, status: u16) -> u64 {
        let labels = RequestLabels { route: route.to_owned(), status };
        self.metrics.requests.get_or_create(&labels).get()
    }
}

/// Reads until the server closes; a reset is an end too.
async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut said = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    assert!(read.is_ok(), "the server did not close: {}", String::from_utf8_lossy(&said));
    String::from_utf8_lossy(&said).into_owned()
}

fn get_and_close(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: ca.test\r\nConnection: close\r\n\r\n")
}

/// A self-signed certificate for `localhost` and its key.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
    der: CertificateDer<'static>,
}

fn pair(name: &str) -> Pair {
    let key = csr::p256();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    let names =
        SubjectAlternativeName::new().dns("localhost").build(&builder.x509v3_context(None, None));
    builder.append_extension(names.unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    Pair {
        certificate: certificate.to_pem().unwrap(),
        key: key.private_key_to_pem_pkcs8().unwrap(),
        der: CertificateDer::from(certificate.to_der().unwrap()),
    }
}

fn slot(pair: &Pair) -> Arc<CertificateSlot> {
    CertificateSlot::new(&pair.certificate, &pair.key).unwrap()
}

/// A TLS connection that takes these certificates.
async fn tls_connect(
    serving: &Serving,
    trusted: &[&Pair],
    alpn: &[&[u8]],
    version: &'static SupportedProtocolVersion,
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls_openssl::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, serving.connect().await).await.unwrap()
}

fn seen(stream: &TlsStream<TcpStream>) -> &CertificateDer<'static> {
    &stream.get_ref().1.peer_certificates().unwrap()[0]
}

#[tokio::test]
async fn header_names_are_in_title_case_on_http_1() {
    let serving = serving(None).await;
    let said = serving.says(&get_and_close("/")).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    assert!(said.contains("\r\nReplay-Nonce: a\r\n") && said.ends_with("hello"), "{said}");
}

#[tokio::test]
async fn a_handler_sees_the_address_of_the_client() {
    let serving = serving(None).await;
    let mut stream = serving.connect().await;
    stream.write_all(get_and_close("/peer").as_bytes()).await.unwrap();
    let own = stream.local_addr().unwrap().to_string();
    let said = read_to_end(&mut stream).await;
    assert!(said.ends_with(&format!("\r\n\r\n{own}")), "{said}");
}

#[tokio::test]
async fn http_2_is_spoken_where_tls_agrees_on_it_and_http_1_where_it_does_not() {
    let pair = pair("only");
    let tls = tls::server_config(slot(&pair)).unwrap();
    let serving = serving(Some(tls)).await;
    for version in [&TLS12, &TLS13] {
        let stream = tls_connect(&serving, &[&pair], &[b"h2", b"http/1.1"], version).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://localhost/").body(Full::<Bytes>::default());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");

        for alpn in [&[b"http/1.1" as &[u8]] as &[_], &[]] {
            let mut stream = tls_connect(&serving, &[&pair], alpn, version).await;
            stream.write_all(get_and_close("/").as_bytes()).await.unwrap();
            let said = read_to_end(&mut stream).await;
            assert!(said.contains("\r\nReplay-Nonce: a\r\n"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_certificate_is_exchanged_while_connections_go_on() {
    let (old, new) = (pair("old"), pair("new"));
    let slot = slot(&old);
    let serving = serving(Some(tls::server_config(Arc::clone(&slot)).unwrap())).await;
    let both = [&old, &new];
    let mut before = tls_connect(&serving, &both, &[], &TLS13).await;
    assert_eq!(seen(&before), &old.der);
    slot.set(&new.certificate, &old.key).unwrap_err();
    assert_eq!(seen(&tls_connect(&serving, &both, &[], &TLS13).await), &old.der);
    slot.set(&new.certificate, &new.key).unwrap();
    assert_eq!(seen(&tls_connect(&serving, &both, &[], &TLS13).await), &new.der);
    before.write_all(get_and_close("/").as_bytes()).await.unwrap();
    assert!(read_to_end(&mut before).await.ends_with("hello"));
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_stops() {
    let limits = Limits { request: PATIENCE, ..LIMITS };
    let serving = serving_within(limits, None, PATIENCE).await;
    // Not `Connection: close`: it is the server that ends the connection.
    let mut stream = serving.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: ca.test\r\n\r\n").await.unwrap();
    serving.arrived.notified().await;
    serving.stop.send(true).unwrap();
    while TcpStream::connect(serving.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!serving.task.is_finished());
    serving.go_on.notify_one();
    let said = read_to_end(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("waited"), "{said}");
    timeout(PATIENCE, serving.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_drain_ends_when_its_time_is_over() {
    let limits = Limits { request: PATIENCE, ..LIMITS };
    let serving = serving_within(limits, None, Duration::from_millis(50)).await;
    let mut stream = serving.connect().await;
    stream.write_all(get_and_close("/wait").as_bytes()).await.unwrap();
    serving.arrived.notified().await;
    serving.stop.send(true).unwrap();
    timeout(PATIENCE / 2, serving.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut() {
    let serving = serving(None).await;
    for begun in [
        "GET / HTTP/1.1\r\nHost: ca.te",
        "",
        "P",
        // HTTP/2 begins like this, without its end.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
    ] {
        let said = serving.says(begun).await;
        assert!(!said.contains("200 OK"), "{begun:?}: {said}");
    }
}

#[tokio::test]
async fn a_client_that_is_slow_over_tls_is_cut() {
    let pair = pair("only");
    let serving = serving(Some(tls::server_config(slot(&pair)).unwrap())).await;
    // Before the handshake, in the middle of it, and after it.
    serving.says("").await;
    serving.says("\u{16}\u{3}\u{1}").await;
    for (alpn, begun) in
        [("http/1.1", ""), ("http/1.1", "POST / HT"), ("h2", ""), ("h2", "PRI * HTTP/2.0\r\n")]
    {
        let mut stream = tls_connect(&serving, &[&pair], &[alpn.as_bytes()], &TLS13).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await;
    }
}

#[tokio::test]
async fn silent_clients_do_not_keep_others_out() {
    let serving = serving(None).await;
    let mut silent = Vec::new();
    for _ in 0..LIMITS.connections * 2 {
        silent.push(serving.connect().await);
    }
    let said = timeout(PATIENCE, serving.says(&get_and_close("/"))).await;
    assert!(said.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn a_handler_that_takes_too_long_or_panics_is_answered_and_counted() {
    let serving = serving(None).await;
    let said = serving.says(&get_and_close("/wait")).await;
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let said = serving.says(&get_and_close("/panic")).await;
    assert!(said.starts_with("HTTP/1.1 500 "), "{said}");
    serving.says(&get_and_close("/")).await;
    let counted = [("/wait", 503), ("/panic", 500), ("/", 200)];
    assert_eq!(counted.map(|(route, status)| serving.counted(route, status)), [1, 1, 1]);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let serving = serving(None).await;
    let many = "x: 1\r\n".repeat(MAX_HEADERS + 1);
    let said = serving.says(&format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    // hyper looks at the length between two reads, each no longer than the limit. What was not read
    // resets the connection, so the answer may be lost.
    let long = format!("x: {}\r\n", "1".repeat(MAX_HEAD * 4));
    let said = serving.says(&format!("GET / HTTP/1.1\r\n{long}\r\n")).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
}
