//! From the start of the process to `readyz`.

use std::time::Instant;

use harness::token::Token;
use harness::{Ca, Server, Settings};

const STARTS: usize = 5;

/// With so many CAs, each with a key of its own in one SoftHSM2 token.
pub(crate) async fn run(program: &str, cas: usize) {
    let ids: Vec<&'static str> = (0..cas).map(|number| &*format!("ca{number}").leak()).collect();
    let cas = ids.iter().zip(1_u8..);
    let cas: Vec<_> =
        cas.map(|(id, cka_id)| Ca::Token { id, key_type: "EC:prime256v1", cka_id }).collect();
    let (count, token) = (cas.len(), Some(Token::softhsm()));
    let settings = Settings { cas, token, forgets_log: true, ..Settings::default() };
    let mut server = Server::prepare(program, settings).await;
    // The first one makes the schema.
    server.spawn();
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        server.terminate();
        let begun = Instant::now();
        server.spawn();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("\nstart to ready with {count} CAs in one token, {STARTS} times: {times:.0?}");
}
