//! A key pair on a token: found by `CKA_ID`, its public half read from whichever object shows it.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{SECP_256_R_1, SECP_384_R_1};
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::OctetString;
use der::{Decode, Encode};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;

use super::recovery::{Fault, Remedy};
use crate::x509::algorithm::PublicKey;

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
    let mut objects = session
        .find_objects(&[Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id.to_vec())])?;
    objects.push(private);
    let mut found: Vec<PublicKey> = Vec::new();
    for object in objects {
        if let Some(key) = public_half(session, object)
            && !found.contains(&key)
        {
            found.push(key);
        }
    }
    Ok(found)
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
    let spki = match attribute(session, object, T::KeyType)? {
        Attribute::KeyType(CkKeyType::RSA) => {
            let Attribute::Modulus(n) = attribute(session, object, T::Modulus)? else {
                return None;
            };
            let Attribute::PublicExponent(e) = attribute(session, object, T::PublicExponent)?
            else {
                return None;
            };
            rsa_spki(&n, &e).ok()?
        }
        Attribute::KeyType(CkKeyType::EC) => {
            let Attribute::EcParams(curve) = attribute(session, object, T::EcParams)? else {
                return None;
            };
            let Attribute::EcPoint(point) = attribute(session, object, T::EcPoint)? else {
                return None;
            };
            ec_spki(&curve, &point)?
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

fn ec_spki(curve: &[u8], point: &[u8]) -> Option<Vec<u8>> {
    let (nid, coordinate) = match ObjectIdentifier::from_der(curve).ok()? {
        SECP_256_R_1 => (Nid::X9_62_PRIME256V1, 32),
        SECP_384_R_1 => (Nid::SECP384R1, 48),
        _ => return None,
    };
    // PKCS#11 v3.1 §6.3.3 wraps the point in an OCTET STRING; older libraries do not. Both begin
    // with 04, so the length must tell.
    let unwrapped = match point.len() == 1 + 2 * coordinate {
        true => point.to_vec(),
        false => OctetString::from_der(point).ok()?.into_bytes().into(),
    };
    let spki = || -> Result<Vec<u8>, ErrorStack> {
        let group = EcGroup::from_curve_name(nid)?;
        let point = EcPoint::from_bytes(&group, &unwrapped, &mut *BigNumContext::new()?)?;
        PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?.public_key_to_der()
    };
    spki().ok()
}

/// The `CKA_EC_PARAMS` of a named curve: the DER of its OID.
pub(super) fn curve_params(curve: ObjectIdentifier) -> Vec<u8> {
    curve.to_der().expect("the OIDs passed here are constants that encode")
}

/// Bytes as PKCS#11 tools print them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ec::PointConversionForm;

    #[test]
    fn an_ec_point_is_read_wrapped_and_raw() {
        for (nid, oid) in [(Nid::X9_62_PRIME256V1, SECP_256_R_1), (Nid::SECP384R1, SECP_384_R_1)] {
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
            let wrapped = OctetString::new(raw.clone()).unwrap().to_der().unwrap();
            let spki = key.public_key_to_der().unwrap();
            assert_eq!(ec_spki(&curve_params(oid), &raw), Some(spki.clone()));
            assert_eq!(ec_spki(&curve_params(oid), &wrapped), Some(spki));
            assert_eq!(ec_spki(&curve_params(oid), &wrapped[1..]), None);
        }
    }
}
