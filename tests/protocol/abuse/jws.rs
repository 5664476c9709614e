//! Bodies that are no flattened JWS (RFC 8555 §6.2, RFC 7515 §7.2.2).

use serde_json::{Value, json};

use super::{Row, Victim, malformed, row};
use crate::server;

/// Makes a body of a right POST-as-GET, whose payload is empty.
type Bend = fn(&Value) -> Vec<u8>;

fn part<'j>(jws: &'j Value, name: &str) -> &'j str {
    jws[name].as_str().unwrap()
}

/// The JWS with this member set to something else.
fn with(jws: &Value, name: &str, value: Value) -> Vec<u8> {
    let mut jws = jws.clone();
    jws[name] = value;
    jws.to_string().into()
}

fn without(jws: &Value, name: &str) -> Vec<u8> {
    let mut jws = jws.clone();
    jws.as_object_mut().unwrap().remove(name);
    jws.to_string().into()
}

/// The JWS's text with this in front of its first member.
fn more(jws: &Value, member: &str) -> Vec<u8> {
    jws.to_string().replacen('{', &format!("{{{member},"), 1).into_bytes()
}

fn replaced(jws: &Value, name: &str, make: impl Fn(&str) -> String) -> Vec<u8> {
    with(jws, name, json!(make(part(jws, name))))
}

