//! A revocation that was answered is never forgotten, and CRL numbers never go back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::key::base64url;
use harness::token::Token;
use harness::{Ca, Client, Database, Server, Settings};
use openssl::x509::{X509, X509Crl};
use serde_json::json;

use crate::BINARY;

fn settings(database: &Database, token: Option<Token>) -> Settings {
    Settings {
        cas: vec![Ca::Token { id: "ca", key_type: "EC:prime256v1", cka_id: 1 }],
        token,
        database_url: Some(database.url()),
        ..Settings::default()
    }
}

/// What a server says of its CRL, and the CRL's number, signed by the CA.
struct Seen {
    number: u64,
    serials: BTreeSet<String>,
}

async fn seen(server: &Server, issuer: &X509) -> Option<Seen> {
    let client = server.client("ca").await;
    let answer = client.get("/crl/ca.crl").await;
    if answer.status != 200 {
        assert_eq!(answer.status, 503, "{}", answer.text());
        return None;
    }
    let crl = X509Crl::from_der(&answer.body).unwrap();
    assert!(crl.verify(&issuer.public_key().unwrap()).unwrap());
    let revoked = crl.get_revoked().into_iter().flatten();
    let serials = revoked.map(|one| hex(&one.serial_number().to_bn().unwrap()));
    let number = answer.header("etag").trim_matches('"').parse().unwrap();
    Some(Seen { number, serials: serials.collect() })
}

/// Waits until the CRL tells of these, and returns its number.
async fn tells_of(server: &Server, issuer: &X509, serials: &BTreeSet<String>) -> u64 {
    let begun = Instant::now();
    loop {
        if let Some(seen) = seen(server, issuer).await
            && seen.serials.is_superset(serials)
        {
            return seen.number;
        }
        assert!(begun.elapsed().as_secs() < 30, "no CRL tells of {serials:?}: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn hex(number: &openssl::bn::BigNumRef) -> String {
    number.to_hex_str().unwrap().to_lowercase()
}

fn serial(certificate: &X509) -> String {
    hex(&certificate.serial_number().to_bn().unwrap())
}

async fn issue(client: &mut Client) -> Vec<X509> {
    client.order(&["a.test"]).await.prove("http-01").await.finalize().await
}

fn payload(certificate: &X509) -> serde_json::Value {
    json!({ "certificate": base64url(certificate.to_der().unwrap()) })
}

async fn revoke(client: &mut Client, certificate: &X509) {
    let url = client.url("revokeCert");
    client.post(&url, &payload(certificate)).await.expect(200);
}

async fn revocations_survive_kills_at_any_moment(database: Database) {
    let mut server = Server::start(BINARY, settings(&database, None)).await;
    let mut serials = BTreeSet::new();
    let mut highest = 0;
    for delay_ms in [0, 1, 2, 4, 8, 16, 32] {
        let mut client = server.account("ca").await;
        let chain = issue(&mut client).await;
        let url = client.url("revokeCert");
        let jws = client.jws(&url, payload(&chain[0]).to_string()).await;
        let body = client.sign(&jws).to_string();
        let revoking = client.clone();
        let answered = tokio::spawn(async move {
            let authority = url.split('/').nth(2).unwrap().to_owned();
            let request = http::Request::post(&url)
                .header("host", authority)
                .header("content-type", "application/jose+json");
            revoking.try_send(request.body(body.into()).unwrap()).await.map(|answer| answer.status)
        });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        server.kill();
        let answered = answered.await.unwrap();
        server.spawn();
        let url = client.url("revokeCert");
        let again = client.post(&url, &payload(&chain[0])).await;
        match (answered, again.status, again.problem().as_str()) {
            (Some(200), 400, "alreadyRevoked") => {}
            // It came through, but the answer did not; or neither did.
            (None, 400, "alreadyRevoked") | (None, 200, _) => {}
            other => panic!("{other:?}"),
        }
        serials.insert(serial(&chain[0]));
        let number = tells_of(&server, &chain[1], &serials).await;
        assert!(number > highest, "{number} after {highest}");
        highest = number;
    }
}

#[tokio::test]
async fn revocations_survive_kills_at_any_moment_on_sqlite() {
    revocations_survive_kills_at_any_moment(Database::sqlite()).await;
}

#[tokio::test]
async fn revocations_survive_kills_at_any_moment_on_postgres() {
    revocations_survive_kills_at_any_moment(Database::postgres()).await;
}

#[tokio::test]
async fn two_instances_serve_the_same_crl_and_number_it_once() {
    let database = Database::postgres();
    let first = Server::start(BINARY, settings(&database, None)).await;
    // Another process with the same configuration but for its ports.
    let only_the_database = Settings { database_url: Some(database.url()), ..Settings::default() };
    let mut second = Server::prepare(BINARY, only_the_database).await;
    second.take_cas_of(&first);
    second.spawn();
    let mut client = first.account("ca").await;
    let mut serials = BTreeSet::new();
    let mut highest = 0;
    for _ in 0..4 {
        let chain = issue(&mut client).await;
        revoke(&mut client, &chain[0]).await;
        serials.insert(serial(&chain[0]));
        let one = tells_of(&first, &chain[1], &serials).await;
        let other = tells_of(&second, &chain[1], &serials).await;
        assert_eq!(one, other);
        assert!(one > highest, "{one} after {highest}");
        highest = one;
    }
    assert!(highest <= 6, "{highest} CRLs for four revocations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crl_waits_for_its_token_while_the_old_one_is_served() {
    let database = Database::sqlite();
    let server = Server::start(BINARY, settings(&database, Some(Token::faulty()))).await;
    let token = server.token.as_ref().unwrap();
    let mut client = server.account("ca").await;
    let chain = issue(&mut client).await;
    let before = tells_of(&server, &chain[1], &BTreeSet::new()).await;
    token.suffer(&["vanish kipuka"]);
    revoke(&mut client, &chain[0]).await;
    let serials = BTreeSet::from([serial(&chain[0])]);
    let begun = Instant::now();
    let waits = "the next waits to be signed";
    let readyz = || server.admin_get("/readyz").unwrap();
    while readyz().0 == 200 || !readyz().1.contains(waits) {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", readyz());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let old = seen(&server, &chain[1]).await.unwrap();
    assert_eq!((old.number, old.serials.len()), (before, 0));
    assert!(server.log().contains("CRL put off"), "{}", server.log());
    token.suffer(&[]);
    assert!(tells_of(&server, &chain[1], &serials).await > before);
    let begun = Instant::now();
    while readyz().0 != 200 || readyz().1.contains(waits) {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", readyz());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
