use super::*;
use serde_json::{Value, json};

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read(jwk: &Value) -> Result<Jwk, JwkError> {
    Jwk::from_canonical_json(&jwk.to_string())
}

/// RFC 7517 appendix A.1.
fn ec() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({ "kty": "RSA", "n": base64url(modulus), "e": base64url(exponent) })
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let jwk = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE\
              CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY\
              368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM\
              4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    });
    assert_eq!(read(&jwk).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

#[test]
fn a_key_is_read_from_its_canonical_form() {
    let modulus = [vec![0xff; 255], vec![0x01]].concat();
    let ed25519 = json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url([7; 32]) });
    for jwk in [ec(), rsa(&modulus, &[1, 0, 1]), ed25519] {
        let key = read(&jwk).unwrap();
        assert_eq!(Jwk::from_canonical_json(&key.canonical_json()).unwrap(), key);
        assert!(!key.spki().unwrap().is_empty());
    }
}

#[test]
fn what_a_key_says_of_its_use_must_allow_it() {
    for good in [
        with(ec(), "use", "sig"),
        with(ec(), "alg", "ES256"),
        with(ec(), "key_ops", json!(["verify"])),
        with(ec(), "kid", "ignored"),
    ] {
        assert!(read(&good).is_ok(), "{good}");
    }
    assert_eq!(read(&with(ec(), "use", "enc")), Err(JwkError::Use("use")));
    assert_eq!(read(&with(ec(), "alg", "ES384")), Err(JwkError::Use("alg")));
    assert_eq!(read(&with(ec(), "key_ops", json!(["sign"]))), Err(JwkError::Use("key_ops")));
    assert_eq!(read(&with(ec(), "key_ops", "verify")), Err(JwkError::Use("key_ops")));
}

#[test]
fn a_key_that_has_a_second_form_or_is_weak_is_refused() {
    let length = |member, length| JwkError::Length { member, length, expected: 32 };
    let good = [vec![0xff; 255], vec![0x01]].concat();
    let cases = [
        // Of an EC point: a dropped leading zero, bytes moved from one coordinate to the other.
        (with(ec(), "x", base64url([7; 31])), length("x", 31)),
        (with(ec(), "y", base64url([7; 33])), length("y", 33)),
        (with(ec(), "x", base64url([7; 32])), JwkError::Point),
        (with(ec(), "x", format!("{}=", base64url([7; 32]))), JwkError::Base64("x")),
        (with(ec(), "crv", "P-384"), JwkError::Length { member: "x", length: 32, expected: 48 }),
        (with(ec(), "crv", "secp256k1"), JwkError::Curve("secp256k1".to_owned())),
        (with(ec(), "d", "AA"), JwkError::Private("d")),
        (with(ec(), "x", 7), JwkError::NotText("x")),
        (json!({ "kty": "EC", "crv": "P-256", "x": base64url([7; 32]) }), JwkError::Missing("y")),
        (json!({ "kty": "oct", "k": "AA" }), JwkError::Private("k")),
        (json!({ "kty": "XX" }), JwkError::Type("XX".to_owned())),
        (json!({ "crv": "P-256" }), JwkError::Missing("kty")),
        (json!({ "kty": "OKP", "crv": "Ed448", "x": "AA" }), JwkError::Curve("Ed448".to_owned())),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url([7; 31]) }), length("x", 31)),
        // Of RSA: leading zeros, odd lengths, even moduli, exponents that are none.
        (rsa(&[&[0], &good[..]].concat(), &[1, 0, 1]), JwkError::LeadingZero("n")),
        (rsa(&good, &[0, 1, 0, 1]), JwkError::LeadingZero("e")),
        (rsa(&[0xff; 128], &[1, 0, 1]), JwkError::RsaLength(1024)),
        (rsa(&[&[0x01], &good[..]].concat(), &[1, 0, 1]), JwkError::RsaLength(2049)),
        (rsa(&[&[0x7f], &good[1..]].concat(), &[1, 0, 1]), JwkError::RsaLength(2047)),
        (rsa(&[0xff; 2048], &[1, 0, 1]), JwkError::RsaLength(16384)),
        (rsa(&[0xfe; 256], &[1, 0, 1]), JwkError::RsaModulus),
        (rsa(&good, &[1]), JwkError::RsaExponent),
        (rsa(&good, &[4]), JwkError::RsaExponent),
        (rsa(&good, &[1, 0, 0, 0, 1]), JwkError::RsaExponent),
        (rsa(&good, &[0xff; 256]), JwkError::RsaExponent),
        (rsa(&[], &[1, 0, 1]), JwkError::Missing("n")),
    ];
    for (jwk, expected) in cases {
        assert_eq!(read(&jwk), Err(expected), "{jwk}");
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let twice = ec().to_string().replacen('{', r#"{"kty":"EC","#, 1);
    assert!(matches!(Jwk::from_canonical_json(&twice), Err(JwkError::Json(_))));
}
