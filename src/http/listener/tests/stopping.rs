//! The end of the server.

use super::*;

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
    let _silent = secure.tls(&root, &[b"h2"]).await;
    let _as_silent = secure.tls(&root, &[b"http/1.1"]).await;
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
