use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::verify::Verifier;
use super::*;

const URL: &str = "https://ca.example/acme/new-order";
const KID: &str = "https://ca.example/acme/account/1";
const NONCE: &str = "bm9uY2U";
const PAYLOAD: &[u8] = br#"{"identifiers":[]}"#;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_for(algorithm: Algorithm) -> PKey<Private> {
    let ec = |nid| {
        let group = EcGroup::from_curve_name(nid).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
        }
        Algorithm::Es256 => ec(Nid::X9_62_PRIME256V1),
        Algorithm::Es384 => ec(Nid::SECP384R1),
        Algorithm::Es512 => ec(Nid::SECP521R1),
        Algorithm::EdDsa => PKey::generate_ed25519().unwrap(),
    }
}

/// The curve's name, its digest and the bytes of a coordinate.
fn curve(algorithm: Algorithm) -> (&'static str, MessageDigest, i32) {
    match algorithm {
        Algorithm::Es256 => ("P-256", MessageDigest::sha256(), 32),
        Algorithm::Es384 => ("P-384", MessageDigest::sha384(), 48),
        Algorithm::Es512 => ("P-521", MessageDigest::sha512(), 66),
        other => panic!("{other:?} has no curve"),
    }
}

fn jwk_of(algorithm: Algorithm, key: &PKey<Private>) -> Value {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let rsa = key.rsa().unwrap();
            json!({"kty": "RSA", "n": encode(rsa.n().to_vec()), "e": encode(rsa.e().to_vec())})
        }
        Algorithm::EdDsa => {
            json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.raw_public_key().unwrap())})
        }
        _ => {
            let (name, _, length) = curve(algorithm);
            let ec = key.ec_key().unwrap();
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            let mut context = BigNumContext::new().unwrap();
            ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).unwrap();
            let [x, y] = [x, y].map(|number| encode(number.to_vec_padded(length).unwrap()));
            json!({"kty": "EC", "crv": name, "x": x, "y": y})
        }
    }
}

/// Signs as RFC 7518 §3 and RFC 8037 §3.1 say, with nothing of josekit.
fn sign(algorithm: Algorithm, key: &PKey<Private>, input: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
            if algorithm == Algorithm::Ps256 {
                signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
                signer.set_rsa_mgf1_md(MessageDigest::sha256()).unwrap();
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).unwrap();
            }
            signer.sign_oneshot_to_vec(input).unwrap()
        }
        Algorithm::EdDsa => {
            Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(input).unwrap()
        }
        _ => {
            let (_, digest, length) = curve(algorithm);
            let digest = openssl::hash::hash(digest, input).unwrap();
            let signature = EcdsaSig::sign(&digest, &key.ec_key().unwrap()).unwrap();
            let number = |number: &openssl::bn::BigNumRef| number.to_vec_padded(length).unwrap();
            [number(signature.r()), number(signature.s())].concat()
        }
    }
}

fn signed(algorithm: Algorithm, key: &PKey<Private>, header: &Value, payload: &[u8]) -> Vec<u8> {
    let (protected, payload) = (encode(header.to_string()), encode(payload));
    let signature = sign(algorithm, key, format!("{protected}.{payload}").as_bytes());
    flattened(&protected, &payload, &encode(signature))
}

fn flattened(protected: &str, payload: &str, signature: &str) -> Vec<u8> {
    json!({"protected": protected, "payload": payload, "signature": signature})
        .to_string()
        .into_bytes()
}

fn header_with_jwk(algorithm: Algorithm, key: &PKey<Private>) -> Value {
    json!({"alg": algorithm.as_str(), "jwk": jwk_of(algorithm, key), "nonce": NONCE, "url": URL})
}

fn header_with_kid() -> Value {
    json!({"alg": "ES256", "kid": KID, "nonce": NONCE, "url": URL})
}

/// What [`parse`] says to a body with this protected header, whose signature is not looked at.
fn parse_header(header: &str) -> Result<Jws, JwsError> {
    parse(&flattened(&encode(header), "", "AAAA"))
}

fn with(header: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut header = header.clone();
    header[name] = value.into();
    header
}

