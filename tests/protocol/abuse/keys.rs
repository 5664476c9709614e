//! Account keys (RFC 7517, RFC 7518 §6, RFC 8037 §2), in newAccount.

use harness::key::base64url;
use harness::{Algorithm, Key};
use serde_json::{Value, json};

use super::{Row, Victim, row};
use crate::server;

/// Changes the JWK of a key of this algorithm, which signs.
type Bend = (Algorithm, fn(&mut Value));

const fn bad_key(says: &'static str) -> (u16, &'static str, &'static str) {
    (400, "badPublicKey", says)
}

fn bytes(jwk: &Value, name: &str) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

fn set(jwk: &mut Value, name: &str, bytes: &[u8]) {
    jwk[name] = json!(base64url(bytes));
}

/// The number with this in front.
fn before(jwk: &mut Value, name: &str, head: &[u8]) {
    let longer = [head, &bytes(jwk, name)].concat();
    set(jwk, name, &longer);
}

fn without(jwk: &mut Value, name: &str) {
    jwk.as_object_mut().unwrap().remove(name);
}

pub(super) fn rows() -> Vec<Row<Bend>> {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Rs256};
    let row =
        |clause, why, key, bend: fn(&mut Value), says| row(clause, why, (key, bend), bad_key(says));
    let ec = |why, bend, says| row("RFC 7518 §6.2.1", why, Es256, bend, says);
    let rsa = |why, bend, says| row("RFC 7518 §6.3.1", why, Rs256, bend, says);
    let okp = |why, bend, says| row("RFC 8037 §2", why, EdDsa, bend, says);
    vec![
        row("RFC 7517 §4.1", "a string", Es256, |j| *j = json!("key"), "not an object"),
        row("RFC 7517 §4.1", "null", Es256, |j| *j = Value::Null, "not an object"),
        row("RFC 7517 §5", "a list of keys", Es256, |j| *j = json!([j]), "not an object"),
        row("RFC 7517 §5", "a set of keys", Es256, |j| *j = json!({ "keys": [j] }), "\"kty\""),
        row("RFC 7517 §4.1", "nothing", Es256, |j| *j = json!({}), "\"kty\""),
        row("RFC 7517 §4.1", "no kty", Es256, |j| without(j, "kty"), "\"kty\""),
        row("RFC 7517 §4.1", "kty a number", Es256, |j| j["kty"] = json!(1), "\"kty\""),
        row("RFC 7517 §4.1", "kty in lower case", Es256, |j| j["kty"] = json!("ec"), "\"ec\""),
        row("RFC 7517 §4.1", "another kty", Es256, |j| j["kty"] = json!("RSA"), "\"n\""),
        row(
            "RFC 7518 §6.4",
            "a symmetric key",
            Es256,
            |j| *j = json!({ "kty": "oct", "k": "AAAA" }),
            "private",
        ),
        row("RFC 7518 §6.4", "an unknown type", Es256, |j| j["kty"] = json!("AKP"), "\"AKP\""),
        row(
            "RFC 7518 §6.2.2",
            "an EC key's d",
            Es256,
            |j| set(j, "d", &[7; 32]),
            "no longer a secret",
        ),
        row("RFC 7518 §6.3.2", "an RSA key's d", Rs256, |j| set(j, "d", &[7; 256]), "\"d\""),
        row("RFC 7518 §6.3.2", "an RSA key's p", Rs256, |j| set(j, "p", &[7; 128]), "\"p\""),
        row("RFC 7518 §6.3.2", "an RSA key's qi", Rs256, |j| set(j, "qi", &[7; 128]), "\"qi\""),
        row("RFC 8037 §2", "an Ed25519 key's d", EdDsa, |j| set(j, "d", &[7; 32]), "\"d\""),
        row("RFC 7517 §4.2", "for encryption", Es256, |j| j["use"] = json!("enc"), "\"use\""),
        row(
            "RFC 7517 §4.3",
            "only to sign",
            Es256,
            |j| j["key_ops"] = json!(["sign"]),
            "\"key_ops\"",
        ),
        row("RFC 7517 §4.3", "for nothing", Es256, |j| j["key_ops"] = json!([]), "\"key_ops\""),
        row(
            "RFC 7517 §4.3",
            "one operation",
            Es256,
            |j| j["key_ops"] = json!("verify"),
            "\"key_ops\"",
        ),
        row("RFC 7517 §4.4", "another alg", Es256, |j| j["alg"] = json!("ES384"), "\"alg\""),
        row("RFC 7517 §4.4", "an RSA key for PSS", Rs256, |j| j["alg"] = json!("PS256"), "\"alg\""),
        ec("no crv", |j| without(j, "crv"), "\"crv\""),
        ec("no x", |j| without(j, "x"), "\"x\""),
        ec("no y", |j| without(j, "y"), "\"y\""),
        ec("x a number", |j| j["x"] = json!(7), "\"x\""),
        ec("x empty", |j| j["x"] = json!(""), "0 bytes"),
        ec(
            "x with padding",
            |j| j["x"] = json!(j["x"].as_str().unwrap().to_owned() + "="),
            "base64url",
        ),
        ec("x without its last byte", |j| set(j, "x", &bytes(j, "x")[..31]), "exactly 32"),
        ec("y without its first byte", |j| set(j, "y", &bytes(j, "y")[1..]), "exactly 32"),
        ec("x with a zero in front", |j| before(j, "x", &[0]), "33 bytes"),
        ec("y with a zero in front", |j| before(j, "y", &[0]), "33 bytes"),
        ec(
            "zero",
            |j| {
                set(j, "x", &[0; 32]);
                set(j, "y", &[0; 32])
            },
            "no point",
        ),
        ec(
            "beyond the field",
            |j| {
                set(j, "x", &[0xff; 32]);
                set(j, "y", &[0xff; 32])
            },
            "no point",
        ),
        ec("off the curve", |j| set(j, "x", &[7; 32]), "no point"),
        ec(
            "x and y swapped",
            |j| {
                let x = j["x"].clone();
                j["x"] = j["y"].clone();
                j["y"] = x
            },
            "no point",
        ),
        ec("crv in lower case", |j| j["crv"] = json!("p-256"), "p-256"),
        ec("secp256k1", |j| j["crv"] = json!("secp256k1"), "secp256k1"),
        ec("P-224", |j| j["crv"] = json!("P-224"), "P-224"),
        ec("crv of another size", |j| j["crv"] = json!("P-384"), "exactly 48"),
        ec("Ed25519 in an EC key", |j| j["crv"] = json!("Ed25519"), "Ed25519"),
        row(
            "RFC 7518 §6.2.1",
            "P-384 without a byte",
            Es384,
            |j| set(j, "x", &bytes(j, "x")[1..]),
            "exactly 48",
        ),
        row("RFC 7518 §6.2.1", "P-384 off the curve", Es384, |j| set(j, "y", &[7; 48]), "no point"),
        row(
            "RFC 7518 §6.2.1",
            "P-521 in 65 bytes",
            Es512,
            |j| set(j, "x", &bytes(j, "x")[1..]),
            "exactly 66",
        ),
        row(
            "RFC 7518 §6.2.1",
            "P-521 beyond the field",
            Es512,
            |j| set(j, "x", &[0xff; 66]),
            "no point",
        ),
        rsa("no n", |j| without(j, "n"), "\"n\""),
        rsa("no e", |j| without(j, "e"), "\"e\""),
        rsa("n empty", |j| j["n"] = json!(""), "\"n\""),
        rsa("e empty", |j| j["e"] = json!(""), "\"e\""),
        rsa("n a number", |j| j["n"] = json!(35), "\"n\""),
        rsa("e a number", |j| j["e"] = json!(65537), "\"e\""),
        rsa("n with a zero in front", |j| before(j, "n", &[0]), "leading zero"),
        rsa("e with a zero in front", |j| before(j, "e", &[0]), "leading zero"),
        rsa("1024 bits", |j| set(j, "n", &[0xff; 128]), "1024 bits"),
        rsa("2040 bits", |j| set(j, "n", &[0xff; 255]), "2040 bits"),
        rsa(
            "2047 bits",
            |j| {
                let mut n = [0xff; 256];
                n[0] = 0x7f;
                set(j, "n", &n)
            },
            "2047 bits",
        ),
        rsa("8200 bits", |j| set(j, "n", &[0xff; 1025]), "8200 bits"),
        rsa(
            "an even modulus",
            |j| {
                let mut n = [0xff; 256];
                n[255] = 0xfe;
                set(j, "n", &n)
            },
            "even",
        ),
        rsa("e is 1", |j| set(j, "e", &[1]), "exponent"),
        rsa("e is even", |j| set(j, "e", &[1, 0, 0]), "exponent"),
        rsa("e of 33 bits", |j| set(j, "e", &[1, 0, 0, 0, 1]), "exponent"),
        okp("no crv", |j| without(j, "crv"), "\"crv\""),
        okp("no x", |j| without(j, "x"), "\"x\""),
        okp("x without a byte", |j| set(j, "x", &bytes(j, "x")[..31]), "exactly 32"),
        okp("x with a zero more", |j| before(j, "x", &[0]), "33 bytes"),
        okp("X25519", |j| j["crv"] = json!("X25519"), "X25519"),
        okp("Ed448", |j| j["crv"] = json!("Ed448"), "Ed448"),
    ]
}

