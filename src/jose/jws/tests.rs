use super::*;
use crate::jose::verify::Verifier;
use harness::{Algorithm as KeyType, Key};
use proptest::prelude::*;
use serde_json::{Value, json};

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A body signed with any protected header.
fn signed(key: &Key, header: &str, payload: &str) -> Value {
    let (protected, payload) = (base64url(header), base64url(payload));
    let signature = base64url(key.sign(format!("{protected}.{payload}").as_bytes()));
    json!({ "protected": protected, "payload": payload, "signature": signature })
}

fn header(key: &Key) -> Value {
    json!({
        "alg": key.algorithm.name(),
        "nonce": "bm9uY2U",
        "url": "https://ca.test/acme/ca/new-account",
        "jwk": key.jwk(),
    })
}

fn refusal(key: &Key, change: impl FnOnce(&mut Value)) -> JwsError {
    let mut header = header(key);
    change(&mut header);
    parse(signed(key, &header.to_string(), "{}").to_string().as_bytes()).unwrap_err()
}

#[test]
fn every_algorithm_verifies_its_own_signature_and_no_other() {
    for algorithm in KeyType::ALL {
        let key = Key::new(algorithm);
        let body = signed(&key, &header(&key).to_string(), r#"{"a":1}"#);
        let jws = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(jws.payload(), br#"{"a":1}"#);
        assert_eq!(jws.nonce(), Some("bm9uY2U"));
        assert_eq!(jws.url(), "https://ca.test/acme/ca/new-account");
        let KeyReference::Jwk(jwk) = jws.key() else { panic!("no jwk") };
        assert_eq!(jwk.thumbprint(), key.thumbprint());
        let verifier = Verifier::new(jwk, jws.algorithm()).unwrap();
        assert!(verifier.verify(&jws), "{}", algorithm.name());
        for (member, value) in [("payload", base64url("{}")), ("signature", base64url([0; 64]))] {
            let mut changed = body.clone();
            changed[member] = json!(value);
            let changed = parse(changed.to_string().as_bytes()).unwrap();
            assert!(!verifier.verify(&changed), "{}: {member}", algorithm.name());
        }
        let other = signed(&Key::new(algorithm), &header(&key).to_string(), r#"{"a":1}"#);
        assert!(!verifier.verify(&parse(other.to_string().as_bytes()).unwrap()));
    }
}

#[test]
fn a_header_that_acme_does_not_allow_is_refused() {
    let key = Key::new(KeyType::Es256);
    let remove = |name: &'static str| {
        refusal(&key, |header| drop(header.as_object_mut().unwrap().remove(name)))
    };
    let set = |name: &'static str, value: Value| refusal(&key, |header| header[name] = value);
    let unsupported = |name: &str| JwsError::UnsupportedAlgorithm { algorithm: name.to_owned() };
    assert_eq!(remove("alg"), JwsError::HeaderMissing("alg"));
    assert_eq!(remove("url"), JwsError::HeaderMissing("url"));
    assert_eq!(remove("jwk"), JwsError::KeyReference);
    assert_eq!(set("kid", json!("https://ca.test/1")), JwsError::KeyReference);
    assert_eq!(set("alg", json!("none")), unsupported("none"));
    assert_eq!(set("alg", json!("HS256")), unsupported("HS256"));
    assert_eq!(set("alg", json!(7)), JwsError::NotText("alg"));
    assert_eq!(set("alg", json!("ES384")), JwsError::BadKey(JwkError::Algorithm("ES384")));
    assert_eq!(set("alg", json!("RS256")), JwsError::BadKey(JwkError::Algorithm("RS256")));
    assert_eq!(set("crit", json!(["exp"])), JwsError::Forbidden("crit"));
    assert_eq!(set("crit", json!([])), JwsError::Forbidden("crit"));
    assert_eq!(set("b64", json!(false)), JwsError::Forbidden("b64"));
    assert_eq!(set("b64", json!(true)), JwsError::Forbidden("b64"));
    assert_eq!(set("nonce", json!("a+b")), JwsError::BadNonce);
    assert_eq!(set("nonce", json!("a".repeat(200))), JwsError::BadNonce);
    assert_eq!(set("nonce", json!(7)), JwsError::NotText("nonce"));
    assert_eq!(set("url", json!("x".repeat(3000))), JwsError::HeaderTooLong("url"));
    assert_eq!(set("jwk", json!("text")), JwsError::BadKey(JwkError::Object));
    assert_eq!(set("padding", json!("x".repeat(9000))), JwsError::TooLong);
}

#[test]
fn a_body_that_is_not_exactly_a_flattened_jws_is_refused() {
    let key = Key::new(KeyType::Es256);
    let good = signed(&key, &header(&key).to_string(), "{}");
    assert!(parse(good.to_string().as_bytes()).is_ok());
    let text = |name: &str| good[name].as_str().unwrap().to_owned();
    let (protected, payload, signature) = (text("protected"), text("payload"), text("signature"));
    // The last character of 43 carries two bits that must be zero.
    let trailing_bits = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB";
    for (why, body) in [
        ("nothing", String::new()),
        ("a list", "[]".to_owned()),
        ("two values", format!("{good}{good}")),
        ("compact", format!("{protected}.{payload}.{signature}")),
        ("no payload", format!(r#"{{"protected":"{protected}","signature":"{signature}"}}"#)),
        (
            "general JSON",
            format!(
                r#"{{"payload":"{payload}","signatures":[{{"protected":"{protected}","signature":"{signature}"}}]}}"#
            ),
        ),
        (
            "unprotected header",
            format!(
                r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}","header":{{"alg":"ES256"}}}}"#
            ),
        ),
        (
            "unknown member",
            format!(
                r#"{{"protected":"{protected}","payload":"{payload}","signature":"{signature}","x":1}}"#
            ),
        ),
        (
            "a member twice",
            format!(
                r#"{{"protected":"{protected}","payload":"","payload":"{payload}","signature":"{signature}"}}"#
            ),
        ),
        (
            "padding",
            format!(r#"{{"protected":"{protected}","payload":"e30=","signature":"{signature}"}}"#),
        ),
        (
            "trailing bits",
            format!(
                r#"{{"protected":"{protected}","payload":"{payload}","signature":"{trailing_bits}"}}"#
            ),
        ),
        (
            "a number",
            format!(r#"{{"protected":"{protected}","payload":1,"signature":"{signature}"}}"#),
        ),
        (
            "white space",
            format!(
                r#"{{"protected":"{protected}","payload":"{payload} ","signature":"{signature}"}}"#
            ),
        ),
    ] {
        assert!(parse(body.as_bytes()).is_err(), "{why}: {body}");
    }
}

#[test]
fn what_a_header_says_twice_is_refused_at_every_depth() {
    let key = Key::new(KeyType::Es256);
    let header = header(&key).to_string();
    for twice in [
        header.replacen('{', r#"{"alg":"ES256","#, 1),
        header.replacen('{', r#"{"\u0061lg":"ES256","#, 1),
        header.replacen(r#""kty""#, r#""kty":"EC","kty""#, 1),
        header.replacen('{', r#"{"x":[[{"a":1,"a":2}]],"#, 1),
    ] {
        assert_ne!(twice, header);
        let body = signed(&key, &twice, "{}").to_string();
        assert!(matches!(parse(body.as_bytes()), Err(JwsError::Header(_))), "{twice}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_header_makes_the_parser_panic(header in "\\PC{0,256}", payload in ".{0,32}") {
        let body = json!({ "protected": base64url(header), "payload": base64url(payload), "signature": "" });
        let _ = parse(body.to_string().as_bytes());
    }

    /// A changed body is refused, or it is a JWS whose signature is wrong, or nothing was changed.
    #[test]
    fn a_changed_body_never_verifies(at in 0usize..2000, to in any::<u8>()) {
        let key = Key::new(KeyType::Es256);
        let body = signed(&key, &header(&key).to_string(), "{}").to_string();
        let mut changed = body.clone().into_bytes();
        let at = at % changed.len();
        changed[at] = to;
        if changed != body.as_bytes()
            && let Ok(jws) = parse(&changed)
            && let KeyReference::Jwk(jwk) = jws.key()
        {
            prop_assert!(!Verifier::new(jwk, jws.algorithm()).unwrap().verify(&jws));
        }
    }
}

/// Of which nothing but the signature matters.
fn unparsed(header: &str, payload: &str, signature: &str, algorithm: Algorithm) -> Jws {
    Jws {
        algorithm,
        key: KeyReference::Kid(String::new()),
        nonce: None,
        url: String::new(),
        payload: Vec::new(),
        signing_input: format!("{}.{}", base64url(header), base64url(payload)).into_bytes(),
        signature: URL_SAFE_NO_PAD.decode(signature).unwrap(),
    }
}

#[test]
fn the_signatures_of_the_rfcs_verify() {
    let claims =
        "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    let cases = [
        // RFC 7515 appendix A.2
        (
            Algorithm::Rs256,
            json!({
                "kty": "RSA",
                "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPME\
                      zP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-b\
                      Sf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3q\
                      Co5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb\
                      54h4FRWyuXpoQ",
                "e": "AQAB",
            }),
            r#"{"alg":"RS256"}"#,
            claims,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp\
             5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBM\
             Hlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI\
             2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        // RFC 7515 appendix A.3
        (
            Algorithm::Es256,
            json!({
                "kty": "EC",
                "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            }),
            r#"{"alg":"ES256"}"#,
            claims,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        // RFC 7515 appendix A.4
        (
            Algorithm::Es512,
            json!({
                "kty": "EC",
                "crv": "P-521",
                "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWce\
                      qwQGk",
                "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3\
                      kyMj2",
            }),
            r#"{"alg":"ES512"}"#,
            "Payload",
            "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8\
             GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        ),
        // RFC 8037 appendix A.4
        (
            Algorithm::EdDsa,
            json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }),
            r#"{"alg":"EdDSA"}"#,
            "Example of Ed25519 signing",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];
    for (algorithm, jwk, header, payload, signature) in cases {
        let key = Jwk::from_canonical_json(&jwk.to_string()).unwrap();
        let verifier = Verifier::new(&key, algorithm).unwrap();
        let name = algorithm.as_str();
        assert!(verifier.verify(&unparsed(header, payload, signature, algorithm)), "{name}");
        assert!(!verifier.verify(&unparsed(header, "other", signature, algorithm)), "{name}");
    }
}

#[test]
fn an_object_of_very_many_members_is_refused_before_it_costs_much() {
    let members: Vec<_> = (0..65).map(|n| format!(r#""{n}":0"#)).collect();
    let many = format!("{{{}}}", members.join(","));
    let said = parse(many.as_bytes()).unwrap_err().to_string();
    assert!(said.contains("more than 64 members"), "{said}");
    let key = Key::new(KeyType::Es256);
    let header = header(&key).to_string().replacen('{', &format!(r#"{{"x":{many},"#), 1);
    let refused = parse(signed(&key, &header, "{}").to_string().as_bytes());
    assert!(matches!(refused, Err(JwsError::Header(_))));
}
