//! A CA's own certificate, as far as issuing under it needs.

use std::collections::BTreeSet;

use der::flagset::FlagSet;
use der::{Decode, Encode};
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Public};
use openssl::x509::{X509, X509VerifyResult};
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificateInner;
use x509_cert::ext::pkix::{
    self, AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};

use super::algorithm::{KeyError, PublicKey, SignatureAlgorithm};
use super::name_constraints::NameConstraints;
use super::signed::Signed;

/// A certificate whose key may sign certificates (RFC 5280 §4.2.1.9, §4.2.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerCertificate {
    der: Vec<u8>,
    subject_der: Vec<u8>,
    subject: String,
    issuer: String,
    public_key: PublicKey,
    key_identifier: Vec<u8>,
    not_before_s: i64,
    not_after_s: i64,
    path_len: Option<u8>,
    name_constraints: Option<NameConstraints>,
    key_usage: Option<FlagSet<KeyUsages>>,
    self_signed: bool,
}

/// Why a certificate cannot be that of a CA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IssuerError {
    #[error("is not the DER of a certificate (RFC 5280 §4.1)")]
    Malformed,
    #[error("cannot be used: {0}")]
    Key(#[from] KeyError),
    #[error("has an empty subject, so nothing can name it as issuer")]
    EmptySubject,
    #[error("is not that of a CA: its basicConstraints do not say CA:TRUE")]
    NotCa,
    #[error("may not sign certificates: its keyUsage lacks keyCertSign")]
    MayNotSign,
    #[error("has a {0} extension that cannot be read, or two")]
    Extension(&'static str),
}

impl IssuerCertificate {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, IssuerError> {
        let certificate = Certificate::from_der(der).map_err(|_| IssuerError::Malformed)?;
        let openssl = X509::from_der(der).map_err(|_| IssuerError::Malformed)?;
        let tbs = certificate.tbs_certificate();
        if tbs.subject().is_empty() {
            return Err(IssuerError::EmptySubject);
        }
        // OpenSSL keeps the bytes as they stand, while x509-cert puts a SET in order: a name that
        // the two write differently is not DER, and could not be copied faithfully.
        let subject_der = openssl.subject_name().to_der().map_err(|_| IssuerError::Malformed)?;
        if tbs.subject().to_der().as_deref() != Ok(&subject_der) {
            return Err(IssuerError::Malformed);
        }
        let spki = tbs.subject_public_key_info().to_der().map_err(|_| IssuerError::Malformed)?;
        let public_key = PublicKey::from_spki(&spki)?;
        let constraints = extension::<BasicConstraints>(tbs, "basicConstraints")?;
        let Some(BasicConstraints { ca: true, path_len_constraint: path_len }) = constraints else {
            return Err(IssuerError::NotCa);
        };
        let key_usage = extension::<KeyUsage>(tbs, "keyUsage")?;
        if key_usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(IssuerError::MayNotSign);
        }
        let name_constraints = match extension::<pkix::NameConstraints>(tbs, "nameConstraints")? {
            None => None,
            Some(found) => Some(
                NameConstraints::read(found).ok_or(IssuerError::Extension("nameConstraints"))?,
            ),
        };
        let key_identifier = extension::<SubjectKeyIdentifier>(tbs, "subjectKeyIdentifier")?
            .map_or_else(
                || public_key.key_identifier().to_vec(),
                |identifier| identifier.0.as_bytes().to_vec(),
            );
        let mut this = Self {
            der: der.to_vec(),
            subject_der,
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            public_key,
            key_identifier,
            not_before_s: unix_s(tbs.validity().not_before),
            not_after_s: unix_s(tbs.validity().not_after),
            path_len,
            name_constraints,
            key_usage: key_usage.map(|usage| usage.0),
            self_signed: false,
        };
        this.self_signed = this.is_issued_by(&this);
        Ok(this)
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The DER of the subject: what the certificates under it name as issuer, byte for byte
    /// (RFC 5280 §4.1.2.4).
    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// The subject in words (RFC 4514).
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The name of the CA that signed it, in words (RFC 4514).
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The subjectKeyIdentifier, or where there is none, what it would be (RFC 5280 §4.2.1.2).
    pub(crate) fn subject_key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    pub(crate) fn not_before_s(&self) -> i64 {
        self.not_before_s
    }

    /// The last second of its validity.
    pub(crate) fn not_after_s(&self) -> i64 {
        self.not_after_s
    }

    /// How many CA certificates may stand below it; `None` is any number (RFC 5280 §4.2.1.9).
    pub(crate) fn path_len(&self) -> Option<u8> {
        self.path_len
    }

    /// The names that may stand below it; `None` is any (RFC 5280 §4.2.1.10).
    pub(crate) fn name_constraints(&self) -> Option<&NameConstraints> {
        self.name_constraints.as_ref()
    }

    /// The names of RFC 5280 §4.2.1.3 that the keyUsage extension asserts; `None` where there is no
    /// such extension, which leaves the key unrestricted.
    pub(crate) fn key_usage(&self) -> Option<BTreeSet<&'static str>> {
        let usage = self.key_usage?;
        Some(
            KEY_USAGES
                .iter()
                .filter(|(bit, _)| usage.contains(*bit))
                .map(|(_, name)| *name)
                .collect(),
        )
    }

    /// Whether what is issued below the one is below the other just as well: both are for one name,
    /// key and key identifier.
    pub(crate) fn stands_for(&self, other: &Self) -> bool {
        self.subject_der == other.subject_der
            && self.public_key == other.public_key
            && self.key_identifier == other.key_identifier
    }

    /// Whether its key may sign CRLs (RFC 5280 §4.2.1.3): a certificate without keyUsage restricts
    /// nothing.
    pub(crate) fn may_sign_crls(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.contains(KeyUsages::CRLSign))
    }

    pub(crate) fn is_self_signed(&self) -> bool {
        self.self_signed
    }

    /// Whether `self` is signed by the key of `issuer` and names it (RFC 5280 §6.1.3 (a)).
    pub(crate) fn is_issued_by(&self, issuer: &Self) -> bool {
        match issuer.public_key.pkey() {
            Some(key) => self.is_issued_by_openssl(issuer, key),
            None => self.is_issued_with_ml_dsa(issuer),
        }
    }

    fn is_issued_by_openssl(&self, issuer: &Self, key: &PKeyRef<Public>) -> bool {
        let (Ok(subject), Ok(of_issuer)) = (X509::from_der(&self.der), X509::from_der(&issuer.der))
        else {
            return false;
        };
        let issued = of_issuer.issued(&subject) == X509VerifyResult::OK
            && matches!(subject.verify(key), Ok(true));
        // A "no" stays in the thread's error queue, where TLS would take it for its own.
        drop(ErrorStack::get());
        issued
    }

    /// The same for a key that OpenSSL may not know. The names must be alike to the byte, as RFC
    /// 5280 §4.1.2.6 has a CA write them.
    fn is_issued_with_ml_dsa(&self, issuer: &Self) -> bool {
        let (Ok(certificate), Ok(signed)) =
            (Certificate::from_der(&self.der), Signed::from_der(&self.der))
        else {
            return false;
        };
        let tbs = certificate.tbs_certificate();
        let authority = extension::<AuthorityKeyIdentifier>(tbs, "authorityKeyIdentifier");
        let key_identifier = authority.map(|authority| authority?.key_identifier);
        let names_issuer = tbs.issuer().to_der().as_ref() == Ok(&issuer.subject_der)
            && key_identifier.is_ok_and(|identifier| {
                identifier.is_none_or(|found| found.as_bytes() == issuer.key_identifier)
            });
        let algorithm = SignatureAlgorithm::default_for(issuer.public_key.key_type());
        names_issuer
            && *tbs.signature() == signed.algorithm
            && signed.is_signed_by(&issuer.public_key, algorithm)
    }
}

