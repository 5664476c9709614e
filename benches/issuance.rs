//! Whether the token is what is saturated: certificates per second, from orders that wait for their
//! signature, against the signatures per second that `kipuka hsm bench` measures on the same token.
//!
//! The token is SoftHSM2 behind `tests/faulty-token`, with calls of 5 ms of which 8 run at once. Both
//! figures come from one run on one machine; what counts is their ratio.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Ca, Client, Server, Settings};
use tokio::task::JoinSet;

const BINARY: &str = env!("CARGO_BIN_EXE_kipuka");
const TOKEN: [&str; 2] = ["latency C_Sign 5", "parallel C_Sign 8"];
const ORDERS: usize = 3000;
const CLIENTS: usize = 32;

#[tokio::main]
async fn main() {
    let settings = Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token: Some(Token::faulty()),
        // The orders that wait are not held up by answers that wait for them.
        server: "hold_s = 0".to_owned(),
        ..Settings::default()
    };
    let mut server = Server::prepare(BINARY, settings).await;
    let token = server.token.as_ref().unwrap();
    token.suffer(&TOKEN);
    let bench = ["hsm", "bench", "--id", "01", "--seconds", "5", "--sessions", "8"];
    let output = server.run(&bench);
    let text = String::from_utf8(output.stdout).unwrap();
    print!("{text}");
    let line = text.lines().nth(1).unwrap_or_else(|| panic!("no measurement: {text}"));
    let token_rate: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();

    server.spawn();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(place_orders(server.account("ca").await, ORDERS / CLIENTS));
    }
    // One account's first order is signed, the others wait from here on.
    let mut faults = TOKEN.to_vec();
    faults.push("vanish kipuka");
    server.token.as_ref().unwrap().suffer(&faults);
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let before = signed(&server);
    server.token.as_ref().unwrap().suffer(&TOKEN);
    let all = (ORDERS / CLIENTS * CLIENTS) as u64;
    let at = |count: u64| {
        while signed(&server) < count {
            std::thread::sleep(Duration::from_millis(5));
        }
        Instant::now()
    };
    // From the first tenth, when the token is back for certain, to the last but one.
    let left = all - before.min(all);
    let begun = at(before + left / 10);
    let (from, ended) = (signed(&server), at(before + left / 10 * 9));
    let to = signed(&server);
    let count = u32::try_from(to - from).unwrap();
    let rate = f64::from(count) / (ended - begun).as_secs_f64();
    println!(
        "certificates/s {rate:>10.0}   (of {left} orders that waited)\n\
         ratio          {:>10.2}",
        rate / token_rate
    );
}

/// Orders that wait for their signature.
async fn place_orders(mut client: Client, count: usize) {
    for _ in 0..count {
        let mut order = client.order(&["a.test"]).await.prove("http-01").await;
        let csr = order.csr().der();
        order.finalize_with(&csr).await.expect(200);
    }
}

fn signed(server: &Server) -> u64 {
    let (_, metrics) = server.admin_get("/metrics").unwrap();
    let series = "kipuka_hsm_signatures_total{token=\"hsm\",result=\"ok\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(series));
    value.map_or(0, |value| value.parse().unwrap())
}
