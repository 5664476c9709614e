//! Protected headers (RFC 8555 §6.2 to §6.5, RFC 7515 §4).

use harness::key::base64url;
use harness::{Ca, Client, Server, Settings};
use serde_json::{Value, json};

use super::{Row, Victim, malformed, row};
use crate::server_with;

/// Changes the header of a right POST-as-GET of the account.
pub(super) type Bend = fn(&mut Value, &Seen);

/// What a row may borrow from.
pub(super) struct Seen {
    /// A nonce that was used.
    spent: String,
    /// Of another CA of this server.
    foreign_nonce: String,
    foreign_account: String,
    jwk: Value,
}

fn algorithm(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "badSignatureAlgorithm", says)
}

fn nonce(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "badNonce", says)
}

const fn url() -> (u16, &'static str, &'static str) {
    (403, "unauthorized", "the JWS is for the URL")
}

const fn account() -> (u16, &'static str, &'static str) {
    (400, "accountDoesNotExist", "not the URL of an account")
}

fn without(header: &mut Value, name: &str) {
    header.as_object_mut().unwrap().remove(name);
}

fn text<'v>(header: &'v Value, name: &str) -> &'v str {
    header[name].as_str().unwrap()
}

fn changed(text: &str) -> String {
    let last = if text.ends_with('A') { 'g' } else { 'A' };
    format!("{}{last}", &text[..text.len() - 1])
}

