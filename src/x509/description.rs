//! What a certificate says, for people.

use const_oid::AssociatedOid;
use const_oid::db::DB;
use data_encoding::HEXLOWER;
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};

use super::algorithm::{KeyError, PublicKey};
use super::issuer::{KEY_USAGES, unix_s};

/// The fields of any certificate (RFC 5280 §4.1), whether a CA's or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// As RFC 4514 writes a name, like `issuer`.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// In lower-case hex, as it is encoded.
    pub(crate) serial: String,
    pub(crate) not_before_s: i64,
    /// The last second of its validity.
    pub(crate) not_after_s: i64,
    /// `None` for a key that kipuka has no use for; `key_type` says of which algorithm.
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) key_type: String,
    /// The names of RFC 5280 §4.2.1.3; `None` where there is no such extension.
    pub(crate) key_usage: Option<Vec<&'static str>>,
    pub(crate) is_ca: bool,
    /// How many CA certificates may stand below it; `None` is any number.
    pub(crate) path_len: Option<u8>,
    /// In hex, like `authority_key_identifier`.
    pub(crate) subject_key_identifier: Option<String>,
    pub(crate) authority_key_identifier: Option<String>,
    pub(crate) signature_algorithm: String,
    /// Of the certificate's DER, in hex.
    pub(crate) sha256: String,
    /// Of the SubjectPublicKeyInfo's DER, in hex.
    pub(crate) public_key_sha256: String,
}

/// The bytes are no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the DER of a certificate (RFC 5280 §4.1)")]
pub(crate) struct NoCertificate;

impl Description {
    pub(crate) fn of(der: &[u8]) -> Result<Self, NoCertificate> {
        let certificate = Certificate::from_der(der).map_err(|_| NoCertificate)?;
        let tbs = certificate.tbs_certificate();
        let spki = tbs.subject_public_key_info().to_der().map_err(|_| NoCertificate)?;
        let (public_key, key_type) = match PublicKey::from_spki(&spki) {
            Ok(key) => {
                let key_type = key.key_type().to_string();
                (Some(key), key_type)
            }
            Err(KeyError::Unsupported(name)) => (None, format!("{name} (not supported)")),
            Err(KeyError::Malformed) => (None, "cannot be read".to_owned()),
        };
        let constraints = extension::<BasicConstraints>(&certificate);
        let algorithm = certificate.signature_algorithm().oid;
        Ok(Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            serial: hex(tbs.serial_number().as_bytes()),
            not_before_s: unix_s(tbs.validity().not_before),
            not_after_s: unix_s(tbs.validity().not_after),
            public_key,
            key_type,
            key_usage: extension::<KeyUsage>(&certificate).map(|usage| {
                let set = KEY_USAGES.iter().filter(|(bit, _)| usage.0.contains(*bit));
                set.map(|(_, name)| *name).collect()
            }),
            is_ca: constraints.as_ref().is_some_and(|constraints| constraints.ca),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
            subject_key_identifier: extension::<SubjectKeyIdentifier>(&certificate)
                .map(|identifier| hex(identifier.0.as_bytes())),
            authority_key_identifier: extension::<AuthorityKeyIdentifier>(&certificate)
                .and_then(|authority| authority.key_identifier)
                .map(|identifier| hex(identifier.as_bytes())),
            signature_algorithm: DB
                .by_oid(&algorithm)
                .map_or_else(|| algorithm.to_string(), str::to_owned),
            sha256: sha256_hex(der),
            public_key_sha256: sha256_hex(&spki),
        })
    }
}

/// SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&openssl::sha::sha256(bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn extension<'a, T>(certificate: &'a Certificate) -> Option<T>
where
    T: Decode<'a, Error = der::Error> + AssociatedOid,
{
    certificate.tbs_certificate().get_extension::<T>().ok().flatten().map(|(_, value)| value)
}