fn without(header: &Value, name: &str) -> Value {
    let mut header = header.clone();
    header.as_object_mut().unwrap().retain(|other, _| other != name);
    header
}

#[track_caller]
fn header_refused(header: &Value, expected: &JwsError) {
    assert_eq!(parse_header(&header.to_string()).err().as_ref(), Some(expected), "{header}");
}

#[track_caller]
fn body_refused(body: &str, expected: &JwsError) {
    assert_eq!(parse(body.as_bytes()).err().as_ref(), Some(expected), "{body}");
}

fn jwk(jws: &Jws) -> &Jwk {
    let KeyReference::Jwk(jwk) = jws.key() else { panic!("{:?}", jws.key()) };
    jwk
}

/// Whether the key in the JWS made its signature.
fn verified(body: &[u8]) -> bool {
    let jws = parse(body).unwrap();
    Verifier::new(jwk(&jws), jws.algorithm()).unwrap().verify(&jws)
}

#[test]
fn what_openssl_signed_is_verified_for_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = key_for(algorithm);
        let body = signed(algorithm, &key, &header_with_jwk(algorithm, &key), PAYLOAD);
        let jws = parse(&body).unwrap();
        assert_eq!(jws.algorithm(), algorithm);
        assert_eq!(jws.nonce(), Some(NONCE));
        assert_eq!(jws.url(), URL);
        assert_eq!(jws.payload(), PAYLOAD);
        assert_eq!(jwk(&jws).spki().unwrap(), key.public_key_to_der().unwrap());
        assert!(verified(&body), "{algorithm:?}");
        let kid = json!({"alg": algorithm.as_str(), "kid": KID, "nonce": NONCE, "url": URL});
        let by_kid = parse(&signed(algorithm, &key, &kid, b"")).unwrap();
        assert!(matches!(by_kid.key(), KeyReference::Kid(kid) if kid == KID));
        assert_eq!(by_kid.payload(), b"");
        assert!(Verifier::new(jwk(&jws), algorithm).unwrap().verify(&by_kid), "{algorithm:?}");
    }
}

#[test]
fn a_signature_that_was_tampered_with_is_refused_for_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = key_for(algorithm);
        let header = encode(header_with_jwk(algorithm, &key).to_string());
        let payload = encode(PAYLOAD);
        let good = sign(algorithm, &key, format!("{header}.{payload}").as_bytes());
        assert!(verified(&flattened(&header, &payload, &encode(&good))));
        let mut forged = vec![vec![], vec![0; good.len()], vec![0xff; good.len()], vec![0]];
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut other = good.clone();
            other[at] ^= 1;
            forged.push(other);
        }
        forged.push(good[1..].to_vec());
        forged.push(good[..good.len() - 1].to_vec());
        forged.push([&good[..], &[0]].concat());
        forged.push([&[0], &good[..]].concat());
        for signature in forged {
            assert!(!verified(&flattened(&header, &payload, &encode(&signature))), "{algorithm:?}");
        }
    }
}

#[test]
fn a_signature_in_der_is_refused() {
    let key = key_for(Algorithm::Es256);
    let header = encode(header_with_jwk(Algorithm::Es256, &key).to_string());
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(format!("{header}.").as_bytes()).unwrap();
    assert!(!verified(&flattened(&header, "", &encode(signature))));
}

#[test]
fn another_payload_or_another_header_is_refused_for_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let key = key_for(algorithm);
        let header = header_with_jwk(algorithm, &key);
        let (protected, payload) = (encode(header.to_string()), encode(PAYLOAD));
        let signature = encode(sign(algorithm, &key, format!("{protected}.{payload}").as_bytes()));
        assert!(!verified(&flattened(&protected, &encode(b"{}"), &signature)), "{algorithm:?}");
        let other = encode(with(&header, "url", "https://ca.example/other").to_string());
        assert!(!verified(&flattened(&other, &payload, &signature)), "{algorithm:?}");
    }
}

#[test]
fn a_signature_of_another_key_is_refused_for_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let (key, other) = (key_for(algorithm), key_for(algorithm));
        let body = signed(algorithm, &other, &header_with_jwk(algorithm, &key), PAYLOAD);
        assert!(!verified(&body), "{algorithm:?}");
    }
}

