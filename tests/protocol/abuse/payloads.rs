//! Payloads that are signed as they should be and say what cannot be (RFC 8555 §7).

use serde_json::{Value, json};

use super::{Row, Victim, malformed, row};
use crate::server;

/// Where a payload goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    NewAccount,
    NewOrder,
    Entry(&'static str),
    Account,
    Orders,
    /// Of a pending order.
    Order,
    Authorization,
    Challenge,
    Finalize,
    /// Of another order, which is valid.
    Certificate,
}

fn object(name: &str, value: Value) -> Vec<u8> {
    Value::from_iter([(name, value)]).to_string().into()
}

fn identifiers(identifiers: Value) -> Vec<u8> {
    object("identifiers", identifiers)
}

fn dns(name: &str) -> Vec<u8> {
    identifiers(json!([{ "type": "dns", "value": name }]))
}

fn contact(contact: Value) -> Vec<u8> {
    object("contact", contact)
}

const fn invalid_contact(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "invalidContact", says)
}

const fn rejected(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "rejectedIdentifier", says)
}

const fn unsupported() -> (u16, &'static str, &'static str) {
    (400, "unsupportedIdentifier", "not supported")
}

/// What is no JSON object, wherever an object is wanted.
fn no_objects(clause: &'static str, to: To) -> Vec<Row<(To, Vec<u8>)>> {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let text = |why, payload: &[u8]| row(clause, why, (to, payload.to_vec()), malformed("payload"));
    vec![
        text("null", b"null"),
        text("a number", b"1"),
        text("a string", b"\"deactivated\""),
        text("a list", b"[]"),
        text("a list of what would be members", b"[[],true,\"deactivated\",\"valid\"]"),
        text("no JSON", b"status=deactivated"),
        text("half", b"{\"status\":"),
        text("more behind", b"{}{}"),
        text("no UTF-8", b"{\"x\":\"\xff\"}"),
        text("half a surrogate pair", br#"{"x":"\ud800"}"#),
        text("a member twice", br#"{"x":1,"x":1}"#),
        text("a member twice below", br#"{"x":[{"y":1,"y":2}]}"#),
        text("a number beyond all", br#"{"x":1e999}"#),
        text("a deep list", deep.as_bytes()),
        text(
            "a JWS in the JWS",
            br#"{"protected":"e30","payload":"","signature":"","payload":""}"#,
        ),
    ]
}

pub(super) fn rows() -> Vec<Row<(To, Vec<u8>)>> {
    let mut rows = Vec::new();
    for (clause, to) in [
        ("§7.3", To::NewAccount),
        ("§7.3.2", To::Account),
        ("§7.4", To::NewOrder),
        ("§7.4", To::Finalize),
        ("§7.5.1", To::Challenge),
        ("§7.5.2", To::Authorization),
    ] {
        rows.extend(no_objects(clause, to));
    }
    rows.extend(payloads_of_accounts());
    rows.extend(payloads_of_orders());
    rows.extend(payloads_of_the_rest());
    rows
}

fn payloads_of_accounts() -> Vec<Row<(To, Vec<u8>)>> {
    let new = |why, payload: Vec<u8>, answer| row("§7.3", why, (To::NewAccount, payload), answer);
    let update = |why, payload: Vec<u8>, answer| row("§7.3.2", why, (To::Account, payload), answer);
    let mail = |address: &str| contact(json!([format!("mailto:{address}")]));
    vec![
        new("nothing", Vec::new(), malformed("empty")),
        new("one contact", contact(json!("mailto:a@a.test")), malformed("payload")),
        new("a contact that is a number", contact(json!([1])), malformed("payload")),
        new("a contact null", contact(json!([null])), malformed("payload")),
        new("contacts in contacts", contact(json!([["mailto:a@a.test"]])), malformed("payload")),
        new(
            "an agreement in words",
            json!({ "termsOfServiceAgreed": "yes" }).to_string().into(),
            malformed("payload"),
        ),
        new(
            "an agreement of 1",
            json!({ "termsOfServiceAgreed": 1 }).to_string().into(),
            malformed("payload"),
        ),
        new(
            "an only in words",
            json!({ "onlyReturnExisting": "no" }).to_string().into(),
            malformed("payload"),
        ),
        new(
            "an account that is not there",
            json!({ "onlyReturnExisting": true }).to_string().into(),
            (400, "accountDoesNotExist", "account"),
        ),
        new("a telephone", contact(json!(["tel:+1"])), (400, "unsupportedContact", "tel")),
        new("a web page", contact(json!(["https://a.test"])), (400, "unsupportedContact", "https")),
        new("no URL", contact(json!(["a@a.test"])), invalid_contact("not a URL")),
        new("an empty contact", contact(json!([""])), invalid_contact("not a URL")),
        new("no address", mail(""), invalid_contact("not a mail address")),
        new("no mailbox", mail("@a.test"), invalid_contact("not a mail address")),
        new("no domain", mail("a@"), invalid_contact("not a mail address")),
        new("two addresses", mail("a@a.test,b@b.test"), invalid_contact("more than one")),
        new("header fields", mail("a@a.test?bcc=b@b.test"), invalid_contact("header fields")),
        new("a space", mail("a b@a.test"), invalid_contact("not a mail address")),
        new("a line's end", mail("a@a.test\r\nBcc: b@b.test"), invalid_contact("mail address")),
        new("U+0000", mail("a\0@a.test"), invalid_contact("not a mail address")),
        new("a long contact", mail(&format!("{}@a.test", "a".repeat(300))), invalid_contact("254")),
        new("eleven contacts", contact(json!(vec!["mailto:a@a.test"; 11])), invalid_contact("11")),
        new(
            "a good and a bad one",
            contact(json!(["mailto:a@a.test", "b"])),
            invalid_contact("\"b\""),
        ),
        update(
            "a status of none",
            json!({ "status": "" }).to_string().into(),
            malformed("cannot become"),
        ),
        update(
            "a status of ours",
            json!({ "status": "revoked" }).to_string().into(),
            malformed("revoked"),
        ),
        update(
            "a status with a zero",
            json!({ "status": "deactivated\0" }).to_string().into(),
            malformed("become"),
        ),
        update(
            "a status in capitals",
            json!({ "status": "DEACTIVATED" }).to_string().into(),
            malformed("become"),
        ),
        update(
            "a status of an order",
            json!({ "status": "pending" }).to_string().into(),
            malformed("pending"),
        ),
        update(
            "a status that is a list",
            json!({ "status": ["deactivated"] }).to_string().into(),
            malformed("payload"),
        ),
        update(
            "a status that is a number",
            json!({ "status": 0 }).to_string().into(),
            malformed("payload"),
        ),
        update("one contact", contact(json!("mailto:a@a.test")), malformed("payload")),
        update("a bad contact", contact(json!(["b"])), invalid_contact("\"b\"")),
        update("a telephone", contact(json!(["tel:+1"])), (400, "unsupportedContact", "tel")),
        update("U+0000", mail("a@a\0.test"), invalid_contact("not a mail address")),
    ]
}

fn payloads_of_orders() -> Vec<Row<(To, Vec<u8>)>> {
    let new = |why, payload: Vec<u8>, answer| row("§7.4", why, (To::NewOrder, payload), answer);
    let name =
        |why, name: &str, says| row("§7.1.3", why, (To::NewOrder, dns(name)), rejected(says));
    let address = |why, value: &str, says| {
        let payload = identifiers(json!([{ "type": "ip", "value": value }]));
        row("RFC 8738 §3", why, (To::NewOrder, payload), rejected(says))
    };
    let many: Vec<_> =
        (0..101).map(|n| json!({ "type": "dns", "value": format!("n{n}.test") })).collect();
    let two =
        json!([{ "type": "dns", "value": "a_b.test" }, { "type": "mail", "value": "a@b.test" }]);
    let long = format!("{}test", "a.".repeat(126));
    vec![
        new("nothing", Vec::new(), malformed("empty")),
        new("no identifiers", b"{}".to_vec(), malformed("identifiers")),
        new("identifiers null", identifiers(Value::Null), malformed("payload")),
        new("an empty list", identifiers(json!([])), malformed("no identifiers")),
        new(
            "an object",
            identifiers(json!({ "type": "dns", "value": "a.test" })),
            malformed("payload"),
        ),
        new("a name", identifiers(json!("a.test")), malformed("payload")),
        new("names", identifiers(json!(["a.test"])), malformed("payload")),
        new("no type", identifiers(json!([{ "value": "a.test" }])), malformed("type")),
        new("no value", identifiers(json!([{ "type": "dns" }])), malformed("value")),
        new("a list", identifiers(json!([["dns", "a.test"]])), malformed("payload")),
        new(
            "a list with its ancestor",
            identifiers(json!([["dns", "a.b.test", "b.test"]])),
            malformed("payload"),
        ),
        new(
            "a type null",
            identifiers(json!([{ "type": null, "value": "a.test" }])),
            malformed("payload"),
        ),
        new(
            "a value that is a number",
            identifiers(json!([{ "type": "dns", "value": 1 }])),
            malformed("payload"),
        ),
        new(
            "a list of values",
            identifiers(json!([{ "type": "dns", "value": ["a.test"] }])),
            malformed("payload"),
        ),
        new(
            "an unknown type",
            identifiers(json!([{ "type": "mail", "value": "a@b.test" }])),
            unsupported(),
        ),
        new(
            "a type in capitals",
            identifiers(json!([{ "type": "DNS", "value": "a.test" }])),
            unsupported(),
        ),
        new(
            "an empty type",
            identifiers(json!([{ "type": "", "value": "a.test" }])),
            unsupported(),
        ),
        new(
            "a type with U+0000",
            identifiers(json!([{ "type": "dns\0", "value": "a.test" }])),
            unsupported(),
        ),
        new("too many", identifiers(json!(many)), rejected("max_identifiers = 100")),
        new("two that are wrong", identifiers(two), (400, "compound", "subproblems")),
        name("empty", "", "is empty"),
        name("only a dot", ".", "is empty"),
        name("only a star", "*", "*"),
        name("a star below nothing", "*.", "*."),
        name("two stars", "*.*.test", "*"),
        name("a star within", "a*.test", "*"),
        name("a star in the middle", "a.*.test", "*"),
        name("an empty label", "a..test", "empty label"),
        name("a dot in front", ".a.test", "empty label"),
        name("two dots behind", "a.test..", "empty label"),
        name("a hyphen in front", "-a.test", "hyphen"),
        name("a hyphen behind", "a-.test", "hyphen"),
        name("hyphens where A-labels have them", "ab--c.test", "hyphens"),
        name("an underscore", "a_b.test", "underscores"),
        name("a space", "a b.test", "character"),
        name("a line's end", "a.test\n", "character"),
        name("U+0000", "a\0.test", "character"),
        name("a port", "a.test:443", "character"),
        name("a URL", "https://a.test/", "character"),
        name("a mail address", "a@a.test", "character"),
        name("SQL", "a.test'--", "character"),
        name("a U-label", "bücher.test", "A-labels"),
        name("full-width digits", "１.test", "A-labels"),
        name("no A-label", "xn--a.test", "A-label"),
        name("an A-label of nothing", "xn--.test", "label"),
        name("an A-label of ASCII", "xn--abc-.test", "label"),
        name("a long label", &format!("{}.test", "a".repeat(64)), "63"),
        name("a long name", &long, "253"),
        name("a very long name", &"a".repeat(60_000), "253"),
        name("an IPv4 address", "127.0.0.1", "RFC 8738"),
        name("a hexadecimal address", "0x7f000001", "numeric"),
        name("an IPv6 address", "[::1]", "character"),
        name("a number", "2130706433", "numeric"),
        address("no address", "a.test", "is not an IP address"),
        address("an empty address", "", "is not an IP address"),
        address("three numbers", "192.0.2", "is not an IP address"),
        address("octal numbers", "192.0.02.010", "is not an IP address"),
        address("a number beyond all", "192.0.2.256", "is not an IP address"),
        address("brackets", "[2001:db8::1]", "is not an IP address"),
        address("a port", "192.0.2.1:443", "is not an IP address"),
        address("a space", " 192.0.2.1", "is not an IP address"),
        address("U+0000", "192.0.2.1\0", "is not an IP address"),
        address("a name for addresses", "1.2.0.192.in-addr.arpa", "is not an IP address"),
        address("a network", "192.0.2.0/24", "network"),
        address("a zone", "fe80::1%eth0", "zone"),
        address("IPv4 in IPv6", "::ffff:192.0.2.1", "order the IPv4 address"),
        address("no address of a host", "0.0.0.0", "unspecified"),
        address("an address of many", "ff02::1", "multicast"),
        address("an address of all", "255.255.255.255", "broadcast"),
    ]
}

fn payloads_of_the_rest() -> Vec<Row<(To, Vec<u8>)>> {
    let get = |why, to, payload: &[u8]| {
        row("§6.3", why, (to, payload.to_vec()), malformed("POST-as-GET"))
    };
    let status = |status: Value| json!({ "status": status }).to_string().into();
    let authorization =
        |why, payload, says| row("§7.5.2", why, (To::Authorization, payload), malformed(says));
    let finalize = |why, csr: Value, answer| {
        row("§7.4", why, (To::Finalize, json!({ "csr": csr }).to_string().into()), answer)
    };
    vec![
        get("an object to the directory", To::Entry("directory"), b"{}"),
        get("an object to newNonce", To::Entry("newNonce"), b"{}"),
        get("an object to an order", To::Order, b"{}"),
        get("a change of an order", To::Order, br#"{"status":"valid"}"#),
        get("null to an order", To::Order, b"null"),
        get("an object to the orders", To::Orders, b"{}"),
        get("an object to a certificate", To::Certificate, b"{}"),
        get("a space to a certificate", To::Certificate, b" "),
        authorization("no status", b"{}".to_vec(), "deactivated"),
        authorization("a status null", status(Value::Null), "deactivated"),
        authorization("valid by itself", status(json!("valid")), "deactivated"),
        authorization("pending again", status(json!("pending")), "deactivated"),
        authorization("revoked", status(json!("revoked")), "deactivated"),
        authorization("expired", status(json!("expired")), "deactivated"),
        authorization("in capitals", status(json!("Deactivated")), "deactivated"),
        authorization("a number", status(json!(1)), "payload"),
        authorization("a list", status(json!(["deactivated"])), "payload"),
        row("§7.4", "nothing", (To::Finalize, Vec::new()), malformed("empty")),
        row("§7.4", "no csr", (To::Finalize, b"{}".to_vec()), malformed("csr")),
        finalize("a csr null", Value::Null, malformed("payload")),
        finalize("a csr that is a number", json!(1), malformed("payload")),
        finalize("a csr that is an object", json!({}), malformed("payload")),
        finalize("a csr of bytes", json!([48, 130]), malformed("payload")),
        finalize(
            "a csr as PEM",
            json!("-----BEGIN CERTIFICATE REQUEST-----"),
            (400, "badCSR", "base64url"),
        ),
        finalize("a csr in base64", json!("MIIB+/=="), (400, "badCSR", "base64url")),
        finalize("a csr with U+0000", json!("\0"), (400, "badCSR", "base64url")),
        finalize("a csr before its time", json!("AAAA"), (403, "orderNotReady", "pending")),
    ]
}

#[tokio::test]
async fn a_payload_that_cannot_be_is_refused_for_what_is_wrong_with_it() {
    let server = server().await;
    let mut client = server.account("ca").await;
    let mut stranger = server.client("ca").await;
    let mut valid = client.order(&["valid.test"]).await.prove("http-01").await;
    let csr = valid.csr().der();
    valid.finalize_with(&csr).await.expect(200);
    let certificate = valid.refresh().await.object["certificate"].as_str().unwrap().to_owned();
    let mut pending = client.order(&["pending.test"]).await;
    let authorization = pending.authorization_urls().remove(0);
    let (_, challenge) = pending.challenge(&authorization, "dns-01").await;
    let (order, finalize) =
        (pending.url.clone(), pending.object["finalize"].as_str().unwrap().to_owned());
    let account = client.kid.clone().unwrap();
    let directory = server.directory("ca");
    let victim = Victim::new(server).await;
    for (refusal, (to, payload)) in rows() {
        let url = match to {
            To::NewAccount => {
                let url = stranger.url("newAccount");
                let jws = stranger.jws(&url, &payload).await;
                let body = stranger.sign(&jws);
                refusal.check(&stranger.post_json(&url, &body).await);
                continue;
            }
            To::NewOrder => client.url("newOrder"),
            To::Entry("directory") => directory.clone(),
            To::Entry(entry) => client.url(entry),
            To::Account => account.clone(),
            To::Orders => format!("{account}/orders"),
            To::Order => order.clone(),
            To::Authorization => authorization.clone(),
            To::Challenge => challenge["url"].as_str().unwrap().to_owned(),
            To::Finalize => finalize.clone(),
            To::Certificate => certificate.clone(),
        };
        let jws = client.jws(&url, &payload).await;
        let body = client.sign(&jws);
        refusal.check(&client.post_json(&url, &body).await);
    }
    for url in [&order, &authorization, challenge["url"].as_str().unwrap()] {
        assert_eq!(client.post_as_get(url).await.expect(200).json()["status"], "pending", "{url}");
    }
    let object = client.post_as_get(&account).await.expect(200).json();
    assert_eq!((&object["status"], &object["contact"]), (&json!("valid"), &json!([])));
    victim.is_unharmed(&mut client).await;
}