pub(super) fn rows() -> Vec<Row<Bend>> {
    let row = |clause, why, bend: Bend, answer| row(clause, why, bend, answer);
    vec![
        row("§6.2", "no alg", |h, _| without(h, "alg"), malformed("\"alg\"")),
        row("§6.2", "alg none", |h, _| h["alg"] = json!("none"), algorithm("none")),
        row("§6.2", "alg None", |h, _| h["alg"] = json!("None"), algorithm("None")),
        row("§6.2", "an empty alg", |h, _| h["alg"] = json!(""), algorithm("\"\"")),
        row("§6.2", "a MAC", |h, _| h["alg"] = json!("HS256"), algorithm("HS256")),
        row("§6.2", "a longer MAC", |h, _| h["alg"] = json!("HS512"), algorithm("HS512")),
        row("§6.2", "alg in lower case", |h, _| h["alg"] = json!("es256"), algorithm("es256")),
        row("§6.2", "alg ES256K", |h, _| h["alg"] = json!("ES256K"), algorithm("ES256K")),
        row("§6.2", "an encryption", |h, _| h["alg"] = json!("RSA-OAEP"), algorithm("RSA-OAEP")),
        row("§6.2", "alg SHA-1", |h, _| h["alg"] = json!("RS1"), algorithm("RS1")),
        row("§6.2", "alg with a zero", |h, _| h["alg"] = json!("ES256\0"), algorithm("ES256")),
        row("RFC 7515 §4.1.1", "alg null", |h, _| h["alg"] = Value::Null, malformed("\"alg\"")),
        row("RFC 7515 §4.1.1", "alg a number", |h, _| h["alg"] = json!(256), malformed("\"alg\"")),
        row("RFC 7515 §4.1.1", "algs", |h, _| h["alg"] = json!(["ES256"]), malformed("\"alg\"")),
        row("§6.2", "RS256 by an EC key", |h, _| h["alg"] = json!("RS256"), malformed("RS256")),
        row("§6.2", "ES384 by a P-256 key", |h, _| h["alg"] = json!("ES384"), malformed("ES384")),
        row("§6.2", "EdDSA by an EC key", |h, _| h["alg"] = json!("EdDSA"), malformed("EdDSA")),
        row("§6.5.1", "no nonce", |h, _| without(h, "nonce"), nonce("has no nonce")),
        row("§6.5.1", "an empty nonce", |h, _| h["nonce"] = json!(""), nonce("not one of")),
        row("§6.5.1", "a made-up nonce", |h, _| h["nonce"] = json!("AAAA"), nonce("not one of")),
        row(
            "§6.5.1",
            "zeros of the right length",
            |h, _| h["nonce"] = json!(base64url([0; 40])),
            nonce("not one of"),
        ),
        row("§6.5", "a nonce again", |h, s| h["nonce"] = json!(s.spent), nonce("used before")),
        row(
            "§6.5",
            "another CA's nonce",
            |h, s| h["nonce"] = json!(s.foreign_nonce),
            nonce("not one of this CA's"),
        ),
        row(
            "§6.5.1",
            "half a nonce",
            |h, _| h["nonce"] = json!(text(h, "nonce")[..24]),
            nonce("not one of"),
        ),
        row(
            "§6.5.1",
            "a nonce of which the end is changed",
            |h, _| h["nonce"] = json!(changed(text(h, "nonce"))),
            nonce("not one of"),
        ),
        row(
            "§6.5.1",
            "a nonce with more behind it",
            |h, _| h["nonce"] = json!(format!("{}AAAA", text(h, "nonce"))),
            nonce("not one of"),
        ),
        row("§6.5.2", "no base64url", |h, _| h["nonce"] = json!("a+b="), malformed("base64url")),
        row(
            "§6.5.2",
            "a nonce with padding",
            |h, _| h["nonce"] = json!(format!("{}==", text(h, "nonce"))),
            malformed("base64url"),
        ),
        row("§6.5.2", "a nonce with U+0000", |h, _| h["nonce"] = json!("\0"), malformed("nonce")),
        row(
            "§6.5.2",
            "a long nonce",
            |h, _| h["nonce"] = json!("A".repeat(132)),
            malformed("nonce"),
        ),
        row("§6.5.2", "a nonce null", |h, _| h["nonce"] = Value::Null, malformed("\"nonce\"")),
        row(
            "§6.5.2",
            "a nonce of numbers",
            |h, _| h["nonce"] = json!(1e300),
            malformed("\"nonce\""),
        ),
        row(
            "§6.5.2",
            "a list of nonces",
            |h, _| h["nonce"] = json!([text(h, "nonce")]),
            malformed("\"nonce\""),
        ),
        row("§6.4", "no url", |h, _| without(h, "url"), malformed("\"url\"")),
        row("§6.4.1", "a url null", |h, _| h["url"] = Value::Null, malformed("\"url\"")),
        row("§6.4.1", "a url that is an object", |h, _| h["url"] = json!({}), malformed("\"url\"")),
        row(
            "§6.4.1",
            "a long url",
            |h, _| h["url"] = json!("h".repeat(3000)),
            malformed("\"url\""),
        ),
        row("§6.4", "an empty url", |h, _| h["url"] = json!(""), url()),
        row("§6.4", "another host", |h, _| h["url"] = json!("https://x.test/"), url()),
        row(
            "§6.4",
            "plain http",
            |h, _| h["url"] = json!(text(h, "url").replace("https:", "http:")),
            url(),
        ),
        row(
            "§6.4",
            "another resource",
            |h, _| h["url"] = json!(text(h, "url").replace("/account/", "/order/")),
            url(),
        ),
        row(
            "§6.4",
            "another CA",
            |h, _| h["url"] = json!(text(h, "url").replace("/acme/ca/", "/acme/other/")),
            url(),
        ),
        row("§6.4", "a slash more", |h, _| h["url"] = json!(format!("{}/", text(h, "url"))), url()),
        row("§6.4", "a query", |h, _| h["url"] = json!(format!("{}?a", text(h, "url"))), url()),
        row("§6.4", "a fragment", |h, _| h["url"] = json!(format!("{}#a", text(h, "url"))), url()),
        row("§6.4", "a space", |h, _| h["url"] = json!(format!(" {}", text(h, "url"))), url()),
        row("§6.4", "upper case", |h, _| h["url"] = json!(text(h, "url").to_uppercase()), url()),
        row(
            "§6.4",
            "U+0000 in a url",
            |h, _| h["url"] = json!(format!("{}\0", text(h, "url"))),
            url(),
        ),
        row(
            "§6.4",
            "only a path",
            |h, _| h["url"] = json!(text(h, "url").split_once("/acme").unwrap().1),
            url(),
        ),
        row("§6.2", "neither jwk nor kid", |h, _| without(h, "kid"), malformed("\"kid\"")),
        row("§6.2", "both jwk and kid", |h, s| h["jwk"] = s.jwk.clone(), malformed("not both")),
        row(
            "§6.2",
            "a jwk where a kid must be",
            |h, s| {
                without(h, "kid");
                h["jwk"] = s.jwk.clone();
            },
            malformed("sign this request with \"kid\""),
        ),
        row("§6.2", "an empty kid", |h, _| h["kid"] = json!(""), account()),
        row("§6.2", "a foreign kid", |h, _| h["kid"] = json!("https://localhost/x"), account()),
        row(
            "§6.2",
            "an account that is not there",
            |h, _| h["kid"] = json!(changed(text(h, "kid"))),
            account(),
        ),
        row("§6.2", "another CA's account", |h, s| h["kid"] = json!(s.foreign_account), account()),
        row(
            "§6.2",
            "another CA's account by this CA's URL",
            |h, s| h["kid"] = json!(s.foreign_account.replace("/acme/other/", "/acme/ca/")),
            account(),
        ),
        row(
            "§6.2",
            "only the account's id",
            |h, _| h["kid"] = json!(text(h, "kid").rsplit('/').next().unwrap()),
            account(),
        ),
        row(
            "§6.2",
            "a path that leads there",
            |h, _| h["kid"] = json!(text(h, "kid").replace("/account/", "/account/../account/")),
            account(),
        ),
        row(
            "§6.2",
            "a slash more in kid",
            |h, _| h["kid"] = json!(format!("{}/", text(h, "kid"))),
            account(),
        ),
        row(
            "§6.2",
            "a query in kid",
            |h, _| h["kid"] = json!(format!("{}?", text(h, "kid"))),
            account(),
        ),
        row(
            "§6.2",
            "U+0000 in kid",
            |h, _| h["kid"] = json!(format!("{}\0", text(h, "kid"))),
            account(),
        ),
        row(
            "§6.2",
            "percent-encoding in kid",
            |h, _| h["kid"] = json!(text(h, "kid").replace("/account/", "/account%2f")),
            account(),
        ),
        row(
            "§6.2",
            "SQL in kid",
            |h, _| h["kid"] = json!(format!("{}' OR '1'='1", text(h, "kid"))),
            account(),
        ),
        row(
            "§6.2",
            "upper case in kid",
            |h, _| h["kid"] = json!(text(h, "kid").to_uppercase()),
            account(),
        ),
        row("§6.2", "a long kid", |h, _| h["kid"] = json!("h".repeat(3000)), malformed("\"kid\"")),
        row("§6.2", "a kid null", |h, _| h["kid"] = Value::Null, malformed("\"kid\"")),
        row(
            "§6.2",
            "a list of kids",
            |h, _| h["kid"] = json!([text(h, "kid")]),
            malformed("\"kid\""),
        ),
        row("RFC 7515 §4.1.11", "crit", |h, _| h["crit"] = json!(["exp"]), malformed("\"crit\"")),
        row(
            "RFC 7515 §4.1.11",
            "an empty crit",
            |h, _| h["crit"] = json!([]),
            malformed("\"crit\""),
        ),
        row(
            "RFC 7797 §6",
            "crit b64",
            |h, _| {
                h["crit"] = json!(["b64"]);
                h["b64"] = json!(false);
            },
            malformed("\"crit\""),
        ),
        row("RFC 7797 §3", "b64 false", |h, _| h["b64"] = json!(false), malformed("\"b64\"")),
        row("RFC 7797 §3", "b64 true", |h, _| h["b64"] = json!(true), malformed("\"b64\"")),
    ]
}

