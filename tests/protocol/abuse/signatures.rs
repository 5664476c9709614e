//! Signatures (RFC 7515 §5.2, RFC 7518 §3, RFC 8037 §3.1).

use harness::key::base64url;
use harness::{Algorithm, Key};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::sign::Signer;
use serde_json::json;

use super::{Row, Victim, row};
use crate::server;

/// Makes a wrong signature of a right one, with what was signed and the key.
type Bend = (Algorithm, fn(&[u8], &[u8], &Key) -> Vec<u8>);

fn halves(signature: &[u8]) -> (&[u8], &[u8]) {
    signature.split_at(signature.len() / 2)
}

/// The order of P-256 and of Ed25519's group.
const P256_ORDER: &str = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
const ED25519_ORDER: &str = "1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED";

fn number(hex: &str) -> BigNum {
    BigNum::from_hex_str(hex).unwrap()
}

/// RFC 8032 §5.1.7 refuses S + L, which the equation alone would take for S.
fn with_another_s(signature: &[u8]) -> Vec<u8> {
    let (point, s) = halves(signature);
    let s = BigNum::from_slice(&s.iter().rev().copied().collect::<Vec<_>>()).unwrap();
    let mut s = (&s + &number(ED25519_ORDER)).to_vec_padded(32).unwrap();
    s.reverse();
    [point, &s].concat()
}

fn as_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = halves(signature);
    let number = |half| BigNum::from_slice(half).unwrap();
    EcdsaSig::from_private_components(number(r), number(s)).unwrap().to_der().unwrap()
}

fn by_rsa_with_sha1(message: &[u8], key: &Key) -> Vec<u8> {
    let mut signer = Signer::new(MessageDigest::sha1(), &key.private).unwrap();
    signer.sign_oneshot_to_vec(message).unwrap()
}

fn flipped(signature: &[u8], place: usize) -> Vec<u8> {
    let mut signature = signature.to_vec();
    signature[place] ^= 1;
    signature
}

pub(super) fn rows() -> Vec<Row<Bend>> {
    use Algorithm::{EdDsa, Es256, Es384, Es512, Ps256, Rs256};
    let row = |clause, why, key, bend: fn(&[u8], &[u8], &Key) -> Vec<u8>| {
        row(clause, why, (key, bend), (403, "unauthorized", "signature is not the key's"))
    };
    let es256 = |why, bend| row("RFC 7518 §3.4", why, Es256, bend);
    let rs256 = |why, bend| row("RFC 7518 §3.3", why, Rs256, bend);
    vec![
        es256("nothing", |_, _, _| Vec::new()),
        es256("half", |s, _, _| s[..32].to_vec()),
        es256("a byte less", |s, _, _| s[..63].to_vec()),
        es256("without its first byte", |s, _, _| s[1..].to_vec()),
        es256("a zero behind", |s, _, _| [s, &[0]].concat()),
        es256("a zero in front", |s, _, _| [&[0], s].concat()),
        es256("zeros in front of both", |s, _, _| {
            let (r, s) = halves(s);
            [&[0], r, &[0], s].concat()
        }),
        es256("twice", |s, _, _| s.repeat(2)),
        es256("as DER", |s, _, _| as_der(s)),
        es256("zeros", |_, _, _| vec![0; 64]),
        es256("r is 0", |s, _, _| [&[0; 32], halves(s).1].concat()),
        es256("s is 0", |s, _, _| [halves(s).0, &[0; 32]].concat()),
        es256("r is the order", |s, _, _| [&number(P256_ORDER).to_vec(), halves(s).1].concat()),
        es256("s is the order", |s, _, _| [halves(s).0, &number(P256_ORDER).to_vec()].concat()),
        es256("ones", |_, _, _| vec![0xff; 64]),
        es256("r and s swapped", |s, _, _| [halves(s).1, halves(s).0].concat()),
        es256("a bit of r", |s, _, _| flipped(s, 0)),
        es256("a bit of s", |s, _, _| flipped(s, 63)),
        es256("by another key", |_, m, _| Key::new(Es256).sign(m)),
        es256("by a key of another type", |_, m, _| Key::new(EdDsa).sign(m)),
        es256("of something else", |_, m, key| key.sign(&m[1..])),
        es256("of the payload alone", |_, m, key| {
            key.sign(m.rsplit(|byte| *byte == b'.').next().unwrap())
        }),
        es256("as long as a body may be", |_, _, _| vec![7; 60_000]),
        row("RFC 7518 §3.4", "of ES256's length", Es384, |s, _, _| s[..64].to_vec()),
        row("RFC 7518 §3.4", "a bit", Es384, |s, _, _| flipped(s, 50)),
        row("RFC 7518 §3.4", "as DER", Es512, |s, _, _| as_der(s)),
        row("RFC 7518 §3.4", "130 bytes", Es512, |s, _, _| {
            let (r, s) = halves(s);
            [&r[1..], &s[1..]].concat()
        }),
        rs256("nothing", |_, _, _| Vec::new()),
        rs256("a byte less", |s, _, _| s[..255].to_vec()),
        rs256("a zero in front", |s, _, _| [&[0], s].concat()),
        rs256("a zero behind", |s, _, _| [s, &[0]].concat()),
        rs256("one", |_, _, _| [vec![0; 255], vec![1]].concat()),
        rs256("beyond the modulus", |_, _, _| vec![0xff; 256]),
        rs256("with SHA-1", |_, m, key| by_rsa_with_sha1(m, key)),
        rs256("with the padding of PS256", |_, m, key| {
            Key { algorithm: Ps256, private: key.private.clone() }.sign(m)
        }),
        row("RFC 7518 §3.5", "with the padding of RS256", Ps256, |_, m, key| {
            Key { algorithm: Rs256, private: key.private.clone() }.sign(m)
        }),
        row("RFC 7518 §3.5", "a bit", Ps256, |s, _, _| flipped(s, 0)),
        row("RFC 8037 §3.1", "half", EdDsa, |s, _, _| s[..32].to_vec()),
        row("RFC 8037 §3.1", "zeros", EdDsa, |_, _, _| vec![0; 64]),
        row("RFC 8037 §3.1", "a bit", EdDsa, |s, _, _| flipped(s, 40)),
        row("RFC 8032 §5.1.7", "S beyond the order", EdDsa, |s, _, _| with_another_s(s)),
    ]
}

#[tokio::test]
async fn a_wrong_signature_is_unauthorized_and_spends_no_nonce() {
    let server = server().await;
    let mut clients = Vec::new();
    for algorithm in Algorithm::ALL {
        let mut client = server.client_with("ca", Key::new(algorithm)).await;
        client.register().await;
        clients.push(client);
    }
    let victim = Victim::new(server).await;
    for (refusal, (algorithm, bend)) in rows() {
        let client = clients.iter_mut().find(|one| one.key.algorithm == algorithm).unwrap();
        let url = client.kid.clone().unwrap();
        let jws = client.jws(&url, "").await;
        let right = client.sign(&jws);
        let message = format!("{}.", right["protected"].as_str().unwrap());
        let signature = client.key.sign(message.as_bytes());
        let mut wrong = right.clone();
        wrong["signature"] = json!(base64url(bend(&signature, message.as_bytes(), &client.key)));
        refusal.check(&client.post_json(&url, &wrong).await);
        // A forger who overheard a nonce takes it from nobody.
        client.post_json(&url, &right).await.expect(200);
    }
    victim.is_unharmed(&mut clients[0]).await;
}
