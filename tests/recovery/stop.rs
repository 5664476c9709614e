//! SIGTERM: what was begun is finished, or handed back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::{Ca, Client, Database, Server, Settings, Token};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::BINARY;

/// Where http-01 is asked and nobody answers; tells of each connection, and keeps it open.
async fn silent() -> (u16, mpsc::UnboundedReceiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    (port, asked)
}

/// With a validation that takes a minute where nobody answers, and one chance.
fn patient(database: &Database, http_port: Option<u16>, drain_s: u32) -> Settings {
    Settings {
        database_url: Some(database.url()),
        http_port,
        server: format!("drain_s = {drain_s}\nhold_s = 0"),
        validation: "timeout_s = 60\nattempts = 1".to_owned(),
        ..Settings::key_file()
    }
}

/// Says that a challenge is ready; the authorization's URL and the challenge's token.
async fn begin_validation(client: &mut Client) -> (String, String) {
    let mut order = client.order(&["a.test"]).await;
    let url = order.authorization_urls().remove(0);
    let (name, challenge) = order.challenge(&url, "http-01").await;
    order.client.fulfil(&name, &challenge);
    let begin = challenge["url"].as_str().unwrap();
    order.client.post(begin, &serde_json::json!({})).await.expect(200);
    (url, challenge["token"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_outlasts_the_drain_is_handed_back_and_done_by_another_instance() {
    let database = Database::postgres();
    let (port, mut asked) = silent().await;
    let mut first = Server::start(BINARY, patient(&database, Some(port), 1)).await;
    let mut client = first.account("ca").await;
    let (authorization, token) = begin_validation(&mut client).await;
    let _hanging = asked.recv().await.unwrap();
    let mut second = Server::prepare(BINARY, patient(&database, None, 1)).await;
    second.take_cas_of(&first);
    // The other one's web server shows what the first one's should.
    second.responder.show_http01(&token, &client.key_authorization(&token));
    second.spawn();
    let begun = Instant::now();
    let (well, log) = first.terminate();
    assert!(well && log.contains("cut off and handed back"), "{log}");
    client.move_to(second.address);
    client.kid = client.kid.as_deref().map(|kid| at(&second, kid));
    let settled = client.settled(&at(&second, &authorization)).await;
    assert_eq!(settled["status"], "valid", "{settled}");
    // The lease would have lasted for 70 s.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

/// The same path at another instance, whose URLs begin otherwise.
fn at(server: &Server, url: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap();
    format!("https://localhost:{}/{path}", server.address.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_finalize_is_answered_with_its_certificate_while_the_server_stops() {
    let token = Token::faulty();
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token: Some(token),
        ..Settings::default()
    };
    let mut server = Server::start(BINARY, settings).await;
    let mut client = server.account("ca").await;
    let order = client.order(&["a.test"]).await.prove("http-01").await;
    server.token.as_ref().unwrap().suffer(&["latency C_Sign 1500"]);
    let csr = order.csr().der();
    let mut finalizing = order.client.clone();
    let url = order.object["finalize"].as_str().unwrap().to_owned();
    let payload = serde_json::json!({ "csr": harness::key::base64url(&csr) });
    let answer = tokio::spawn(async move { finalizing.post(&url, &payload).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let address = server.address;
    let (well, log) = server.terminate();
    assert!(well, "{log}");
    let answer = answer.await.unwrap().expect(200);
    assert_eq!(answer.json()["status"], "valid", "{}", answer.text());
    assert!(refused(address).await, "nobody listens any more");
}

async fn refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_stops_at_once_and_still_hands_back() {
    let database = Database::sqlite();
    let (port, mut asked) = silent().await;
    let mut server = Server::start(BINARY, patient(&database, Some(port), 50)).await;
    let mut client = server.account("ca").await;
    begin_validation(&mut client).await;
    let _hanging = asked.recv().await.unwrap();
    server.signal("TERM");
    server.says("\"stopping\"").await;
    // It has a minute.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!server.log().contains("\"stopped\""), "{}", server.log());
    let begun = Instant::now();
    server.signal("TERM");
    let (well, log) = server.ended();
    assert!(well && log.contains("cut off and handed back"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