/// Changes the text of that header.
pub(super) type BendText = fn(&str) -> Vec<u8>;

fn more(header: &str, member: &str) -> Vec<u8> {
    header.replacen('{', &format!("{{{member},"), 1).into_bytes()
}

pub(super) fn texts() -> Vec<Row<BendText>> {
    let row = |clause, why, bend: BendText, says| row(clause, why, bend, malformed(says));
    vec![
        row("RFC 7515 §4", "alg twice", |h| more(h, r#""alg":"ES256""#), "\"alg\" stands twice"),
        row("RFC 7515 §4", "url twice", |h| more(h, r#""url":"x""#), "\"url\" stands twice"),
        row("RFC 7515 §4", "nonce twice", |h| more(h, r#""nonce":"AAAA""#), "\"nonce\" stands"),
        row("RFC 7515 §4", "kid twice", |h| more(h, r#""kid":"x""#), "\"kid\" stands twice"),
        row("RFC 7515 §4", "twice, escaped", |h| more(h, r#""\u0061lg":"none""#), "stands twice"),
        row(
            "RFC 7515 §4",
            "twice below",
            |h| more(h, r#""x":{"a":1,"a":2}"#),
            "\"a\" stands twice",
        ),
        row(
            "RFC 7515 §4",
            "twice in a list",
            |h| more(h, r#""x":[{"a":1,"a":2}]"#),
            "stands twice",
        ),
        row("RFC 7515 §4", "a list", |h| format!("[{h}]").into_bytes(), "object"),
        row("RFC 7515 §4", "a string", |_| b"\"ES256\"".to_vec(), "object"),
        row("RFC 7515 §4", "null", |_| b"null".to_vec(), "object"),
        row("RFC 7515 §4", "nothing", |_| Vec::new(), "cannot be read"),
        row("RFC 7515 §4", "more behind", |h| format!("{h}x").into_bytes(), "trailing"),
        row("RFC 7515 §4", "two", |h| format!("{h}{h}").into_bytes(), "trailing"),
        row("RFC 7515 §4", "half", |h| h.as_bytes()[..h.len() / 2].to_vec(), "cannot be read"),
        row("RFC 8259 §2", "a comment", |h| format!("/**/{h}").into_bytes(), "cannot be read"),
        row("RFC 8259 §7", "single quotes", |h| h.replace('"', "'").into_bytes(), "cannot be read"),
        row("RFC 8259 §2", "a comma", |h| h.replace('}', ",}").into_bytes(), "cannot be read"),
        row("RFC 8259 §6", "NaN", |h| more(h, r#""x":NaN"#), "cannot be read"),
        row("RFC 8259 §6", "a number beyond all", |h| more(h, r#""x":1e999"#), "out of range"),
        row("RFC 8259 §8.1", "a mark of byte order", |h| format!("\u{feff}{h}").into(), "read"),
        row("RFC 8259 §8.2", "half a surrogate pair", |h| more(h, r#""x":"\ud800""#), "read"),
        row("RFC 8259 §8.2", "the other half", |h| more(h, r#""x":"\udc00\ud800""#), "read"),
        row("RFC 8259 §7", "a control character", |h| more(h, "\"x\":\"\n\""), "control character"),
        row(
            "RFC 8259 §8.1",
            "no UTF-8",
            |h| [&b"{\"x\":\"\xff\xfe\","[..], &h.as_bytes()[1..]].concat(),
            "read",
        ),
        row(
            "RFC 8259 §9",
            "a deep list",
            |h| more(h, &format!("\"x\":{}{}", "[".repeat(1000), "]".repeat(1000))),
            "recursion limit",
        ),
        row(
            "RFC 8259 §9",
            "a deep object",
            |h| more(h, &format!("\"x\":{}1{}", "{\"a\":".repeat(500), "}".repeat(500))),
            "recursion limit",
        ),
        row(
            "RFC 8259 §9",
            "a hundred members",
            |h| more(h, &(0..100).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",")),
            "more than 64 members",
        ),
        row(
            "RFC 8259 §9",
            "a long header",
            |h| more(h, &format!("\"x\":\"{}\"", "a".repeat(10_000))),
            "longer than 8192 bytes",
        ),
    ]
}

async fn two_cas() -> Server {
    let ca = |id| Ca::KeyFile { id, rsa: false };
    server_with(Settings { cas: vec![ca("ca"), ca("other")], ..Settings::default() }).await
}

#[tokio::test]
async fn a_wrong_protected_header_is_refused_for_what_is_wrong_with_it() {
    let server = two_cas().await;
    let mut client = server.account("ca").await;
    let mut foreigner = server.account("other").await;
    let victim = Victim::new(server).await;
    let url = client.kid.clone().unwrap();
    let spent = client.nonce().await;
    let seen = Seen {
        spent: spend(&mut client, &url, spent).await,
        foreign_nonce: foreigner.nonce().await,
        foreign_account: foreigner.kid.clone().unwrap(),
        jwk: client.key.jwk(),
    };
    for (refusal, bend) in rows() {
        let mut jws = client.jws(&url, "").await;
        bend(&mut jws.protected, &seen);
        let body = client.sign(&jws);
        let answer = client.post_json(&url, &body).await;
        refusal.check(&answer);
        if refusal.problem == "badSignatureAlgorithm" {
            assert_eq!(answer.json()["algorithms"].as_array().unwrap().len(), 6, "{refusal}");
        }
    }
    victim.is_unharmed(&mut client).await;
}

async fn spend(client: &mut Client, url: &str, nonce: String) -> String {
    let mut jws = client.jws(url, "").await;
    jws.protected["nonce"] = json!(nonce);
    let body = client.sign(&jws);
    client.post_json(url, &body).await.expect(200);
    nonce
}

#[tokio::test]
async fn a_protected_header_that_is_no_plain_object_is_malformed() {
    let server = crate::server().await;
    let mut client = server.account("ca").await;
    let victim = Victim::new(server).await;
    let url = client.kid.clone().unwrap();
    for (refusal, bend) in texts() {
        let header = client.jws(&url, "").await.protected.to_string();
        let body = client.sign_bytes(&bend(&header), b"");
        refusal.check(&client.post_json(&url, &body).await);
    }
    victim.is_unharmed(&mut client).await;
}
