use openssl::ec::EcKeyRef;
use openssl::pkey::Private;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(jwk: &Value) -> Result<Jwk, JwkError> {
    Jwk::from_json(&jwk.to_string())
}

#[track_caller]
fn refused(jwk: &Value, expected: &JwkError) {
    assert_eq!(read(jwk).as_ref(), Err(expected), "{jwk}");
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn with(jwk: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value.into();
    jwk
}

fn without(jwk: &Value, name: &str) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().retain(|other, _| other != name);
    jwk
}

/// The modulus of RFC 7638 §3.1.
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_\
                 BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR\
                 0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFT\
                 WhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn rsa_jwk() -> Value {
    json!({"kty": "RSA", "n": N, "e": "AQAB"})
}

fn ec_key(curve: Curve) -> EcKey<Private> {
    EcKey::generate(&EcGroup::from_curve_name(curve.nid()).unwrap()).unwrap()
}

/// The coordinates as they are, in the curve's length.
fn coordinates(key: &EcKeyRef<Private>, curve: Curve) -> (Vec<u8>, Vec<u8>) {
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = BigNumContext::new().unwrap();
    key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
    let padded =
        |number: &BigNum| number.to_vec_padded(i32::try_from(curve.coordinate()).unwrap()).unwrap();
    (padded(&x), padded(&y))
}

fn ec_jwk_of(curve: Curve, x: &[u8], y: &[u8]) -> Value {
    json!({"kty": "EC", "crv": curve.as_str(), "x": encode(x), "y": encode(y)})
}

fn ec_jwk(curve: Curve) -> Value {
    let (x, y) = coordinates(&ec_key(curve), curve);
    ec_jwk_of(curve, &x, &y)
}

fn ed25519_jwk() -> Value {
    let key = PKey::generate_ed25519().unwrap();
    json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&key.raw_public_key().unwrap())})
}

