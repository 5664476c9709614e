//! A key pair on a token: found by `CKA_ID`, its public half read from whichever object shows it.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{SECP_256_R_1, SECP_384_R_1, SECP_521_R_1};
use const_oid::db::rfc8410::ID_ED_25519;
use cryptoki::object::{
    Attribute, AttributeType, KeyType as CkKeyType, MlDsaParameterSetType, ObjectClass,
    ObjectHandle, ParameterSetType,
};
use cryptoki::session::Session;
use data_encoding::HEXLOWER;
use der::asn1::{BitString, OctetString, PrintableStringRef};
use der::{Decode, Encode};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::recovery::{Fault, Remedy};
use crate::x509::algorithm::{ParameterSet, PublicKey};

/// The private keys with this `CKA_ID`; there should be one.
pub(super) fn private_keys(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Fault> {
    Ok(session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Id(id.to_vec())])?)
}

/// The one private key with this `CKA_ID`, at run time: it was there when the signer was opened.
pub(super) fn private_key(session: &Session, id: &[u8]) -> Result<ObjectHandle, Fault> {
    match private_keys(session, id)?[..] {
        [key] => Ok(key),
        ref found => Err(Fault::new(
            Remedy::Fail,
            format!("the token has {} private keys with CKA_ID {}", found.len(), hex(id)),
        )),
    }
}

/// Every public half that the token shows for a private key: from the public key with the same
/// `CKA_ID`, else from the private key's own attributes (PKCS#11 v3.1 §4.9 `CKA_PUBLIC_KEY_INFO`,
/// §6.1.3 `CKA_MODULUS`). Empty where it shows none.
pub(super) fn public_halves(
    session: &Session,
    id: &[u8],
    private: ObjectHandle,
) -> Result<Vec<PublicKey>, Fault> {
    let public = session
        .find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())])?;
    Ok(shown_by(session, public, private))
}

/// As [`public_halves`], of objects that were found already.
pub(super) fn shown_by(
    session: &Session,
    public: Vec<ObjectHandle>,
    private: ObjectHandle,
) -> Vec<PublicKey> {
    let mut found: Vec<PublicKey> = Vec::new();
    for object in public.into_iter().chain([private]) {
        if let Some(key) = public_half(session, object)
            && !found.contains(&key)
        {
            found.push(key);
        }
    }
    found
}

/// Whether the token wants a login before each signature (`CKA_ALWAYS_AUTHENTICATE`).
pub(super) fn wants_login_per_signature(session: &Session, private: ObjectHandle) -> bool {
    matches!(
        attribute(session, private, AttributeType::AlwaysAuthenticate),
        Some(Attribute::AlwaysAuthenticate(true))
    )
}

fn public_half(session: &Session, object: ObjectHandle) -> Option<PublicKey> {
    use AttributeType as T;
    if let Some(Attribute::PublicKeyInfo(spki)) = attribute(session, object, T::PublicKeyInfo)
        && let Ok(key) = PublicKey::from_spki(&spki)
    {
        return Some(key);
    }
    let Attribute::KeyType(key_type) = attribute(session, object, T::KeyType)? else { return None };
    let spki = match key_type {
        CkKeyType::RSA => {
            let Attribute::Modulus(n) = attribute(session, object, T::Modulus)? else {
                return None;
            };
            let Attribute::PublicExponent(e) = attribute(session, object, T::PublicExponent)?
            else {
                return None;
            };
            rsa_spki(&n, &e).ok()?
        }
        CkKeyType::EC | CkKeyType::EC_EDWARDS => {
            let Attribute::EcParams(curve) = attribute(session, object, T::EcParams)? else {
                return None;
            };
            let Attribute::EcPoint(point) = attribute(session, object, T::EcPoint)? else {
                return None;
            };
            ec_spki(&curve, &point)?
        }
        CkKeyType::ML_DSA => {
            // A private key's CKA_VALUE is no public key.
            let class = attribute(session, object, T::Class)?;
            if class != Attribute::Class(ObjectClass::PUBLIC_KEY) {
                return None;
            }
            let Attribute::ParameterSet(set) = attribute(session, object, T::ParameterSet)? else {
                return None;
            };
            let Attribute::Value(value) = attribute(session, object, T::Value)? else {
                return None;
            };
            let wanted =
                ParameterSet::ALL.into_iter().find(|known| parameter_set(*known) == set)?;
            spki(wanted.oid(), &value)?
        }
        _ => return None,
    };
    PublicKey::from_spki(&spki).ok()
}

/// One attribute, or `None` where the object does not show it.
fn attribute(session: &Session, object: ObjectHandle, wanted: AttributeType) -> Option<Attribute> {
    session.get_attributes(object, &[wanted]).ok()?.pop()
}

fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    let key =
        Rsa::from_public_components(BigNum::from_slice(modulus)?, BigNum::from_slice(exponent)?)?;
    PKey::from_rsa(key)?.public_key_to_der()
}