/// The names of the bits (RFC 5280 §4.2.1.3), as configurations write them.
pub(crate) const KEY_USAGES: [(KeyUsages, &str); 9] = [
    (KeyUsages::DigitalSignature, "digitalSignature"),
    (KeyUsages::NonRepudiation, "nonRepudiation"),
    (KeyUsages::KeyEncipherment, "keyEncipherment"),
    (KeyUsages::DataEncipherment, "dataEncipherment"),
    (KeyUsages::KeyAgreement, "keyAgreement"),
    (KeyUsages::KeyCertSign, "keyCertSign"),
    (KeyUsages::CRLSign, "cRLSign"),
    (KeyUsages::EncipherOnly, "encipherOnly"),
    (KeyUsages::DecipherOnly, "decipherOnly"),
];

fn extension<'a, T>(
    tbs: &'a TbsCertificateInner,
    name: &'static str,
) -> Result<Option<T>, IssuerError>
where
    T: Decode<'a, Error = der::Error> + const_oid::AssociatedOid,
{
    let found = tbs.get_extension::<T>().map_err(|_| IssuerError::Extension(name))?;
    Ok(found.map(|(_, value)| value))
}

pub(super) fn unix_s(time: x509_cert::time::Time) -> i64 {
    // The years that DER can write fit many times over.
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
