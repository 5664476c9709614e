//! Resources that are not there, or not the account's (RFC 8555 §7.1), on either database.

use harness::key::base64url;
use harness::{Ca, Client, Database, Settings};

use super::{Row, malformed, row};
use crate::server_with;

/// Ids of an account's, of another account's, and of another CA's.
pub(super) struct Seen {
    account: String,
    order: String,
    authorization: String,
    challenge: String,
    certificate: String,
    others_account: String,
    others_order: String,
    others_authorization: String,
    others_challenge: String,
    foreign_order: String,
    foreign_authorization: String,
}

/// The path below the CA that is asked for.
type Path = fn(&Seen) -> String;

pub(super) fn rows() -> Vec<Row<Path>> {
    let not_there =
        |why, path: Path| row("§7.1", why, path, (404, "malformed", "there is no such"));
    let not_its_own =
        |why, path: Path| row("§7.3.2", why, path, (403, "unauthorized", "another account"));
    let cursor = |why, path: Path| row("§7.1.2.1", why, path, malformed("the cursor"));
    vec![
        not_there("an order's id made up", |_| "order/AAAAAAAAAAAAAAAAAAAAAA".into()),
        not_there("no id", |_| "order/".into()),
        not_there("U+0000 for an order", |_| "order/%00".into()),
        not_there("U+0000 behind an order", |s| format!("order/{}%00", s.order)),
        not_there("U+0000 for an order to finalize", |_| "order/%00/finalize".into()),
        not_there("U+0000 for an authorization", |_| "authz/a%00".into()),
        not_there("U+0000 for a challenge", |_| "chall/a%00b".into()),
        not_there("U+0000 for a certificate", |_| "cert/%00".into()),
        not_there("U+0000 for an account", |_| "account/%00".into()),
        not_there("U+0000 for an account's orders", |_| "account/%00/orders".into()),
        not_there("no UTF-8 for an order", |_| "order/%ff%fe".into()),
        not_there("a surrogate for a certificate", |_| "cert/%ed%a0%80".into()),
        not_there("half an escape", |_| "order/%".into()),
        not_there("a long id", |_| format!("order/{}", "A".repeat(1500))),
        not_there("SQL", |s| format!("order/{}'%20OR%20'1'='1", s.order)),
        not_there("a pattern", |_| "order/%25".into()),
        not_there("an id in other letters", |s| {
            format!("cert/{}", s.certificate.to_lowercase() + "A")
        }),
        not_there("an id and a space", |s| format!("order/{}%20", s.order)),
        not_there("a slash behind", |s| format!("order/{}/", s.order)),
        not_there("something behind", |s| format!("order/{}/cancel", s.order)),
        not_there("a way back", |s| format!("authz/..%2forder%2f{}", s.order)),
        not_there("an escape for a slash", |s| format!("order%2f{}", s.order)),
        not_there("a resource in capitals", |s| format!("Order/{}", s.order)),
        not_there("an order as authorization", |s| format!("authz/{}", s.order)),
        not_there("an authorization as order", |s| format!("order/{}", s.authorization)),
        not_there("an authorization as challenge", |s| format!("chall/{}", s.authorization)),
        not_there("a challenge as authorization", |s| format!("authz/{}", s.challenge)),
        not_there("a certificate as order", |s| format!("order/{}", s.certificate)),
        not_there("an order as certificate", |s| format!("cert/{}", s.order)),
        not_there("an account as order", |s| format!("order/{}", s.account)),
        not_there("another account's order", |s| format!("order/{}", s.others_order)),
        not_there("another account's authorization", |s| {
            format!("authz/{}", s.others_authorization)
        }),
        not_there("another account's challenge", |s| format!("chall/{}", s.others_challenge)),
        not_there("another CA's order", |s| format!("order/{}", s.foreign_order)),
        not_there("another CA's authorization", |s| format!("authz/{}", s.foreign_authorization)),
        not_its_own("another account", |s| format!("account/{}", s.others_account)),
        not_its_own("another account's orders", |s| format!("account/{}/orders", s.others_account)),
        not_its_own("an account that is not there", |_| "account/AAAA".into()),
        cursor("a cursor of words", |s| format!("account/{}/orders?cursor=next", s.account)),
        cursor("an empty cursor", |s| format!("account/{}/orders?cursor=", s.account)),
        cursor("two cursors", |s| format!("account/{}/orders?cursor=AA&cursor=AA", s.account)),
        cursor("a cursor without id", |s| forged(s, b"1800000000000.")),
        cursor("a cursor without time", |s| forged(s, b".AAAA")),
        cursor("a cursor beyond all time", |s| forged(s, b"99999999999999999999.AAAA")),
        cursor("a cursor with U+0000", |s| forged(s, b"1800000000000.\0")),
        cursor("a cursor with a quote", |s| forged(s, b"1800000000000.a' OR '1'='1")),
        cursor("a cursor of no UTF-8", |s| forged(s, b"1800000000000.\xff")),
        cursor("a cursor with U+0000 as it is", |s| {
            format!("account/{}/orders?cursor=%00", s.account)
        }),
    ]
}

