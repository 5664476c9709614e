//! How many connections there are, and whom they count for.

use super::*;

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