fn one_of_each() -> Vec<Value> {
    let mut all: Vec<_> = Curve::ALL.into_iter().map(ec_jwk).collect();
    all.extend([rsa_jwk(), ed25519_jwk()]);
    all
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638_whatever_else_the_jwk_says_and_in_whatever_order() {
    let expected = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    let example =
        format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
    assert_eq!(Jwk::from_json(&example).unwrap().thumbprint(), expected);
    let turned = format!(r#"{{"e":"AQAB","use":"sig","n":"{N}","kty":"RSA"}}"#);
    assert_eq!(Jwk::from_json(&turned).unwrap().thumbprint(), expected);
}

#[test]
fn the_thumbprint_of_an_ed25519_key_is_that_of_rfc_8037() {
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    });
    assert_eq!(read(&jwk).unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn what_the_canonical_form_says_is_read_back_as_the_same_key() {
    for jwk in one_of_each() {
        let key = read(&jwk).unwrap();
        let canonical = key.canonical_json();
        assert_eq!(Jwk::from_json(&canonical).as_ref(), Ok(&key));
        let members: Members = serde_json::from_str(&canonical).unwrap();
        assert!(members.names().is_sorted(), "{canonical}");
        let again = Jwk::from_json(&canonical).unwrap();
        assert_eq!(again.canonical_json(), canonical);
        assert_eq!(again.thumbprint(), key.thumbprint());
    }
}

#[test]
fn the_spki_of_a_jwk_is_that_of_the_key_it_was_made_from() {
    for curve in Curve::ALL {
        let key = ec_key(curve);
        let (x, y) = coordinates(&key, curve);
        let jwk = read(&ec_jwk_of(curve, &x, &y)).unwrap();
        assert_eq!(jwk.spki().unwrap(), key.public_key_to_der().unwrap());
    }
    let key = PKey::generate_ed25519().unwrap();
    let x = encode(&key.raw_public_key().unwrap());
    let jwk = read(&json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
    assert_eq!(jwk.spki().unwrap(), key.public_key_to_der().unwrap());
    let rsa = PKey::public_key_from_der(&read(&rsa_jwk()).unwrap().spki().unwrap()).unwrap();
    assert_eq!(encode(&rsa.rsa().unwrap().n().to_vec()), N);
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let text = format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","e":"AQAB"}}"#);
    let Err(JwkError::Json(message)) = Jwk::from_json(&text) else { panic!() };
    assert!(message.contains(r#""e" stands twice"#), "{message}");
}

#[test]
fn text_after_the_jwk_is_refused() {
    let text = format!("{}x", rsa_jwk());
    assert!(matches!(Jwk::from_json(&text), Err(JwkError::Json(_))));
}

#[test]
fn every_private_member_is_refused_in_every_type_of_key() {
    for jwk in one_of_each() {
        for name in PRIVATE {
            refused(&with(&jwk, name, "AQAB"), &JwkError::Private(name));
            refused(&with(&jwk, name, Value::Null), &JwkError::Private(name));
        }
    }
}

#[test]
fn a_missing_member_is_named() {
    for jwk in one_of_each() {
        for name in ["kty", "crv", "x", "y", "n", "e"] {
            if jwk.get(name).is_some() {
                refused(&without(&jwk, name), &JwkError::Missing(name));
                refused(&with(&jwk, name, 7), &JwkError::NotText(name));
            }
        }
    }
    refused(&with(&rsa_jwk(), "n", ""), &JwkError::Missing("n"));
    refused(&with(&rsa_jwk(), "e", ""), &JwkError::Missing("e"));
}

#[test]
fn other_types_and_curves_are_refused_by_name() {
    for kty in ["oct", "rsa", "AKP", ""] {
        refused(&with(&rsa_jwk(), "kty", kty), &JwkError::Type(kty.to_owned()));
    }
    for crv in ["secp256k1", "P-224", "p-256", "Ed25519"] {
        refused(&with(&ec_jwk(Curve::P256), "crv", crv), &JwkError::Curve(crv.to_owned()));
    }
    for crv in ["X25519", "Ed448", "P-256"] {
        refused(&with(&ed25519_jwk(), "crv", crv), &JwkError::Curve(crv.to_owned()));
    }
}

#[test]
fn base64_with_padding_other_alphabet_spaces_or_spare_bits_is_refused() {
    // "Aw" is the exponent 3; "Ax" has a spare bit set.
    for e in ["Aw==", "Ax", "A w", "Aw\n", "A+", "A/", "A"] {
        refused(&with(&rsa_jwk(), "e", e), &JwkError::Base64("e"));
    }
    let jwk = ed25519_jwk();
    let x = jwk["x"].as_str().unwrap();
    refused(&with(&jwk, "x", format!("{x}=")), &JwkError::Base64("x"));
    // 32 bytes leave two spare bits in the last letter; one of them is set here.
    let last = x.chars().last().unwrap();
    let spare = char::from_u32(u32::from(last) + 1).unwrap();
    refused(&with(&jwk, "x", format!("{}{spare}", &x[..x.len() - 1])), &JwkError::Base64("x"));
}

#[test]
fn a_coordinate_without_its_leading_zero_is_refused_in_a_sentence_that_says_so() {
    let curve = Curve::P256;
    let (x, y) = std::iter::repeat_with(|| coordinates(&ec_key(curve), curve))
        .find(|(x, _)| x[0] == 0)
        .unwrap();
    assert!(read(&ec_jwk_of(curve, &x, &y)).is_ok());
    let error = read(&ec_jwk_of(curve, &x[1..], &y)).unwrap_err();
    assert_eq!(error, JwkError::Length { member: "x", length: 31, expected: 32 });
    assert_eq!(
        error.to_string(),
        "the JWK's \"x\" has 31 bytes, where its curve takes exactly 32, leading zeros included \
         (RFC 7518 §6.2.1.2)"
    );
}

#[test]
fn coordinates_that_share_their_bytes_unevenly_are_refused() {
    for curve in Curve::ALL {
        let expected = curve.coordinate();
        let (x, y) = coordinates(&ec_key(curve), curve);
        let both = [x, y].concat();
        let (x, y) = both.split_at(expected - 1);
        let length = expected - 1;
        refused(&ec_jwk_of(curve, x, y), &JwkError::Length { member: "x", length, expected });
        let (x, y) = both.split_at(expected + 1);
        let length = expected + 1;
        refused(&ec_jwk_of(curve, x, y), &JwkError::Length { member: "x", length, expected });
        let y = [&[0], y, &[0; 2]].concat();
        let length = expected + 2;
        let error = JwkError::Length { member: "y", length, expected };
        refused(&ec_jwk_of(curve, &both[..expected], &y), &error);
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    for curve in Curve::ALL {
        let (x, mut y) = coordinates(&ec_key(curve), curve);
        let zeros = vec![0; curve.coordinate()];
        refused(&ec_jwk_of(curve, &zeros, &zeros), &JwkError::Point);
        *y.last_mut().unwrap() ^= 1;
        refused(&ec_jwk_of(curve, &x, &y), &JwkError::Point);
    }
}

#[test]
fn a_coordinate_beyond_the_prime_of_the_field_is_refused() {
    // P-521 alone has room for it in every coordinate: seven bits of its 66 bytes are spare.
    let curve = Curve::P521;
    let (x, y) = coordinates(&ec_key(curve), curve);
    let (mut p, mut a, mut b) =
        (BigNum::new().unwrap(), BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = BigNumContext::new().unwrap();
    let group = EcGroup::from_curve_name(curve.nid()).unwrap();
    group.components_gfp(&mut p, &mut a, &mut b, &mut context).unwrap();
    let beyond = &BigNum::from_slice(&x).unwrap() + &p;
    let beyond = beyond.to_vec_padded(66).unwrap();
    refused(&ec_jwk_of(curve, &beyond, &y), &JwkError::Point);
}

#[test]
fn an_ed25519_key_of_another_length_is_refused() {
    for length in [0, 31, 33, 57] {
        let error = JwkError::Length { member: "x", length, expected: 32 };
        refused(&with(&ed25519_jwk(), "x", encode(&vec![7; length])), &error);
    }
}

/// An odd number with this many bits.
fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xa5; bits.div_ceil(8)];
    let spare = bytes.len() * 8 - bits;
    bytes[0] = 0xff >> spare;
    encode(&bytes)
}

#[test]
fn rsa_moduli_are_accepted_between_2048_and_8192_bits_in_whole_bytes() {
    for bits in [2048, 2056, 3072, 4096, 8192] {
        assert!(read(&with(&rsa_jwk(), "n", modulus(bits))).is_ok(), "{bits}");
    }
    for bits in [8, 512, 1024, 2040, 2041, 2047, 2049, 4095, 8191, 8193, 8200, 16384] {
        let error = JwkError::RsaLength(i32::try_from(bits).unwrap());
        refused(&with(&rsa_jwk(), "n", modulus(bits)), &error);
    }
}

#[test]
fn rsa_numbers_with_a_leading_zero_are_refused() {
    let n = [vec![0], URL_SAFE_NO_PAD.decode(N).unwrap()].concat();
    refused(&with(&rsa_jwk(), "n", encode(&n)), &JwkError::LeadingZero("n"));
    refused(&with(&rsa_jwk(), "e", encode(&[0, 1, 0, 1])), &JwkError::LeadingZero("e"));
    refused(&with(&rsa_jwk(), "e", encode(&[0])), &JwkError::LeadingZero("e"));
}

#[test]
fn an_even_rsa_modulus_is_refused() {
    let mut n = URL_SAFE_NO_PAD.decode(N).unwrap();
    *n.last_mut().unwrap() &= 0xfe;
    refused(&with(&rsa_jwk(), "n", encode(&n)), &JwkError::RsaModulus);
}

#[test]
fn rsa_exponents_are_odd_at_least_3_and_below_2_to_the_32() {
    for e in [&[3][..], &[17], &[1, 0, 1], &[0xff; 4]] {
        assert!(read(&with(&rsa_jwk(), "e", encode(e))).is_ok(), "{e:?}");
    }
    for e in [&[1][..], &[2], &[4], &[1, 0, 0], &[1, 0, 0, 0, 1], &[0xff; 256]] {
        refused(&with(&rsa_jwk(), "e", encode(e)), &JwkError::RsaExponent);
    }
}

#[test]
fn a_key_that_is_not_for_verifying_is_refused() {
    for jwk in one_of_each() {
        for value in ["enc", "SIG", ""] {
            refused(&with(&jwk, "use", value), &JwkError::Use("use"));
        }
        for value in [json!([]), json!(["sign"]), json!(["encrypt", "wrapKey"])] {
            refused(&with(&jwk, "key_ops", value), &JwkError::Use("key_ops"));
        }
        for value in [json!("verify"), json!({"verify": true}), json!([["verify"]]), Value::Null] {
            refused(&with(&jwk, "key_ops", value), &JwkError::Use("key_ops"));
        }
        refused(&with(&jwk, "use", 1), &JwkError::NotText("use"));
        refused(&with(&jwk, "alg", json!(["RS256"])), &JwkError::NotText("alg"));
        assert!(read(&with(&jwk, "use", "sig")).is_ok());
        assert!(read(&with(&jwk, "key_ops", json!(["sign", "verify"]))).is_ok());
    }
}

#[test]
fn a_key_is_refused_where_its_own_algorithm_is_not_one_of_its_type() {
    let accepted = [
        (ec_jwk(Curve::P256), vec!["ES256"]),
        (ec_jwk(Curve::P384), vec!["ES384"]),
        (ec_jwk(Curve::P521), vec!["ES512"]),
        (rsa_jwk(), vec!["RS256", "PS256"]),
        (ed25519_jwk(), vec!["EdDSA", "Ed25519"]),
    ];
    let all = [
        "ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA", "Ed25519", "none", "HS256", "RS1",
        "RSA-OAEP",
    ];
    for (jwk, accepted) in accepted {
        for algorithm in all {
            let jwk = with(&jwk, "alg", algorithm);
            if accepted.contains(&algorithm) {
                assert!(read(&jwk).is_ok(), "{jwk}");
            } else {
                refused(&jwk, &JwkError::Use("alg"));
            }
        }
    }
}

#[test]
fn members_that_say_nothing_about_the_key_are_left_out_of_its_canonical_form() {
    for jwk in one_of_each() {
        let more = with(&with(&jwk, "kid", "mine"), "x5t", "abc");
        assert_eq!(read(&more).unwrap(), read(&jwk).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics_and_what_is_accepted_has_one_form(
        kty in "(RSA|EC|OKP|oct)",
        crv in "(P-256|P-384|P-521|Ed25519)",
        x in proptest::collection::vec(any::<u8>(), 0..70),
        y in proptest::collection::vec(any::<u8>(), 0..70),
        n in proptest::collection::vec(any::<u8>(), 250..260),
        e in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let jwk = json!({
            "kty": kty, "crv": crv, "x": encode(&x), "y": encode(&y), "n": encode(&n), "e": encode(&e)
        });
        if let Ok(key) = read(&jwk) {
            prop_assert_eq!(Jwk::from_json(&key.canonical_json()), Ok(key));
        }
    }
}

#[test]
fn a_key_is_the_same_whether_it_comes_as_jwk_or_as_spki() {
    let mut keys: Vec<_> = Curve::ALL.into_iter().map(ec_jwk).collect();
    keys.push(rsa_jwk());
    let ed25519 = PKey::generate_ed25519().unwrap().raw_public_key().unwrap();
    keys.push(json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&ed25519)}));
    for jwk in keys {
        let key = read(&jwk).unwrap();
        let read = PKey::public_key_from_der(&key.spki().unwrap()).unwrap();
        assert_eq!(Jwk::of(&read), Some(key), "{jwk}");
    }
    let other = PKey::generate_x25519().unwrap().public_key_to_der().unwrap();
    assert_eq!(Jwk::of(&PKey::public_key_from_der(&other).unwrap()), None);
}