fn forged(seen: &Seen, cursor: &[u8]) -> String {
    format!("account/{}/orders?cursor={}", seen.account, base64url(cursor))
}

fn id(url: &str) -> String {
    url.rsplit('/').next().unwrap().to_owned()
}

/// A pending order: its id, and those of its authorization and one challenge.
async fn pending(client: &mut Client, name: &str) -> (String, String, String) {
    let mut order = client.order(&[name]).await;
    let authorization = order.authorization_urls().remove(0);
    let (_, challenge) = order.challenge(&authorization, "dns-01").await;
    (id(&order.url), id(&authorization), id(challenge["url"].as_str().unwrap()))
}

async fn refuse_on(database: Database) {
    let ca = |id| Ca::KeyFile { id, rsa: false };
    let settings = Settings {
        cas: vec![ca("ca"), ca("other")],
        database_url: Some(database.url()),
        ..Settings::default()
    };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    let mut other = server.account("ca").await;
    let mut foreigner = server.account("other").await;
    let mut valid = client.order(&["valid.test"]).await.prove("http-01").await;
    let csr = valid.csr().der();
    valid.finalize_with(&csr).await.expect(200);
    let certificate = id(valid.refresh().await.object["certificate"].as_str().unwrap());
    let (order, authorization, challenge) = pending(&mut client, "a.test").await;
    let others = pending(&mut other, "a.test").await;
    let foreign = pending(&mut foreigner, "a.test").await;
    let seen = Seen {
        account: id(client.kid.as_deref().unwrap()),
        order,
        authorization,
        challenge,
        certificate,
        others_account: id(other.kid.as_deref().unwrap()),
        others_order: others.0,
        others_authorization: others.1.clone(),
        others_challenge: others.2,
        foreign_order: foreign.0,
        foreign_authorization: foreign.1,
    };
    let base = server.directory("ca").replace("directory", "");
    for (refusal, path) in rows() {
        let url = format!("{base}{}", path(&seen));
        let mut payloads = vec![if url.ends_with("/finalize") { r#"{"csr":"AAAA"}"# } else { "" }];
        let can_change = ["/authz/", "/chall/", "/account/"].iter().any(|what| url.contains(what));
        if can_change && !url.contains("/orders") {
            payloads.push(r#"{"status":"deactivated"}"#);
        }
        for payload in payloads {
            let jws = client.jws(&url, payload).await;
            let body = client.sign(&jws);
            refusal.check(&client.post_json(&url, &body).await);
        }
    }
    for (client, authorization) in [(&mut client, &seen.authorization), (&mut other, &others.1)] {
        let url = format!("{base}authz/{authorization}");
        assert_eq!(client.post_as_get(&url).await.expect(200).json()["status"], "pending");
    }
    let log = server.log();
    assert!(!log.contains("\"ERROR\""), "{log}");
    assert_eq!(server.admin_get("/readyz").unwrap().0, 200);
}

#[tokio::test]
async fn a_resource_of_nobody_or_of_somebody_else_is_refused_on_sqlite() {
    refuse_on(Database::sqlite()).await;
}

#[tokio::test]
async fn a_resource_of_nobody_or_of_somebody_else_is_refused_on_postgres() {
    refuse_on(Database::postgres()).await;
}