#[test]
fn rs256_and_ps256_do_not_pass_for_one_another() {
    let key = key_for(Algorithm::Rs256);
    for (said, done) in [(Algorithm::Rs256, Algorithm::Ps256), (Algorithm::Ps256, Algorithm::Rs256)]
    {
        assert!(!verified(&signed(done, &key, &header_with_jwk(said, &key), PAYLOAD)));
    }
}

#[test]
fn a_verifier_is_made_only_for_the_algorithms_of_the_keys_type() {
    for of_key in Algorithm::ALL {
        let key = key_for(of_key);
        let jws = parse_header(&header_with_jwk(of_key, &key).to_string()).unwrap();
        for algorithm in Algorithm::ALL {
            let rsa = |algorithm| matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256);
            let fits = algorithm == of_key || rsa(algorithm) && rsa(of_key);
            let header = with(&header_with_jwk(of_key, &key), "alg", algorithm.as_str());
            let name = algorithm.as_str();
            let error = JwsError::KeyAlgorithm { algorithm: name };
            if fits {
                assert!(Verifier::new(jwk(&jws), algorithm).is_ok());
                assert!(parse_header(&header.to_string()).is_ok());
            } else {
                assert_eq!(Verifier::new(jwk(&jws), algorithm).err().as_ref(), Some(&error));
                // RFC 8555 §6.2: badPublicKey where the request brings the key.
                header_refused(&header, &JwsError::BadKey(JwkError::Algorithm(name)));
            }
        }
    }
}

#[test]
fn the_members_of_the_body_may_stand_in_any_order_and_between_spaces() {
    let protected = encode(header_with_kid().to_string());
    let body = format!(
        " {{\n\"signature\" : \"AAAA\", \"payload\":\"\",\"protected\":\"{protected}\"}}\r\n\t"
    );
    assert_eq!(parse(body.as_bytes()).unwrap().url(), URL);
}

#[test]
fn a_body_that_is_no_json_object_or_goes_on_after_it_is_refused() {
    let good =
        String::from_utf8(flattened(&encode(header_with_kid().to_string()), "", "")).unwrap();
    assert!(parse(good.as_bytes()).is_ok());
    let protected = encode(header_with_kid().to_string());
    let bodies = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("[{good}]"),
        format!("{good}x"),
        format!("{good}{{}}"),
        format!("{good}\0"),
        format!("\u{feff}{good}"),
        good[..good.len() - 1].to_owned(),
        // The compact form.
        format!("{protected}.AAAA.AAAA"),
    ];
    for body in bodies {
        assert!(matches!(parse(body.as_bytes()), Err(JwsError::Json(_))), "{body}");
    }
    assert!(matches!(parse(b"{\"payload\":\"\xff\"}"), Err(JwsError::Json(_))));
}

