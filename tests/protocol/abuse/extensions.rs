//! Dates, profiles, replacements, pre-authorization, revocation, keyChange and external accounts, each
//! with what cannot be (RFC 8555 §7.3.4 to §7.6, RFC 9773).

use harness::key::base64url;
use harness::{Algorithm, Client, Database, Issuer, Key, Settings, csr};
use serde_json::{Value, json};

use super::{Row, Victim, malformed, row};
use crate::server_with;

/// Makes the payload for an entry of the directory.
type Payload = fn(&Seen) -> Value;

/// What a row may use.
pub(super) struct Seen {
    url: String,
    account: String,
    other_account: String,
    key: Key,
    new_key: Key,
    /// DER of one that this account may revoke.
    certificate: Vec<u8>,
}

impl Seen {
    /// A JWS of the new key in the place of the payload, with its parts bent.
    fn inner(&self, bend: impl Fn(&mut Value, &mut Value)) -> Value {
        let key = &self.new_key;
        let mut header = json!({ "alg": key.algorithm.name(), "jwk": key.jwk(), "url": self.url });
        let mut payload = json!({ "account": self.account, "oldKey": self.key.jwk() });
        bend(&mut header, &mut payload);
        signed(&header, &payload, |message| key.sign(message))
    }

    /// A binding of the new key to an external account that is not there, with its parts bent.
    fn binding(&self, bend: impl Fn(&mut Value, &mut Value)) -> Value {
        let mut header = json!({ "alg": "HS256", "kid": "kid", "url": self.url });
        let mut payload = self.new_key.jwk();
        bend(&mut header, &mut payload);
        json!({ "externalAccountBinding": signed(&header, &payload, |_| vec![7; 32]) })
    }

    fn revocation(&self, reason: impl Into<Value>) -> Value {
        json!({ "certificate": base64url(&self.certificate), "reason": reason.into() })
    }
}

fn signed(header: &Value, payload: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> Value {
    let (protected, payload) = (base64url(header.to_string()), base64url(payload.to_string()));
    let signature = base64url(sign(format!("{protected}.{payload}").as_bytes()));
    json!({ "protected": protected, "payload": payload, "signature": signature })
}

fn order(member: &str, value: Value) -> Value {
    let mut order = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] });
    order[member] = value;
    order
}

fn identifier(kind: &str, value: &str) -> Value {
    json!({ "identifier": { "type": kind, "value": value } })
}

pub(super) fn rows() -> Vec<Row<(&'static str, Payload)>> {
    let mut rows = orders();
    rows.extend(revocations());
    rows.extend(keys());
    rows
}

fn orders() -> Vec<Row<(&'static str, Payload)>> {
    let date =
        |why, payload: Payload, says| row("§7.4", why, ("newOrder", payload), malformed(says));
    let profile = |why, payload: Payload| {
        row("profiles §4", why, ("newOrder", payload), (400, "invalidProfile", "no such profile"))
    };
    let replaces = |why, payload: Payload, says| {
        row("RFC 9773 §5", why, ("newOrder", payload), malformed(says))
    };
    let authorize =
        |why, payload: Payload| row("§7.4.1", why, ("newAuthz", payload), malformed("payload"));
    let unwilling = |why, payload: Payload, problem| {
        row("§7.4.1", why, ("newAuthz", payload), (403, problem, ""))
    };
    vec![
        date("a day in words", |_| order("notBefore", json!("tomorrow")), "RFC 3339"),
        date("no text", |_| order("notBefore", json!("")), "RFC 3339"),
        date("a number", |_| order("notAfter", json!(1_893_456_000)), "payload"),
        date("a list", |_| order("notAfter", json!(["2030-01-01T00:00:00Z"])), "payload"),
        date("a day alone", |_| order("notAfter", json!("2030-01-01")), "RFC 3339"),
        date("no zone", |_| order("notAfter", json!("2030-01-01T00:00:00")), "RFC 3339"),
        date("a month too many", |_| order("notAfter", json!("2030-13-01T00:00:00Z")), "RFC 3339"),
        date("U+0000", |_| order("notAfter", json!("2030-01-01T00:00:00Z\0")), "RFC 3339"),
        date("a long year", |_| order("notAfter", json!("99999-01-01T00:00:00Z")), "RFC 3339"),
        date("the past", |_| order("notAfter", json!("2001-01-01T00:00:00Z")), "cannot be had"),
        date("the end of days", |_| order("notAfter", json!("9999-12-31T23:59:59Z")), "notAfter"),
        date("long ago", |_| order("notBefore", json!("0001-01-01T00:00:00Z")), "cannot be had"),
        profile("an unknown one", |_| order("profile", json!("no such"))),
        profile("none", |_| order("profile", json!(""))),
        profile("U+0000", |_| order("profile", json!("\0"))),
        date("a profile that is a number", |_| order("profile", json!(1)), "payload"),
        replaces("nothing", |_| order("replaces", json!("")), "identifier of a certificate"),
        replaces("no dot", |_| order("replaces", json!("AAAA")), "identifier of a certificate"),
        replaces("two dots", |_| order("replaces", json!("AA.AA.AA")), "identifier of a certif"),
        replaces("padding", |_| order("replaces", json!("AA==.AA==")), "identifier of a certif"),
        replaces("U+0000", |_| order("replaces", json!("\0.\0")), "identifier of a certificate"),
        replaces("a number", |_| order("replaces", json!(1)), "payload"),
        authorize("nothing", |_| json!({})),
        authorize("null", |_| json!({ "identifier": null })),
        authorize("a name", |_| json!({ "identifier": "a.test" })),
        authorize("a list", |_| json!({ "identifier": ["dns", "a.test"] })),
        authorize("a list with its flag", |_| json!({ "identifier": ["dns", "a.test", true] })),
        authorize("an order's names", |_| order("profile", Value::Null)),
        authorize("no type", |_| json!({ "identifier": { "value": "a.test" } })),
        authorize("a number", |_| json!({ "identifier": { "type": "dns", "value": 1 } })),
        unwilling("an underscore", |_| identifier("dns", "a_b.test"), "rejectedIdentifier"),
        unwilling("a wildcard", |_| identifier("dns", "*.a.test"), "rejectedIdentifier"),
        unwilling("U+0000", |_| identifier("dns", "a\0.test"), "rejectedIdentifier"),
        unwilling("no address", |_| identifier("ip", "a.test"), "rejectedIdentifier"),
        unwilling("a type of none", |_| identifier("mail", "a@b.test"), "unsupportedIdentifier"),
    ]
}

