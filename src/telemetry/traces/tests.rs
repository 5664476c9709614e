use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

fn traces(listener: &TcpListener) -> Traces {
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let config = Telemetry { otlp_endpoint: Some(endpoint), ..Telemetry::default() };
    Traces::start(&config).unwrap().unwrap()
}

/// Makes spans, and returns how long that took.
fn make(traces: &Traces, count: usize) -> Duration {
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        let began = Instant::now();
        for _ in 0..count {
            let request = tracing::error_span!("request", order.id = "o1");
            request.in_scope(|| tracing::trace_span!(target: ONLY, "store read").in_scope(|| {}));
        }
        began.elapsed()
    })
}

fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn spans_are_sent_as_protobuf_before_the_process_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = traces(&listener);
    make(&traces, 1);
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        request
    });
    drop(traces);
    let (head, body) = receiver.join().unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    for header in ["host: 127.0.0.1:", "content-type: application/x-protobuf\r\n"] {
        assert!(head.to_lowercase().contains(&format!("\r\n{header}")), "{head}");
    }
    let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    for text in ["kipuka", "request", "store read", "order.id", "o1"] {
        assert!(has(text), "{text}");
    }
}

/// One takes connections and says nothing, the other is not there.
#[test]
fn a_collector_that_is_silent_or_dead_costs_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let [silent_traces, dead_traces] = [traces(&silent), traces(&closed)];
    drop(closed);
    for traces in [silent_traces, dead_traces] {
        // Many more than fit into the queue: 20 µs each would be slow.
        let took = make(&traces, 20_000);
        assert!(took < Duration::from_secs(10), "{took:?}");
        let began = Instant::now();
        drop(traces);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn a_span_follows_whoever_asked_and_nothing_that_is_no_traceparent() {
    use opentelemetry::trace::TraceContextExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let traces = traces(&listener);
    drop(listener);
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        let trace_of = |traceparent: &str| {
            let span = tracing::error_span!("request");
            follow(&span, traceparent);
            span.context().span().span_context().trace_id().to_string()
        };
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_of(&format!("00-{trace}-b7ad6b7169203331-01")), trace);
        for wrong in
            ["", "00", "00-zz-yy-01", &format!("00-{trace}-b7ad6b7169203331-01{}", "x".repeat(200))]
        {
            assert_ne!(trace_of(wrong), trace, "{wrong}");
        }
    });
}
