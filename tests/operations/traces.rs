//! Spans for OpenTelemetry, as a collector gets them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::server::plain_request;
use harness::{Ca, Server, Settings};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::BINARY;

/// Takes OTLP over HTTP, and keeps every span.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let request = Self::read(stream.unwrap());
                let resources = request.resource_spans.into_iter();
                let scopes = resources.flat_map(|resource| resource.scope_spans);
                kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
            }
        });
        Self { address, spans }
    }

    fn read(mut stream: TcpStream) -> ExportTraceServiceRequest {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        ExportTraceServiceRequest::decode(&*body).unwrap()
    }

    /// Every span, once one of this name has come.
    async fn until(&self, name: &str) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let spans = self.spans.lock().unwrap().clone();
            if spans.iter().any(|span| span.name == name) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(begun.elapsed().as_secs() < 30, "no {name} in {names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn settings(endpoint: &str) -> Settings {
    Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        sections: format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n"),
        ..Settings::default()
    }
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_one_issuance_hang_together_from_the_request_to_the_signature() {
    let collector = Collector::start();
    let server = Server::start(BINARY, settings(&format!("http://{}", collector.address))).await;
    let mut client = server.account("ca").await;
    let order = client.order(&["a.test"]).await.prove("http-01").await;
    let order_id = order.url.rsplit('/').next().unwrap().to_owned();
    order.finalize().await;
    let request = "POST /acme/{ca}/order/{id}/finalize";
    collector.until(request).await;
    let spans = collector.until("issuance").await;
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
    let above = |span: &Span| {
        let mut names = vec![span.name.clone()];
        let mut at = span;
        while let Some(parent) = by_id.get(&at.parent_span_id) {
            assert_eq!(parent.trace_id, span.trace_id);
            names.push(parent.name.clone());
            at = *parent;
        }
        names
    };
    let finalize = spans.iter().find(|span| span.name == request).unwrap();
    assert_eq!(attribute(finalize, "order.id"), order_id);
    assert_eq!(attribute(finalize, "ca.id"), "ca");
    assert_eq!(attribute(finalize, "http.response.status_code"), "200");
    let of_trace = |name: &str| {
        let mut found = spans.iter().filter(|span| span.trace_id == finalize.trace_id);
        found.find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(above(of_trace("flow finalize")), ["flow finalize", request]);
    let signed = of_trace("sign");
    assert_eq!(above(signed), ["sign", "issuance", "flow finalize", request]);
    let issuance = of_trace("issuance");
    assert_eq!(attribute(issuance, "order.id"), order_id);
    let writes = spans.iter().filter(|span| span.name == "store write").map(above);
    let writes: Vec<_> = writes.collect();
    // The plan and the certificate; the order.
    for (times, path) in [
        (2, &["store write", "issuance", "flow finalize", request][..]),
        (1, &["store write", "flow new_order", "POST /acme/{ca}/new-order"]),
    ] {
        let found = writes.iter().filter(|found| *found == path).count();
        assert_eq!(found, times, "{path:?} in {writes:?}");
    }
    let read = spans.iter().find(|span| span.name == "store read").unwrap();
    assert_eq!(attribute(read, "db.system.name"), "sqlite");
    assert!(attribute(read, "db.query.text").starts_with("SELECT"), "{read:?}");
    // The log of a request says the same as ever.
    let line = server.log();
    let line = line.lines().find(|line| line.contains("/finalize")).unwrap();
    assert!(line.contains(&order_id) && !line.contains("otel."), "{line}");
}

/// By what a proxy writes: the name of the request in the log, and the trace that it belongs to.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_requests_and_traces_and_nobody_else_does() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers =
        format!("X-Request-Id: from-the-proxy\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    for trusted in [true, false] {
        let collector = Collector::start();
        let mut settings = settings(&format!("http://{}", collector.address));
        if trusted {
            settings.sections +=
                "[limits]\ntrusted_proxies = [\"127.0.0.1\"]\nproxy_header = \"x-forwarded-for\"\n";
        }
        let server = Server::start(BINARY, settings).await;
        let answer = plain_request(server.admin, "GET", "/healthz", &headers).unwrap();
        let name = answer.header("x-request-id");
        assert_eq!(name == "from-the-proxy", trusted, "{name}");
        server.says(&format!("\"request_id\":\"{name}\"")).await;
        let spans = collector.until("GET /healthz").await;
        let span = spans.iter().find(|span| span.name == "GET /healthz").unwrap();
        let followed: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(followed == trace, trusted, "{followed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_costs_no_request_anything_and_is_told_of_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Server::start(BINARY, settings(&format!("http://{closed}"))).await;
    let mut client = server.account("ca").await;
    for _ in 0..3 {
        client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let begun = Instant::now();
    let (ended_well, log) = server.terminate();
    assert!(ended_well, "{log}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(log.matches("spans are not taken").count(), 1, "{log}");
}

#[test]
fn an_endpoint_that_is_no_plain_http_is_refused_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kipuka.toml");
    for endpoint in [
        "https://secret@collector:4318",
        "http://user:secret@collector",
        "secret",
        "http://a?secret",
    ] {
        std::fs::write(&config, format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n")).unwrap();
        let mut kipuka = std::process::Command::new(BINARY);
        kipuka.arg("--config").arg(&config).arg("serve").env_remove("KIPUKA_LOG");
        let output = kipuka.output().unwrap();
        let said = harness::command::text(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("telemetry.otlp_endpoint") && said.contains("http://127.0.0.1:4318"),
            "{said}"
        );
        assert!(!said.contains("secret"), "{said}");
    }
}
