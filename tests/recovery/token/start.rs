//! A token that is away when kipuka starts.

use std::time::{Duration, Instant};

use harness::command::text;
use harness::token::Token;
use harness::{Ca, Server, Settings};

use super::SOON;
use crate::BINARY;

const AWAY: Ca = Ca::Token { id: "away", key_type: "EC:prime256v1", cka_id: 1 };

async fn prepared(cas: Vec<Ca>) -> Server {
    let settings = Settings { cas, token: Some(Token::faulty()), ..Settings::default() };
    let server = Server::prepare(BINARY, settings).await;
    server.token.as_ref().unwrap().suffer(&["vanish kipuka"]);
    server
}

fn until(server: &Server, status: u16) -> String {
    let begun = Instant::now();
    loop {
        match server.admin_get("/readyz") {
            Some((found, text)) if found == status => return text,
            found => assert!(begun.elapsed() < SOON * 4, "{found:?}: {}", server.log()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_away_at_the_start_keeps_only_its_own_ca_down_until_it_is_back() {
    let mut server = prepared(vec![Ca::KeyFile { id: "here", rsa: false }, AWAY]).await;
    server.launch();
    let why = until(&server, 503);
    assert!(why.contains("no token has the label"), "{why}");
    let mut neighbour = server.account("here").await;
    let chain = neighbour.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    harness::acme::verify_chain(&chain, &server.roots(), "a.test");

    let mut client = server.account("away").await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    let csr = order.csr().der();
    let answer = order.finalize_with(&csr).await.expect(200);
    assert_eq!(answer.json()["status"], "processing");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    server.token.as_ref().unwrap().suffer(&[]);
    let back = Instant::now();
    let chain = order.certificates().await;
    assert!(back.elapsed() < SOON, "{:?}", back.elapsed());
    harness::acme::verify_chain(&chain, &server.roots(), "a.test");
    until(&server, 200);
}

/// It looks like a wrong label, and that is to be told at once.
#[tokio::test(flavor = "multi_thread")]
async fn where_no_ca_can_sign_there_is_no_start_and_the_reason_is_told() {
    let server = prepared(vec![AWAY]).await;
    let output = server.run(&["serve"]);
    let said = text(&output);
    // Not 2: config/kipuka.service starts it again.
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("CA \"away\": no token has the label \"kipuka\""), "{said}");
}
