//! Public keys as JWK (RFC 7517, RFC 7518 §6, RFC 8037), each with exactly one form.
//!
//! One key must have one thumbprint (RFC 7638), or it could have several accounts. So every number
//! is taken only in the length that the RFCs prescribe.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, PKeyRef, Public};
use openssl::rsa::Rsa;

use super::members::{Member, Members, NotText};

const MIN_RSA_BITS: i32 = 2048;
const MAX_RSA_BITS: i32 = 8192;
/// Members that only a private key has (RFC 7518 §6.2.2, §6.3.2, §6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that may be an account's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jwk(Key);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Rsa { n: String, e: String },
    Ec { curve: Curve, x: String, y: String },
    Ed25519 { x: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    const fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The bytes of a coordinate (RFC 7518 §6.2.1.2).
    const fn coordinate(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    const fn nid(self) -> Nid {
        match self {
            Self::P256 => Nid::X9_62_PRIME256V1,
            Self::P384 => Nid::SECP384R1,
            Self::P521 => Nid::SECP521R1,
        }
    }
}

/// Why a JWK cannot be an account's key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwkError {
    #[error("the JWK is not an object")]
    Object,
    #[error("the JWK cannot be read: {0}")]
    Json(String),
    #[error("the JWK lacks {0:?}")]
    Missing(&'static str),
    #[error("the JWK's {0:?} is not a string")]
    NotText(&'static str),
    #[error("the JWK's {0:?} is not base64url without padding")]
    Base64(&'static str),
    #[error("the JWK has the private member {0:?}; that key is no longer a secret, make a new one")]
    Private(&'static str),
    #[error(
        "keys of type {0:?} are not accepted; use RSA, EC (P-256, P-384, P-521) or OKP (Ed25519)"
    )]
    Type(String),
    #[error("the curve {0:?} is not accepted; use P-256, P-384, P-521 or Ed25519")]
    Curve(String),
    #[error(
        "the JWK's {member:?} has {length} bytes, where its curve takes exactly {expected}, leading \
         zeros included (RFC 7518 §6.2.1.2)"
    )]
    Length { member: &'static str, length: usize, expected: usize },
    #[error("the JWK's {0:?} has a leading zero byte (RFC 7518 §6.3.1)")]
    LeadingZero(&'static str),
    #[error(
        "the RSA key has {0} bits; between {MIN_RSA_BITS} and {MAX_RSA_BITS}, in whole bytes, are \
         accepted"
    )]
    RsaLength(i32),
    #[error("the RSA modulus is even, so it is the product of no two primes")]
    RsaModulus,
    #[error("the RSA exponent must be odd, at least 3 and below 2^32")]
    RsaExponent,
    #[error("the JWK's coordinates are no point on its curve")]
    Point,
    #[error("the JWK's {0:?} does not allow it to verify signatures of this kind")]
    Use(&'static str),
    #[error("a key of this type does not sign with {0}")]
    Algorithm(&'static str),
}

impl From<NotText> for JwkError {
    fn from(NotText(name): NotText) -> Self {
        Self::NotText(name)
    }
}

impl Jwk {
    /// Reads a JWK in any form that is exact, such as that of [`Self::canonical_json`].
    pub(crate) fn from_json(text: &str) -> Result<Self, JwkError> {
        let members: Members =
            serde_json::from_str(text).map_err(|error| JwkError::Json(error.to_string()))?;
        Self::read(&members)
    }

    pub(super) fn read(members: &Members) -> Result<Self, JwkError> {
        if let Some(name) = PRIVATE.into_iter().find(|name| members.has(name)) {
            return Err(JwkError::Private(name));
        }
        let text = |name| members.text(name)?.ok_or(JwkError::Missing(name));
        let (key, algorithms): (Key, &[&str]) = match text("kty")? {
            "RSA" => (rsa(text("n")?, text("e")?)?, &["RS256", "PS256"]),
            "EC" => {
                let name = text("crv")?;
                let curve = Curve::ALL.into_iter().find(|curve| curve.as_str() == name);
                let curve = curve.ok_or_else(|| JwkError::Curve(name.to_owned()))?;
                let algorithm: &[&str] = match curve {
                    Curve::P256 => &["ES256"],
                    Curve::P384 => &["ES384"],
                    Curve::P521 => &["ES512"],
                };
                (ec(curve, text("x")?, text("y")?)?, algorithm)
            }
            "OKP" => match text("crv")? {
                "Ed25519" => (ed25519(text("x")?)?, &["EdDSA", "Ed25519"]),
                other => return Err(JwkError::Curve(other.to_owned())),
            },
            other => return Err(JwkError::Type(other.to_owned())),
        };
        check_use(members, algorithms)?;
        Ok(Self(key))
    }

    /// The form that RFC 7638 §3 hashes: the required members alone, sorted by name.
    pub(crate) fn canonical_json(&self) -> String {
        // Every value is base64url or the name of a curve: nothing that JSON would escape.
        match &self.0 {
            Key::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            Key::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve.as_str())
            }
            Key::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        }
    }

    /// The SHA-256 thumbprint (RFC 7638), in base64url.
    pub(crate) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(openssl::sha::sha256(self.canonical_json().as_bytes()))
    }

    /// The JWK of a key that OpenSSL has read, an EC key's point being on its curve; `None` where it could
    /// be no account's.
    pub(crate) fn of(key: &PKeyRef<Public>) -> Option<Self> {
        of_pkey(key).ok().flatten().map(Self)
    }

    /// The key as the DER of a `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Result<Vec<u8>, ErrorStack> {
        self.pkey()?.public_key_to_der()
    }

    pub(super) fn curve(&self) -> Option<Curve> {
        match self.0 {
            Key::Ec { curve, .. } => Some(curve),
            Key::Rsa { .. } | Key::Ed25519 { .. } => None,
        }
    }

    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.0, Key::Rsa { .. })
    }

    pub(super) fn is_ed25519(&self) -> bool {
        matches!(self.0, Key::Ed25519 { .. })
    }

    fn pkey(&self) -> Result<PKey<Public>, ErrorStack> {
        // What was read once can be read again; an empty number would be refused by OpenSSL.
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let number = |text: &str| BigNum::from_slice(&bytes(text));
        match &self.0 {
            Key::Rsa { n, e } => {
                PKey::from_rsa(Rsa::from_public_components(number(n)?, number(e)?)?)
            }
            Key::Ec { curve, x, y } => {
                PKey::from_ec_key(EcKey::from_public_key_affine_coordinates(
                    EcGroup::from_curve_name(curve.nid())?.as_ref(),
                    number(x)?.as_ref(),
                    number(y)?.as_ref(),
                )?)
            }
            Key::Ed25519 { x } => PKey::public_key_from_raw_bytes(&bytes(x), Id::ED25519),
        }
    }
}

