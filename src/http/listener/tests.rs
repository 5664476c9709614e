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

#[tokio::test]
async fn http_1_answers_carry_header_names_in_title_case() {
    let server = Server::start(hello(), Limits::default(), None).await;
    let answer = server.ask(GET_AND_CLOSE).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in ["\r\nReplay-Nonce: abc\r\n", "\r\nContent-Type: ", "\r\nContent-Length: 5\r\n"] {
        assert!(answer.contains(line), "{answer}");
    }
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_over_tls() {
    let (root, slot) = slot();
    let server = Server::start(hello(), Limits::default(), Some(&slot)).await;
    let mut client = server.h2(&root).await;
    let answer = client.send_request(request("https://localhost/")).await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
    assert_eq!(answer.headers()["replay-nonce"], "abc");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    server.stop().await;
}

#[tokio::test]
async fn http_1_is_spoken_over_tls_with_clients_that_know_no_other() {
    let (root, slot) = slot();
    let server = Server::start(hello(), Limits::default(), Some(&slot)).await;
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = server.tls(&root, alpn).await;
        stream.write_all(GET_AND_CLOSE).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.contains("\r\nReplay-Nonce: abc\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn the_handler_sees_who_asks() {
    let peer = |axum::Extension(caller): axum::Extension<Caller>| async move {
        caller.address.to_string()
    };
    let server = Server::start(Router::new().route("/", get(peer)), Limits::default(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET_AND_CLOSE).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{}", stream.local_addr().unwrap())), "{answer}");
}

#[tokio::test]
async fn the_next_connection_sees_a_new_certificate_and_the_old_one_goes_on() {
    let (old, slot) = slot();
    let server = Server::start(hello(), Limits::default(), Some(&slot)).await;
    let mut before = server.h2(&old).await;
    assert!(before.send_request(request("https://localhost/")).await.is_ok());
    let (new, pem, key) = certificate();
    slot.set(&pem, &key).unwrap();
    let after = server.tls(&new, &[b"h2"]).await;
    let shown = after.get_ref().1.peer_certificates().unwrap();
    assert_eq!(shown[0].as_ref(), new.to_der().unwrap());
    assert!(before.send_request(request("https://localhost/")).await.is_ok());
}

#[tokio::test]
async fn a_stop_lets_the_http_1_request_under_way_finish_and_takes_no_new_one() {
    let (router, came, go) = held();
    let server = Server::start(router, Limits::default(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    came.notified().await;
    server.stop.send(true).unwrap();
    timeout(PATIENCE, async {
        while TcpStream::connect(server.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the socket stayed open");
    assert!(!server.serving.is_finished());
    go.notify_one();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("held"), "{answer}");
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_lets_the_http_2_request_under_way_finish() {
    let (router, came, go) = held();
    let (root, slot) = slot();
    let server = Server::start(router, Limits::default(), Some(&slot)).await;
    let mut client = server.h2(&root).await;
    let answer = tokio::spawn(client.send_request(request("https://localhost/")));
    came.notified().await;
    server.stop.send(true).unwrap();
    sleep(SHORT).await;
    assert!(!server.serving.is_finished());
    go.notify_one();
    let answer = timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "held");
    timeout(PATIENCE, server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_waits_for_no_idle_connection() {
    let (root, slot) = slot();
    let plain = Server::start(hello(), Limits::default(), None).await;
    let _silent = plain.connect().await;
    let mut idle = plain.connect().await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "hello").await;
    let secure = Server::start(hello(), Limits::default(), Some(&slot)).await;
    let mut client = secure.h2(&root).await;
    assert!(client.send_request(request("https://localhost/")).await.is_ok());
    let started = Instant::now();
    plain.stop().await;
    secure.stop().await;
    assert!(started.elapsed() < Limits::default().head / 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_the_drain() {
    let (router, came, _go) = held();
    let server = Server::start_with_drain(router, Limits::default(), None, SHORT).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    came.notified().await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_client_that_dribbles_its_header_is_cut() {
    let server = Server::start(hello(), short_head(), None).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    let started = Instant::now();
    let dribble = tokio::spawn(async move {
        writer.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        while writer.write_all(b"y").await.is_ok() {
            sleep(SHORT / 10).await;
        }
    });
    let answer = read_to_end(&mut reader).await;
    assert!(!answer.contains("hello"), "{answer}");
    assert!(started.elapsed() >= SHORT);
    timeout(PATIENCE, dribble).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_says_too_little_to_tell_its_version_is_cut() {
    let server = Server::start(hello(), short_head(), None).await;
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = {
            let mut stream = server.connect().await;
            stream.write_all(start).await.unwrap();
            let mut answer = Vec::new();
            let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            assert!(end.is_ok(), "the server hung on after {start:?}");
            answer
        };
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_client_that_is_silent_before_or_after_its_tls_handshake_is_cut() {
    let (root, slot) = slot();
    let server = Server::start(hello(), short_head(), Some(&slot)).await;
    assert_eq!(read_to_end(&mut server.connect().await).await, "");
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let mut stream = server.tls(&root, &[alpn]).await;
        let mut answer = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "the server hung on");
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed_after_a_while() {
    let server = Server::start(hello(), short_head(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn an_http_2_connection_that_asks_nothing_more_is_closed_after_a_while() {
    let limits = Limits { idle: SHORT, ..short_head() };
    let (root, slot) = slot();
    let server = Server::start(hello(), limits, Some(&slot)).await;
    let mut client = server.h2(&root).await;
    for _ in 0..3 {
        let answer = client.send_request(request("https://localhost/")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        sleep(SHORT / 4).await;
    }
    let closed = async {
        while !client.is_closed() {
            sleep(SHORT / 10).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("the server hung on");
}

#[tokio::test]
async fn an_http_2_connection_whose_client_is_dead_is_closed_after_a_while() {
    let limits = Limits { idle: SHORT, ..short_head() };
    let (root, slot) = slot();
    let server = Server::start(hello(), limits, Some(&slot)).await;
    let mut stream = server.tls(&root, &[b"h2"]).await;
    // The preface, empty SETTINGS, and a GET of / (RFC 9113 §3.4, §4.1; RFC 7541 §C.3), after which
    // nothing is answered.
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend(b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x87\x84\x41\x09localhost");
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the server hung on");
    assert!(answer.windows(5).any(|text| text == b"hello"), "{answer:?}");
}

#[tokio::test]
async fn a_request_may_take_longer_than_its_head_and_than_an_idle_connection() {
    let slow = || async {
        sleep(SHORT * 3).await;
        "slow"
    };
    let (root, slot) = slot();
    let router = Router::new().route("/", get(slow));
    let limits = Limits { idle: SHORT, ..short_head() };
    let server = Server::start(router.clone(), limits, None).await;
    let answer = server.ask(GET_AND_CLOSE).await;
    assert!(answer.ends_with("slow"), "{answer}");
    let server = Server::start(router, limits, Some(&slot)).await;
    let mut client = server.h2(&root).await;
    let answer = client.send_request(request("https://localhost/")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "slow");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_503_and_counted() {
    let limits = Limits { request: SHORT, ..Limits::default() };
    let (router, _came, _go) = held();
    let server = Server::start(router, limits, None).await;
    let answer = server.ask(GET_AND_CLOSE).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    server.has_counted("route=\"/\",status=\"503\",problem=\"\"");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let server = Server::start(hello(), Limits::default(), None).await;
    let with_headers = |count: usize| {
        let mut request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_owned();
        (2..count).for_each(|number| request.push_str(&format!("x-{number}: y\r\n")));
        request + "\r\n"
    };
    let most = Limits::default().headers;
    let answer = server.ask(with_headers(most).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = server.ask(with_headers(most + 1).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start(hello(), Limits::default(), None).await;
    let head = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(Limits::default().head_bytes));
    let answer = server.ask(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let (root, slot) = slot();
    let server = Server::start(hello(), Limits::default(), Some(&slot)).await;
    let mut client = server.h2(&root).await;
    let mut long = request("https://localhost/");
    let value = "y".repeat(Limits::default().head_bytes).parse().unwrap();
    long.headers_mut().insert("x", value);
    match client.send_request(long).await {
        Ok(answer) => assert_eq!(answer.status().as_u16(), 431),
        Err(error) => assert!(!error.is_canceled(), "{error}"),
    }
}

#[tokio::test]
async fn a_handler_that_panics_gives_500_is_counted_and_the_server_lives() {
    async fn panics() -> &'static str {
        panic!("the secret reason")
    }
    let server = Server::start(hello().route("/panic", get(panics)), Limits::default(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /panic HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.write_all(GET_AND_CLOSE).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    server.has_counted("route=\"/panic\",status=\"500\",problem=\"\"");
    assert!(server.ask(GET_AND_CLOSE).await.starts_with("HTTP/1.1 200 "));
    server.stop().await;
}

/// A listener with as few places as there can be.
async fn with_16_places(limits: Limits, slot: Option<&Arc<CertificateSlot>>) -> Server {
    let config = config::Limits { connections: 16, ..config::Limits::default() };
    Server::start_with(hello(), limits, slot, PATIENCE, &config).await
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_one_goes() {
    let limits = Limits { scarce: PATIENCE, ..Limits::default() };
    let server = with_16_places(limits, None).await;
    let mut first = Vec::new();
    for _ in 0..16 {
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        read_until(&mut stream, "hello").await;
        first.push(stream);
    }
    let mut second = server.connect().await;
    second.write_all(GET_AND_CLOSE).await.unwrap();
    assert!(timeout(SHORT, second.read_u8()).await.is_err());
    drop(first.pop());
    assert!(read_to_end(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn idle_connections_make_place_for_those_who_ask() {
    let (root, slot) = slot();
    let limits = Limits { scarce: SHORT, ..Limits::default() };
    let server = with_16_places(limits, Some(&slot)).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        let mut client = server.h2(&root).await;
        assert!(client.send_request(request("https://localhost/")).await.is_ok());
        idle.push(client);
    }
    let mut one_more = timeout(PATIENCE, server.h2(&root)).await.unwrap();
    assert!(one_more.send_request(request("https://localhost/")).await.is_ok());
    // Those that are left stay as long as they may.
    sleep(SHORT * 2).await;
    assert!(one_more.send_request(request("https://localhost/")).await.is_ok());
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let config = config::Limits {
        connections_per_address: 2,
        exempt_networks: Vec::new(),
        ..config::Limits::default()
    };
    let server = Server::start_with(hello(), Limits::default(), None, PATIENCE, &config).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        read_until(&mut stream, "hello").await;
        held.push(stream);
    }
    assert_eq!(server.ask(GET_AND_CLOSE).await, "");
    drop(held.pop());
    let answered = async {
        while !server.ask(GET_AND_CLOSE).await.ends_with("hello") {
            sleep(SHORT / 10).await;
        }
    };
    timeout(PATIENCE, answered).await.expect("the place was not given back");
}

#[tokio::test]
async fn a_trusted_proxy_says_whom_it_speaks_for_and_must() {
    let caller = |axum::Extension(caller): axum::Extension<Caller>| async move {
        format!("{} {:?}", caller.address, caller.counted().map(|network| network.to_string()))
    };
    let router = Router::new().route("/", get(caller));
    let config = config::Limits {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config::Limits::default()
    };
    let server = Server::start_with(router.clone(), short_head(), None, PATIENCE, &config).await;
    let with_header = [b"PROXY TCP4 192.0.2.1 127.0.0.1 4711 443\r\n", GET_AND_CLOSE].concat();
    let answer = server.ask(&with_header).await;
    assert!(answer.ends_with("192.0.2.1:4711 Some(\"192.0.2.1/32\")"), "{answer}");
    assert_eq!(server.ask(GET_AND_CLOSE).await, "");
    // A header that does not come to its end is not waited for.
    assert_eq!(server.ask(b"PROXY TCP4 192.0").await, "");
    // Nobody else is believed: what stands there is no HTTP.
    let server = Server::start(router, short_head(), None).await;
    let answer = server.ask(&with_header).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let large = || async { vec![0_u8; 64 * 1024 * 1024] };
    let router = Router::new().route("/", get(large));
    let limits = Limits { write: SHORT, ..Limits::default() };
    let server = Server::start(router, limits, None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET_AND_CLOSE).await.unwrap();
    sleep(SHORT * 5).await;
    let mut taken = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut taken)).await.expect("the server hung on");
    assert!(taken.len() < 64 * 1024 * 1024, "all of it came");
}

#[tokio::test]
async fn an_http_2_client_that_does_not_let_its_answer_come_is_cut() {
    let (root, slot) = slot();
    let limits = Limits { sending: SHORT, ..Limits::default() };
    let server = Server::start(hello(), limits, Some(&slot)).await;
    // Where none of the body may come, and where it is taken in by what speaks HTTP/2.
    for window in [0, 1] {
        let mut client = server.h2_with_window(&root, window).await;
        let started = Instant::now();
        let _held = client.send_request(request("https://localhost/")).await.unwrap();
        let closed = async {
            while !client.is_closed() {
                sleep(SHORT / 10).await;
            }
        };
        timeout(PATIENCE, closed).await.expect("the server hung on");
        assert!(started.elapsed() >= SHORT);
    }
    // Who takes its answers stays.
    let mut client = server.h2(&root).await;
    for _ in 0..3 {
        let answer = client.send_request(request("https://localhost/")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        sleep(SHORT).await;
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_say_for_whom_it_asks_is_refused() {
    let config = config::Limits {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        proxy_header: config::ProxyHeader::ForwardedFor,
        ..config::Limits::default()
    };
    let server = Server::start_with(hello(), Limits::default(), None, PATIENCE, &config).await;
    let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-forwarded-for: ";
    for (value, status) in [(&b"192.0.2.1"[..], 200), (b"192.0.2.1, \x80", 400)] {
        let answer = server.ask(&[head, value, b"\r\n\r\n"].concat()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn a_path_that_no_route_has_is_counted_without_it() {
    let server = Server::start(hello(), Limits::default(), None).await;
    let answer = server.ask(b"GET /no/such HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    server.has_counted("route=\"none\",status=\"404\",problem=\"\"");
}
