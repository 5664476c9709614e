//! Clients that keep a connection and say nothing, or too little, or take nothing.

use super::*;

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
