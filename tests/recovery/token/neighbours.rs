//! Two keys in one token.

use std::time::{Duration, Instant};

use harness::token::Token;
use harness::{Ca, Server, Settings};

use super::SOON;
use crate::BINARY;

/// Deleted by hand, with CAs that serve on: to kipuka the token looks as if it had lost everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_deleted_takes_only_its_own_ca_down() {
    let settings = Settings {
        cas: vec![
            Ca::Token { id: "deleted", key_type: "EC:prime256v1", cka_id: 1 },
            Ca::Token { id: "kept", key_type: "EC:prime256v1", cka_id: 2 },
        ],
        token: Some(Token::faulty()),
        ..Settings::default()
    };
    let server = Server::start(BINARY, settings).await;
    let token = server.token.as_ref().unwrap();
    let pid = server.pid();
    let initialized = || token.counters(pid).get("C_Initialize").copied().unwrap_or(0);
    let mut neighbour = server.account("kept").await;
    let ordered = Instant::now();
    neighbour.order(&["b.test"]).await.prove("http-01").await.finalize().await;
    // On a machine that may be busy with other tests.
    let usual = ordered.elapsed();
    let mut client = server.account("deleted").await;
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await;
    let mut order = client.order(&["a.test"]).await.prove("http-01").await;
    token.shell(
        "pkcs11-tool --module $MODULE --token-label kipuka --login --pin $PIN --delete-object \
         --type privkey --id 01",
    );
    let csr = order.csr().der();
    let object = order.finalize_with(&csr).await.expect(200).json();
    assert_eq!(object["status"], "processing");

    let before = initialized();
    let begun = Instant::now();
    // Through several probes of the other.
    while begun.elapsed() < Duration::from_secs(8) {
        let ordered = Instant::now();
        let chain = neighbour.order(&["b.test"]).await.prove("http-01").await.finalize().await;
        harness::acme::verify_chain(&chain, &server.roots(), "b.test");
        assert!(ordered.elapsed() < SOON + usual * 5, "{:?}, before {usual:?}", ordered.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(initialized() - before <= 1, "the neighbour is disturbed");
    let (status, text) = server.admin_get("/readyz").unwrap();
    let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &ready["ca"]["kept"]), (503, &"ok".into()), "{text}");
    assert!(text.contains("no private key with CKA_ID 01"), "{text}");
    assert!(token.violations(pid).is_empty(), "{:?}", token.violations(pid));
}