pub(super) fn rows() -> Vec<Row<Bend>> {
    let row = |why, bend: Bend, says| row("§6.2", why, bend, malformed(says));
    let too_long = |why, bend: Bend| super::row("§6.7", why, bend, (413, "malformed", "longer"));
    vec![
        row("nothing", |_| Vec::new(), "not a flattened JWS"),
        row("a space", |_| b" ".to_vec(), "not a flattened JWS"),
        row("null", |_| b"null".to_vec(), "not a flattened JWS"),
        row("a number", |_| b"1".to_vec(), "not a flattened JWS"),
        row("a string", |_| b"\"JWS\"".to_vec(), "not a flattened JWS"),
        row("a list", |j| format!("[{j}]").into(), "not a flattened JWS"),
        row("no member", |_| b"{}".to_vec(), "\"protected\""),
        row("no protected", |j| without(j, "protected"), "\"protected\""),
        row("no payload", |j| without(j, "payload"), "\"payload\""),
        row("no signature", |j| without(j, "signature"), "\"signature\""),
        row("protected null", |j| with(j, "protected", Value::Null), "\"protected\""),
        row("protected an object", |j| with(j, "protected", json!({})), "\"protected\""),
        row("payload null", |j| with(j, "payload", Value::Null), "\"payload\""),
        row("payload an object", |j| with(j, "payload", json!({})), "\"payload\""),
        row("payload a number", |j| with(j, "payload", json!(0)), "\"payload\""),
        row("signature false", |j| with(j, "signature", json!(false)), "\"signature\""),
        row("signatures", |j| with(j, "signature", json!([])), "\"signature\""),
        row("protected twice", |j| more(j, r#""protected":"e30""#), "stands twice"),
        row("payload twice", |j| more(j, r#""payload":"e30""#), "stands twice"),
        row("signature twice", |j| more(j, r#""signature":"""#), "stands twice"),
        row("payload twice, escaped", |j| more(j, r#""pa\u0079load":"""#), "stands twice"),
        row("an unprotected header", |j| more(j, r#""header":{}"#), "\"header\""),
        row("an unprotected nonce", |j| more(j, r#""header":{"nonce":"AAAA"}"#), "\"header\""),
        row("a member of no meaning", |j| more(j, r#""x":1"#), "\"x\""),
        row("U+0000 in a member's name", |j| more(j, r#""\u0000":1"#), "no other"),
        row("a member in upper case", |j| more(j, r#""Payload":"""#), "\"Payload\""),
        row(
            "the general form",
            |j| {
                let signature = json!({ "protected": j["protected"], "signature": j["signature"] });
                json!({ "payload": "", "signatures": [signature] }).to_string().into()
            },
            "\"signatures\"",
        ),
        row("both forms", |j| more(j, r#""signatures":[{"signature":"AAAA"}]"#), "\"signatures\""),
        row(
            "the compact form",
            |j| format!("{}..{}", part(j, "protected"), part(j, "signature")).into(),
            "not a flattened JWS",
        ),
        row("a form", |j| format!("jws={j}").into(), "not a flattened JWS"),
        row("another one behind", |j| format!("{j}{j}").into(), "trailing"),
        row("more behind", |j| format!("{j}x").into(), "trailing"),
        row("zeros behind", |j| format!("{j}\0\0").into(), "trailing"),
        row("half", |j| j.to_string().as_bytes()[..100].to_vec(), "not a flattened JWS"),
        row("a mark of byte order", |j| format!("\u{feff}{j}").into(), "not a flattened JWS"),
        row(
            "UTF-16",
            |j| j.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "not a flattened JWS",
        ),
        row("no UTF-8", |j| [&b"\xff"[..], j.to_string().as_bytes()].concat(), "flattened JWS"),
        row("half a surrogate pair", |j| more(j, r#""\ud800":1"#), "not a flattened JWS"),
        row("a control character", |j| more(j, "\"a\tb\":1"), "control character"),
        row("a number beyond all", |j| more(j, r#""x":-1e99999"#), "out of range"),
        row(
            "a deep list",
            |j| more(j, &format!("\"x\":{}{}", "[".repeat(20_000), "]".repeat(20_000))),
            "recursion limit",
        ),
        row("only brackets", |_| vec![b'['; 100_000], "not a flattened JWS"),
        row("only the start of objects", |_| b"{\"a\":".repeat(20_000), "recursion limit"),
        row(
            "a thousand members",
            |j| more(j, &(0..1000).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(",")),
            "more than 64 members",
        ),
        row("protected empty", |j| with(j, "protected", json!("")), "cannot be read"),
        row(
            "padding behind protected",
            |j| replaced(j, "protected", |p| p.to_owned() + "="),
            "base64url",
        ),
        row("padding behind payload", |j| with(j, "payload", json!("e30=")), "base64url"),
        row(
            "padding behind signature",
            |j| replaced(j, "signature", |s| s.to_owned() + "=="),
            "base64url",
        ),
        row("the other alphabet", |j| with(j, "payload", json!("a+/b")), "base64url"),
        row("bits that nothing means", |j| with(j, "payload", json!("QR")), "base64url"),
        row("one character of base64url", |j| with(j, "payload", json!("A")), "base64url"),
        row("a space in payload", |j| with(j, "payload", json!(" ")), "base64url"),
        row(
            "a line's end in signature",
            |j| replaced(j, "signature", |s| s.to_owned() + "\n"),
            "base64url",
        ),
        row("U+0000 in payload", |j| with(j, "payload", json!("\0")), "base64url"),
        row("no ASCII in signature", |j| with(j, "signature", json!("ÄÄÄÄ")), "base64url"),
        too_long("a body of spaces", |_| vec![b' '; 200_000]),
        too_long("a long payload", |j| with(j, "payload", json!("A".repeat(200_000)))),
        too_long("a long body of which the start is right", |j| {
            format!("{j}{}", " ".repeat(200_000)).into()
        }),
    ]
}

#[tokio::test]
async fn a_body_that_is_no_flattened_jws_is_refused_for_what_is_wrong_with_it() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let victim = Victim::new(server).await;
    let url = client.kid.clone().unwrap();
    for (refusal, bend) in rows() {
        let jws = client.jws(&url, "").await;
        let body = bend(&client.sign(&jws));
        refusal.check(&client.post_raw(&url, "application/jose+json", body).await);
    }
    victim.is_unharmed(&mut client).await;
}