#[test]
fn a_member_of_the_body_that_stands_twice_is_refused() {
    let protected = encode(header_with_kid().to_string());
    for twice in ["\"payload\":\"\"", "\"signature\":\"AAAA\"", "\"p\\u0061yload\":\"\""] {
        let body =
            format!(r#"{{"protected":"{protected}","payload":"","signature":"AAAA",{twice}}}"#);
        let Err(JwsError::Json(message)) = parse(body.as_bytes()) else { panic!("{body}") };
        assert!(message.contains("stands twice"), "{message}");
    }
}

#[test]
fn a_body_with_any_other_member_is_refused_by_its_name() {
    let protected = encode(header_with_kid().to_string());
    let others = [
        ("header", r#"{"alg":"ES256"}"#),
        ("header", "{}"),
        ("signatures", "[]"),
        ("signatures", r#"[{"protected":"","signature":""}]"#),
        ("extra", "1"),
        ("", "null"),
    ];
    for (name, value) in others {
        let body = format!(
            r#"{{"protected":"{protected}","payload":"","signature":"AAAA","{name}":{value}}}"#
        );
        body_refused(&body, &JwsError::Member(name.to_owned()));
    }
    let general = format!(
        r#"{{"payload":"","signatures":[{{"protected":"{protected}","signature":"AAAA"}}]}}"#
    );
    body_refused(&general, &JwsError::Member("signatures".to_owned()));
}

#[test]
fn a_body_that_lacks_a_member_or_has_it_as_no_string_is_refused() {
    let protected = encode(header_with_kid().to_string());
    let good = json!({"protected": protected, "payload": "", "signature": "AAAA"});
    for name in ["protected", "payload", "signature"] {
        body_refused(&without(&good, name).to_string(), &JwsError::Missing(name));
        for value in
            [Value::Null, json!(1), json!(-1), json!(0.5), json!(true), json!({}), json!([])]
        {
            body_refused(&with(&good, name, value).to_string(), &JwsError::NotText(name));
        }
    }
}

#[test]
fn base64_with_padding_other_alphabet_spaces_or_spare_bits_is_refused_in_every_member() {
    let good =
        json!({"protected": encode(header_with_kid().to_string()), "payload": "", "signature": ""});
    for name in ["protected", "payload", "signature"] {
        for text in ["AA==", "AB", "A", "A A", "AA\n", "AAA+", "AAA/", "ÄÄ"] {
            body_refused(&with(&good, name, text).to_string(), &JwsError::Base64(name));
        }
    }
}

#[test]
fn a_protected_header_is_read_up_to_its_greatest_length() {
    let filled = |length: usize| {
        let header = with(&header_with_kid(), "x", "");
        let spare = length / 4 * 3 - header.to_string().len();
        encode(with(&header, "x", "x".repeat(spare)).to_string())
    };
    let longest = filled(MAX_PROTECTED);
    assert_eq!(longest.len(), MAX_PROTECTED);
    assert!(parse(&flattened(&longest, "", "")).is_ok());
    let body = flattened(&filled(MAX_PROTECTED + 4), "", "");
    assert_eq!(parse(&body).err(), Some(JwsError::TooLong));
}

#[test]
fn a_protected_header_with_the_largest_rsa_key_is_short_enough() {
    let jwk = json!({"kty": "RSA", "n": encode([0xff; 1024]), "e": "AQAB"});
    let header = json!({"alg": "PS256", "jwk": jwk, "nonce": NONCE, "url": URL});
    assert!(parse_header(&header.to_string()).is_ok());
}

#[test]
fn a_protected_header_that_is_no_json_object_or_goes_on_after_it_is_refused() {
    let good = header_with_kid().to_string();
    for header in ["", "null", "[]", "\"ES256\"", &format!("{good}x"), &format!("{good}{good}")] {
        assert!(matches!(parse_header(header), Err(JwsError::Header(_))), "{header}");
    }
}

#[test]
fn a_member_of_the_protected_header_that_stands_twice_is_refused_at_every_depth() {
    let headers = [
        format!(r#"{{"alg":"none","alg":"ES256","kid":"{KID}","url":"{URL}"}}"#),
        format!(r#"{{"alg":"ES256","kid":"{KID}","kid":"{KID}","url":"{URL}"}}"#),
        format!(r#"{{"alg":"ES256","kid":"{KID}","url":"{URL}","\u0075rl":"{URL}"}}"#),
        format!(
            r#"{{"alg":"RS256","jwk":{{"kty":"RSA","n":"AQ","n":"Aw","e":"AQAB"}},"url":"{URL}"}}"#
        ),
        format!(r#"{{"alg":"ES256","kid":"{KID}","url":"{URL}","x":{{"y":{{"z":1,"z":1}}}}}}"#),
        format!(r#"{{"alg":"ES256","kid":"{KID}","url":"{URL}","x":[{{"z":1,"z":1}}]}}"#),
        format!(
            r#"{{"alg":"ES256","kid":"{KID}","url":"{URL}","x":[[{{"y":[{{"z":1,"z":1}}]}}]]}}"#
        ),
    ];
    for header in headers {
        let Err(JwsError::Header(message)) = parse_header(&header) else { panic!("{header}") };
        assert!(message.contains("stands twice"), "{message}");
    }
}

#[test]
fn critical_extensions_and_unencoded_payloads_are_refused_whatever_they_say() {
    let header = header_with_kid();
    for value in [json!(["exp"]), json!([]), Value::Null, json!(["b64"])] {
        header_refused(&with(&header, "crit", value), &JwsError::Forbidden("crit"));
    }
    for value in [json!(false), json!(true), json!("false")] {
        header_refused(&with(&header, "b64", value), &JwsError::Forbidden("b64"));
    }
    let both = with(&with(&header, "b64", false), "crit", json!(["b64"]));
    header_refused(&both, &JwsError::Forbidden("crit"));
}

#[test]
fn algorithms_that_are_none_macs_or_unknown_are_refused_by_name() {
    let names = [
        "none", "None", "HS256", "HS384", "HS512", "RS1", "RS384", "ES256K", "es256", "", "ES256 ",
    ];
    for name in names {
        let error = JwsError::UnsupportedAlgorithm { algorithm: name.to_owned() };
        header_refused(&with(&header_with_kid(), "alg", name), &error);
    }
    header_refused(&without(&header_with_kid(), "alg"), &JwsError::HeaderMissing("alg"));
    header_refused(&with(&header_with_kid(), "alg", Value::Null), &JwsError::NotText("alg"));
    header_refused(&with(&header_with_kid(), "alg", json!(["ES256"])), &JwsError::NotText("alg"));
}

#[test]
fn a_key_is_named_by_either_jwk_or_kid() {
    let key = key_for(Algorithm::Es256);
    let jwk = header_with_jwk(Algorithm::Es256, &key);
    header_refused(&with(&jwk, "kid", KID), &JwsError::KeyReference);
    header_refused(&without(&jwk, "jwk"), &JwsError::KeyReference);
    header_refused(&with(&with(&jwk, "kid", KID), "jwk", Value::Null), &JwsError::KeyReference);
    header_refused(&with(&jwk, "kid", Value::Null), &JwsError::NotText("kid"));
    for value in [Value::Null, json!("key"), json!([]), json!(7)] {
        header_refused(&with(&jwk, "jwk", value), &JwsError::BadKey(JwkError::Object));
    }
}

#[test]
fn the_url_is_there_is_a_string_and_is_no_longer_than_one_of_ours() {
    let header = header_with_kid();
    header_refused(&without(&header, "url"), &JwsError::HeaderMissing("url"));
    header_refused(&with(&header, "url", json!([URL])), &JwsError::NotText("url"));
    let long = "u".repeat(MAX_URL);
    for name in ["url", "kid"] {
        assert!(parse_header(&with(&header, name, long.as_str()).to_string()).is_ok());
        let longer = with(&header, name, format!("{long}u"));
        header_refused(&longer, &JwsError::HeaderTooLong(name));
    }
}

#[test]
fn the_nonce_is_base64url_where_there_is_one() {
    let header = header_with_kid();
    for nonce in ["AA==", "A", "AB", "n o", "AAA+", "AAA/", "ñ", &"A".repeat(MAX_NONCE + 4)] {
        header_refused(&with(&header, "nonce", nonce), &JwsError::BadNonce);
    }
    header_refused(&with(&header, "nonce", 1), &JwsError::NotText("nonce"));
    let longest = "A".repeat(MAX_NONCE);
    let jws = parse_header(&with(&header, "nonce", longest.as_str()).to_string()).unwrap();
    assert_eq!(jws.nonce(), Some(longest.as_str()));
    // The inner JWS of a key change and of an external account binding has none.
    assert_eq!(parse_header(&without(&header, "nonce").to_string()).unwrap().nonce(), None);
}

#[test]
fn a_bad_jwk_is_refused_with_its_own_error() {
    let key = key_for(Algorithm::Es256);
    let header = header_with_jwk(Algorithm::Es256, &key);
    let bad = [
        (with(&header["jwk"], "d", "AQAB"), JwkError::Private("d")),
        (with(&header["jwk"], "use", "enc"), JwkError::Use("use")),
        (with(&header["jwk"], "key_ops", json!(["sign"])), JwkError::Use("key_ops")),
        (with(&header["jwk"], "alg", "ES384"), JwkError::Use("alg")),
        (without(&header["jwk"], "y"), JwkError::Missing("y")),
        (json!({"kty": "oct", "k": "AQAB"}), JwkError::Private("k")),
        (json!({}), JwkError::Missing("kty")),
    ];
    for (jwk, error) in bad {
        header_refused(&with(&header, "jwk", jwk), &JwsError::BadKey(error));
    }
}

#[test]
fn a_jwk_that_names_its_algorithm_signs_with_that_one_alone() {
    let key = key_for(Algorithm::Rs256);
    for (own, used) in [("RS256", "PS256"), ("PS256", "RS256")] {
        let header = header_with_jwk(Algorithm::Rs256, &key);
        let jwk = with(&header["jwk"], "alg", own);
        let header = with(&header, "jwk", jwk);
        let error = JwsError::BadKey(JwkError::Use("alg"));
        header_refused(&with(&header, "alg", used), &error);
        assert!(parse_header(&with(&header, "alg", own).to_string()).is_ok());
    }
    let key = key_for(Algorithm::EdDsa);
    let header = header_with_jwk(Algorithm::EdDsa, &key);
    for own in ["EdDSA", "Ed25519"] {
        let jwk = with(&header["jwk"], "alg", own);
        assert!(parse_header(&with(&header, "jwk", jwk).to_string()).is_ok(), "{own}");
    }
}

#[test]
fn json_nested_without_end_is_refused_and_overflows_no_stack() {
    for open in ["[", "{\"x\":"] {
        let deep = format!("{{\"x\":{}", open.repeat(100_000));
        assert!(matches!(parse(deep.as_bytes()), Err(JwsError::Json(_))));
        let deep = format!("{{\"x\":{}", open.repeat(1000));
        assert!(matches!(parse_header(&deep), Err(JwsError::Header(_))));
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
        signing_input: format!("{}.{}", encode(header), encode(payload)).into_bytes(),
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
        let key = Jwk::from_json(&jwk.to_string()).unwrap();
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
    let header = header_with_kid().to_string().replacen('{', &format!(r#"{{"x":{many},"#), 1);
    assert!(matches!(parse_header(&header), Err(JwsError::Header(_))));
}

fn good_ed25519() -> Vec<u8> {
    let key = PKey::private_key_from_raw_bytes(&[7; 32], openssl::pkey::Id::ED25519).unwrap();
    signed(Algorithm::EdDsa, &key, &header_with_jwk(Algorithm::EdDsa, &key), PAYLOAD)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_parse_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&body);
    }

    #[test]
    fn no_protected_header_makes_parse_panic(header in "[ -~]{0,200}") {
        let _ = parse_header(&header);
    }

    #[test]
    fn a_good_jws_with_one_byte_changed_is_refused_or_says_the_same(
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let good = good_ed25519();
        let mut body = good.clone();
        body[at.index(good.len())] = byte;
        if let Ok(jws) = parse(&body) {
            let same = parse(&good).unwrap();
            if Verifier::new(jwk(&jws), jws.algorithm()).unwrap().verify(&jws) {
                prop_assert_eq!(jws.signing_input(), same.signing_input());
                prop_assert_eq!(jws.signature(), same.signature());
            }
        }
    }

    #[test]
    fn a_protected_header_with_bytes_changed_cut_or_inserted_makes_nothing_panic(
        at in any::<prop::sample::Index>(), cut in 0usize..8, inserted in "[ -~]{0,8}",
    ) {
        let key = PKey::private_key_from_raw_bytes(&[7; 32], openssl::pkey::Id::ED25519).unwrap();
        let mut header = header_with_jwk(Algorithm::EdDsa, &key).to_string();
        let start = at.index(header.len());
        let end = (start + cut).min(header.len());
        header.replace_range(start..end, &inserted);
        if let Ok(jws) = parse_header(&header)
            && let KeyReference::Jwk(jwk) = jws.key()
        {
            prop_assert!(!Verifier::new(jwk, jws.algorithm()).unwrap().verify(&jws));
        }
    }
}
