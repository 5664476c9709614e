use serde_json::{Value, json};

use super::super::jwk::JwkError;
use super::*;

const URL: &str = "https://ca.example/acme/ca/new-account";
const KEY: &[u8] = b"a MAC key of at least 32 bytes!!!";

fn jwk() -> Value {
    // RFC 7515, appendix A.3.
    json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn header(algorithm: &str) -> Value {
    json!({ "alg": algorithm, "kid": "kid-1", "url": URL })
}

fn signed(algorithm: MacAlgorithm, header: &Value, payload: &str) -> Value {
    let protected = URL_SAFE_NO_PAD.encode(header.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let key = PKey::hmac(KEY).unwrap();
    let mut signer = Signer::new(algorithm.digest(), &key).unwrap();
    let mac = signer.sign_oneshot_to_vec(format!("{protected}.{payload}").as_bytes()).unwrap();
    json!({
        "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(mac),
    })
}

fn read(value: &Value) -> Result<Option<ExternalAccountJws>, JwsError> {
    ExternalAccountJws::read(&value.to_string())
}

#[test]
fn a_binding_verifies_with_its_key_and_algorithm_alone() {
    for algorithm in MacAlgorithm::ALL {
        let value = signed(algorithm, &header(algorithm.as_str()), &jwk().to_string());
        let binding = read(&value).unwrap().unwrap();
        assert_eq!((binding.algorithm, &*binding.kid, &*binding.url), (algorithm, "kid-1", URL));
        assert_eq!(binding.key, Jwk::from_json(&jwk().to_string()).unwrap());
        assert!(binding.verify(KEY));
        assert!(!binding.verify(b"another MAC key of 32 bytes!!!!!!"));
        assert!(!binding.verify(b""));
        assert_eq!(serde_json::from_str::<Value>(&binding.to_json()).unwrap(), value);
        for other in MacAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let value = signed(algorithm, &header(other.as_str()), &jwk().to_string());
            assert!(!read(&value).unwrap().unwrap().verify(KEY), "{other:?} said of {algorithm:?}");
        }
    }
}

#[test]
fn a_mac_that_was_cut_or_changed_does_not_verify() {
    let value = signed(MacAlgorithm::Hs256, &header("HS256"), &jwk().to_string());
    let mac = URL_SAFE_NO_PAD.decode(value["signature"].as_str().unwrap()).unwrap();
    let changed = |mac: &[u8]| {
        let mut value = value.clone();
        value["signature"] = json!(URL_SAFE_NO_PAD.encode(mac));
        read(&value).unwrap().unwrap().verify(KEY)
    };
    assert!(changed(&mac));
    for length in [0, 1, 16, 31] {
        assert!(!changed(&mac[..length]), "{length}");
    }
    for index in 0..mac.len() {
        let mut mac = mac.clone();
        mac[index] ^= 1;
        assert!(!changed(&mac), "{index}");
    }
    assert!(!changed(&[mac, vec![0]].concat()));
}

#[test]
fn what_is_empty_binds_nothing() {
    let no_kid = signed(
        MacAlgorithm::Hs256,
        &json!({ "alg": "HS256", "kid": "", "url": URL }),
        &jwk().to_string(),
    );
    for empty in [
        json!(null),
        json!(""),
        json!({}),
        json!({ "protected": "", "payload": "", "signature": "" }),
        json!({ "kid": "", "hmacKey": "" }),
        no_kid,
    ] {
        assert!(read(&empty).unwrap().is_none(), "{empty}");
    }
}

#[test]
fn a_header_that_is_wrong_is_refused() {
    let with = |name: &str, value: Value| {
        let mut header = header("HS256");
        header[name] = value;
        read(&signed(MacAlgorithm::Hs256, &header, &jwk().to_string())).unwrap_err()
    };
    assert_eq!(with("nonce", json!("bm9uY2U")), JwsError::Forbidden("nonce"));
    assert_eq!(with("jwk", jwk()), JwsError::Forbidden("jwk"));
    assert_eq!(with("crit", json!(["exp"])), JwsError::Forbidden("crit"));
    assert_eq!(with("kid", json!(1)), JwsError::NotText("kid"));
    assert_eq!(with("kid", json!("k".repeat(257))), JwsError::HeaderTooLong("kid"));
    assert_eq!(with("url", json!("u".repeat(2049))), JwsError::HeaderTooLong("url"));
    for algorithm in ["ES256", "none", "hs256", "HS1"] {
        let unsupported = JwsError::UnsupportedAlgorithm { algorithm: algorithm.to_owned() };
        assert_eq!(with("alg", json!(algorithm)), unsupported);
    }
    for name in ["alg", "kid", "url"] {
        let mut header = header("HS256");
        header.as_object_mut().unwrap().remove(name);
        let value = signed(MacAlgorithm::Hs256, &header, &jwk().to_string());
        assert_eq!(read(&value).unwrap_err(), JwsError::HeaderMissing(name));
    }
}

#[test]
fn a_payload_that_is_no_account_key_is_refused() {
    let payload =
        |text: &str| read(&signed(MacAlgorithm::Hs256, &header("HS256"), text)).unwrap_err();
    let mut private = jwk();
    private["d"] = json!("AAAA");
    assert_eq!(payload(&private.to_string()), JwsError::BadKey(JwkError::Private("d")));
    for text in ["", "{", "[]", "null", "\"\"", "{}", "\u{0}"] {
        assert!(matches!(payload(text), JwsError::BadKey(_)), "{text}");
    }
}

#[test]
fn what_is_no_flattened_jws_is_refused() {
    for text in [
        "",
        "1",
        "[]",
        "\"text\"",
        "{\"protected\":\"e30\"}",
        "{\"protected\":1,\"payload\":\"\",\"signature\":\"\"}",
        "{\"protected\":\"e30\",\"payload\":\"e30=\",\"signature\":\"AA\"}",
        "{\"protected\":\"e30\",\"protected\":\"e30\",\"payload\":\"e30\",\"signature\":\"AA\"}",
        "{\"protected\":\"e30\",\"payload\":\"e30\",\"signature\":\"AA\",\"header\":{}}",
    ] {
        assert!(ExternalAccountJws::read(text).is_err(), "{text}");
    }
    let long = format!("{{\"protected\":\"{}\"}}", "A".repeat(MAX_BINDING));
    assert!(matches!(ExternalAccountJws::read(&long), Err(JwsError::Json(_))));
}