fn revocations() -> Vec<Row<(&'static str, Payload)>> {
    let revoke = |why, payload: Payload, answer| row("§7.6", why, ("revokeCert", payload), answer);
    let reason =
        |why, payload: Payload| revoke(why, payload, (400, "badRevocationReason", "reason"));
    let foreign = || (404, "malformed", "no such certificate");
    vec![
        revoke("nothing", |_| json!({}), malformed("certificate")),
        revoke("null", |_| json!({ "certificate": null }), malformed("payload")),
        revoke("a number", |_| json!({ "certificate": 1 }), malformed("payload")),
        revoke("no text", |_| json!({ "certificate": "" }), malformed("certificate")),
        revoke("PEM", |_| json!({ "certificate": "-----BEGIN" }), malformed("base64url")),
        revoke("padding", |_| json!({ "certificate": "AAA=" }), malformed("base64url")),
        revoke("no certificate", |_| json!({ "certificate": "AAAA" }), malformed("certificate")),
        revoke(
            "a byte less",
            |s| json!({ "certificate": base64url(&s.certificate[..s.certificate.len() - 1]) }),
            malformed("certificate"),
        ),
        revoke(
            "another signature",
            |s| {
                let mut other = s.certificate.clone();
                *other.last_mut().unwrap() ^= 1;
                json!({ "certificate": base64url(other) })
            },
            foreign(),
        ),
        revoke(
            "somebody's certificate",
            |_| {
                let root = Issuer::root("somebody", csr::p256());
                json!({ "certificate": base64url(root.certificate.to_der().unwrap()) })
            },
            foreign(),
        ),
        reason("a hold", |s| s.revocation(6)),
        reason("a reason of none", |s| s.revocation(7)),
        reason("removeFromCRL", |s| s.revocation(8)),
        reason("withdrawn", |s| s.revocation(9)),
        reason("a CA's compromise", |s| s.revocation(2)),
        reason("a negative one", |s| s.revocation(-1)),
        reason("a great one", |s| s.revocation(i64::MAX)),
        revoke("a reason in words", |s| s.revocation("1"), malformed("payload")),
        revoke("half a reason", |s| s.revocation(1.5), malformed("payload")),
        revoke("a reason beyond all", |s| s.revocation(u64::MAX), malformed("payload")),
    ]
}