#[tokio::test]
async fn a_wrong_account_key_is_a_bad_public_key() {
    let server = server().await;
    let mut owner = server.account("ca").await;
    let victim = Victim::new(server).await;
    let keys = Algorithm::ALL.map(Key::new);
    let mut client = victim.server.client("ca").await;
    let url = client.url("newAccount");
    for (refusal, (algorithm, bend)) in rows() {
        client.key = keys.iter().find(|key| key.algorithm == algorithm).unwrap().clone();
        let mut jws = client.jws(&url, "{}").await;
        bend(&mut jws.protected["jwk"]);
        let body = client.sign(&jws);
        refusal.check(&client.post_json(&url, &body).await);
    }
    // Each with the algorithm of another, which the clause has as an example of this problem.
    for key in &keys {
        for other in Algorithm::ALL {
            let same_type = [Algorithm::Rs256, Algorithm::Ps256].contains(&key.algorithm)
                && [Algorithm::Rs256, Algorithm::Ps256].contains(&other);
            if same_type || other == key.algorithm {
                continue;
            }
            client.key = key.clone();
            let mut jws = client.jws(&url, "{}").await;
            jws.protected["alg"] = json!(other.name());
            let body = client.sign(&jws);
            let says = "does not sign with";
            let refusal = row("§6.2", "alg of another key", (), bad_key(says)).0;
            refusal.check(&client.post_json(&url, &body).await);
        }
    }
    victim.is_unharmed(&mut owner).await;
}
