//! Requests and their answers, by either version and over TLS.

use super::*;

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

#[tokio::test]
async fn a_path_that_no_route_has_is_counted_without_it() {
    let server = Server::start(hello(), Limits::default(), None).await;
    let answer = server.ask(b"GET /no/such HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    server.has_counted("route=\"none\",status=\"404\",problem=\"\"");
}