fn ec_spki(params: &[u8], point: &[u8]) -> Option<Vec<u8>> {
    let (nid, coordinate) = match Curve::read(params)? {
        Curve::P256 => (Nid::X9_62_PRIME256V1, 32),
        Curve::P384 => (Nid::SECP384R1, 48),
        Curve::P521 => (Nid::SECP521R1, 66),
        Curve::Ed25519 => return spki(ID_ED_25519, &unwrapped(point, 32)?),
    };
    let unwrapped = unwrapped(point, 1 + 2 * coordinate)?;
    let spki = || -> Result<Vec<u8>, ErrorStack> {
        let group = EcGroup::from_curve_name(nid)?;
        let point = EcPoint::from_bytes(&group, &unwrapped, &mut *BigNumContext::new()?)?;
        PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?.public_key_to_der()
    };
    spki().ok()
}

/// The point of a `CKA_EC_POINT`, which some libraries give as it is, some in an OCTET STRING
/// (PKCS#11 v3.1 §6.3.3) and some in a BIT STRING. A point may begin as either does, so that the
/// length must tell.
fn unwrapped(point: &[u8], length: usize) -> Option<Vec<u8>> {
    if point.len() == length {
        return Some(point.to_vec());
    }
    let octets = OctetString::from_der(point).map(|octets| octets.as_bytes().to_vec());
    let bits = || BitString::from_der(point).ok()?.as_bytes().map(<[u8]>::to_vec);
    octets.ok().or_else(bits).filter(|point| point.len() == length)
}

/// The SubjectPublicKeyInfo of an algorithm without parameters (RFC 8410 §4, RFC 9881 §4).
fn spki(oid: ObjectIdentifier, key: &[u8]) -> Option<Vec<u8>> {
    let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
    let subject_public_key = BitString::from_bytes(key).ok()?;
    SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().ok()
}

/// The elliptic curves that kipuka knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
    Ed25519,
}

impl Curve {
    const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::Ed25519];

    /// The forms in which tokens want and give its `CKA_EC_PARAMS`: the DER of its OID, and where
    /// the curve is Ed25519, of its name too (PKCS#11 v3.1 §6.3.5).
    pub(super) fn params(self) -> Vec<Vec<u8>> {
        let oid = match self {
            Self::P256 => SECP_256_R_1,
            Self::P384 => SECP_384_R_1,
            Self::P521 => SECP_521_R_1,
            Self::Ed25519 => ID_ED_25519,
        };
        let name = (self == Self::Ed25519)
            .then(|| PrintableStringRef::new("edwards25519").and_then(|name| name.to_der()));
        [Some(oid.to_der()), name]
            .into_iter()
            .flatten()
            .map(|der| der.expect("constants of a few bytes encode"))
            .collect()
    }

    fn read(params: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.params().iter().any(|form| form == params))
    }
}

/// A `CKP_ML_DSA_*`.
pub(super) fn parameter_set(set: ParameterSet) -> ParameterSetType {
    match set {
        ParameterSet::MlDsa44 => MlDsaParameterSetType::ML_DSA_44,
        ParameterSet::MlDsa65 => MlDsaParameterSetType::ML_DSA_65,
        ParameterSet::MlDsa87 => MlDsaParameterSetType::ML_DSA_87,
    }
    .into()
}

/// Bytes as PKCS#11 tools print them.
pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ec::PointConversionForm;

    fn octets(bytes: &[u8]) -> Vec<u8> {
        OctetString::new(bytes).unwrap().to_der().unwrap()
    }

    fn bits(bytes: &[u8]) -> Vec<u8> {
        BitString::from_bytes(bytes).unwrap().to_der().unwrap()
    }

    #[test]
    fn an_ec_point_is_read_wrapped_and_raw() {
        for (nid, curve) in [
            (Nid::X9_62_PRIME256V1, Curve::P256),
            (Nid::SECP384R1, Curve::P384),
            (Nid::SECP521R1, Curve::P521),
        ] {
            let group = EcGroup::from_curve_name(nid).unwrap();
            let key = EcKey::generate(&group).unwrap();
            let raw = key
                .public_key()
                .to_bytes(
                    &group,
                    PointConversionForm::UNCOMPRESSED,
                    &mut BigNumContext::new().unwrap(),
                )
                .unwrap();
            let spki = key.public_key_to_der().unwrap();
            let params = &curve.params()[0];
            for form in [raw.clone(), octets(&raw), bits(&raw)] {
                assert_eq!(ec_spki(params, &form), Some(spki.clone()));
                assert_eq!(ec_spki(params, &form[1..]), None);
            }
        }
    }

    #[test]
    fn an_ed25519_point_is_read_wrapped_and_raw_by_both_names_of_its_curve() {
        for _ in 0..64 {
            let key = PKey::generate_ed25519().unwrap();
            let spki = key.public_key_to_der().unwrap();
            let raw = key.raw_public_key().unwrap();
            for form in [raw.clone(), octets(&raw), bits(&raw)] {
                for params in Curve::Ed25519.params() {
                    assert_eq!(ec_spki(&params, &form), Some(spki.clone()));
                }
                assert_eq!(ec_spki(&Curve::Ed25519.params()[1], &form[1..]), None);
            }
        }
        assert_eq!(ec_spki(b"\x13\x0aedwards448", &[7; 57]), None);
    }
}