fn of_pkey(key: &PKeyRef<Public>) -> Result<Option<Key>, ErrorStack> {
    let text = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    let read = match key.id() {
        Id::RSA => {
            let key = key.rsa()?;
            rsa(&text(key.n().to_vec()), &text(key.e().to_vec()))
        }
        Id::EC => {
            let key = key.ec_key()?;
            let nid = key.group().curve_name();
            let curve = Curve::ALL.into_iter().find(|curve| Some(curve.nid()) == nid);
            let Some(curve) = curve else { return Ok(None) };
            let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
            let context = &mut *BigNumContext::new()?;
            key.public_key().affine_coordinates(key.group(), &mut x, &mut y, context)?;
            let length = i32::try_from(curve.coordinate()).unwrap_or(i32::MAX);
            let (x, y) = (text(x.to_vec_padded(length)?), text(y.to_vec_padded(length)?));
            return Ok(Some(Key::Ec { curve, x, y }));
        }
        Id::ED25519 => ed25519(&text(key.raw_public_key()?)),
        _ => return Ok(None),
    };
    Ok(read.ok())
}

fn decode(name: &'static str, text: &str) -> Result<Vec<u8>, JwkError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkError::Base64(name))
}

fn rsa(n: &str, e: &str) -> Result<Key, JwkError> {
    let number = |name, text| {
        let bytes = decode(name, text)?;
        match bytes.first() {
            None => Err(JwkError::Missing(name)),
            Some(0) => Err(JwkError::LeadingZero(name)),
            Some(_) => Ok(bytes),
        }
    };
    let (modulus, exponent) = (number("n", n)?, number("e", e)?);
    let leading_zeros = modulus[0].leading_zeros();
    let bits = i32::try_from(modulus.len() * 8).unwrap_or(i32::MAX);
    if leading_zeros > 0 || !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
        return Err(JwkError::RsaLength(bits.saturating_sub_unsigned(leading_zeros)));
    }
    if modulus.last().is_some_and(|last| last % 2 == 0) {
        return Err(JwkError::RsaModulus);
    }
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !odd || exponent.len() > 4 || exponent == [1] {
        return Err(JwkError::RsaExponent);
    }
    Ok(Key::Rsa { n: n.to_owned(), e: e.to_owned() })
}

fn ec(curve: Curve, x: &str, y: &str) -> Result<Key, JwkError> {
    let expected = curve.coordinate();
    let coordinate = |member, text| {
        let length = decode(member, text)?.len();
        if length == expected { Ok(()) } else { Err(JwkError::Length { member, length, expected }) }
    };
    coordinate("x", x)?;
    coordinate("y", y)?;
    let jwk = Jwk(Key::Ec { curve, x: x.to_owned(), y: y.to_owned() });
    let on_curve = jwk.pkey().and_then(|key| {
        let key = key.ec_key()?;
        key.public_key().is_on_curve(key.group(), &mut *BigNumContext::new()?)
    });
    match on_curve {
        Ok(true) => Ok(jwk.0),
        _ => Err(JwkError::Point),
    }
}

fn ed25519(x: &str) -> Result<Key, JwkError> {
    let length = decode("x", x)?.len();
    if length != 32 {
        return Err(JwkError::Length { member: "x", length, expected: 32 });
    }
    Ok(Key::Ed25519 { x: x.to_owned() })
}

/// Whether the key's own restrictions (RFC 7517 §4.2 to §4.4) allow what it is wanted for.
fn check_use(members: &Members, algorithms: &[&str]) -> Result<(), JwkError> {
    if members.text("use")?.is_some_and(|value| value != "sig") {
        return Err(JwkError::Use("use"));
    }
    if members.text("alg")?.is_some_and(|value| !algorithms.contains(&value)) {
        return Err(JwkError::Use("alg"));
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Member::List(operations))
            if operations.iter().any(
                |operation| matches!(operation, Member::Text(operation) if operation == "verify"),
            ) =>
        {
            Ok(())
        }
        Some(_) => Err(JwkError::Use("key_ops")),
    }
}

#[cfg(test)]
mod tests;