fn keys() -> Vec<Row<(&'static str, Payload)>> {
    let change = |why, payload: Payload, answer| row("§7.3.5", why, ("keyChange", payload), answer);
    let bind = |why, payload: Payload, answer| row("§7.3.4", why, ("newAccount", payload), answer);
    let forbidden = || (403, "unauthorized", "");
    vec![
        change("no JWS", |_| json!({}), malformed("inner JWS")),
        change("null", |_| Value::Null, malformed("inner JWS")),
        change("a list", |s| json!([s.inner(|_, _| {})]), malformed("inner JWS")),
        change("a kid", |s| s.inner(|h, _| h["kid"] = json!("a")), malformed("not both")),
        change(
            "only a kid",
            |s| {
                s.inner(|h, _| {
                    h.as_object_mut().unwrap().remove("jwk");
                    h["kid"] = json!(s.account);
                })
            },
            malformed("the new key"),
        ),
        change("a nonce", |s| s.inner(|h, _| h["nonce"] = json!("AAAA")), malformed("\"nonce\"")),
        change("another url", |s| s.inner(|h, _| h["url"] = json!("a")), malformed("\"url\"")),
        change(
            "no algorithm",
            |s| s.inner(|h, _| h["alg"] = json!("none")),
            (400, "badSignatureAlgorithm", "inner JWS"),
        ),
        change(
            "a key that is none",
            |s| s.inner(|h, _| h["jwk"]["x"] = json!("AAAA")),
            (400, "badPublicKey", "inner JWS"),
        ),
        change("a key that did not sign", |s| s.inner(|h, _| h["jwk"] = s.key.jwk()), forbidden()),
        change("no account", |s| s.inner(|_, p| p["account"] = Value::Null), malformed("account")),
        change(
            "another account",
            |s| s.inner(|_, p| p["account"] = json!(s.other_account)),
            malformed("account"),
        ),
        change(
            "an account with U+0000",
            |s| s.inner(|_, p| p["account"] = json!(format!("{}\0", s.account))),
            malformed("account"),
        ),
        change("no old key", |s| s.inner(|_, p| p["oldKey"] = json!({})), malformed("oldKey")),
        change(
            "another old key",
            |s| s.inner(|_, p| p["oldKey"] = s.new_key.jwk()),
            malformed("oldKey"),
        ),
        change("a payload of a list", |s| s.inner(|_, p| *p = json!([])), malformed("keyChange")),
        bind("an unknown account", |s| s.binding(|_, _| {}), forbidden()),
        bind("U+0000", |s| s.binding(|h, _| h["kid"] = json!("kid\0")), malformed("ASCII")),
        bind("no ASCII", |s| s.binding(|h, _| h["kid"] = json!("schlüssel")), malformed("ASCII")),
        bind("a number", |s| s.binding(|h, _| h["kid"] = json!(1)), malformed("\"kid\"")),
        bind(
            "a long one",
            |s| s.binding(|h, _| h["kid"] = json!("a".repeat(3000))),
            malformed("kid"),
        ),
        bind("a nonce", |s| s.binding(|h, _| h["nonce"] = json!("AAAA")), malformed("nonce")),
        bind("another url", |s| s.binding(|h, _| h["url"] = json!("a")), malformed("\"url\"")),
        bind("another key", |s| s.binding(|_, p| *p = s.key.jwk()), malformed("key")),
        bind(
            "a signature",
            |s| s.binding(|h, _| h["alg"] = json!("ES256")),
            (400, "badSignatureAlgorithm", "ES256"),
        ),
        bind(
            "no MAC",
            |s| s.binding(|h, _| h["alg"] = json!("none")),
            (400, "badSignatureAlgorithm", "none"),
        ),
        bind("a text", |_| json!({ "externalAccountBinding": "kid" }), malformed("flattened")),
        bind("a list", |_| json!({ "externalAccountBinding": [1] }), malformed("flattened")),
    ]
}

#[tokio::test]
async fn what_the_extensions_cannot_be_asked_for_is_refused_on_postgres() {
    let database = Database::postgres();
    let settings = Settings { database_url: Some(database.url()), ..Settings::key_file() };
    let server = server_with(settings).await;
    let mut client = server.account("ca").await;
    let other_account = server.account("ca").await.kid.unwrap();
    let mut stranger = server.client("ca").await;
    let mut valid = client.order(&["valid.test"]).await.prove("http-01").await;
    let csr = valid.csr().der();
    valid.finalize_with(&csr).await.expect(200);
    let certificate = valid.certificates().await.remove(0).to_der().unwrap();
    let victim = Victim::on(database.url(), server).await;
    let mut seen = Seen {
        url: String::new(),
        account: client.kid.clone().unwrap(),
        other_account,
        key: client.key.clone(),
        new_key: Key::new(Algorithm::Es256),
        certificate,
    };
    stranger.key = seen.new_key.clone();
    for (refusal, (entry, payload)) in rows() {
        seen.url = client.url(entry);
        let asking: &mut Client = if entry == "newAccount" { &mut stranger } else { &mut client };
        let answer = asking.post(&seen.url, &payload(&seen)).await;
        refusal.check(&answer);
    }
    victim.is_unharmed(&mut client).await;
    // What the rows of keyChange bend would be right.
    seen.url = client.url("keyChange");
    let right = seen.inner(|_, _| {});
    client.post(&seen.url.clone(), &right).await.expect(200);
}
