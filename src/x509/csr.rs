//! Certificate signing requests (RFC 2986): the key and the names that a client asks for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::{fips204, rfc5280, rfc5912, rfc8410};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::Any;
use der::{Decode, Encode, Header, Length, Reader as _, SliceReader, Tag, TagNumber, Tagged};
use openssl::error::ErrorStack;
use openssl::x509::X509Req;
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::{CertReq, ExtensionReq};

use super::algorithm::{Hash, KeyError, PssParameters, PublicKey, SignatureAlgorithm};
use super::permanent_identifier::PermanentIdentifier;
use super::signed::Signed;
use super::weak_key::{self, WeakKey};

/// Room for some two thousand names; more is no honest request.
const MAX_LENGTH: usize = 64 * 1024;

/// What a CSR may be signed with. OpenSSL verifies more, SHA-1 and MD5 among it.
const SIGNATURE_ALGORITHMS: [ObjectIdentifier; 11] = [
    rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
    rfc5912::SHA_384_WITH_RSA_ENCRYPTION,
    rfc5912::SHA_512_WITH_RSA_ENCRYPTION,
    rfc5912::ID_RSASSA_PSS,
    rfc5912::ECDSA_WITH_SHA_256,
    rfc5912::ECDSA_WITH_SHA_384,
    rfc5912::ECDSA_WITH_SHA_512,
    rfc8410::ID_ED_25519,
    fips204::ID_ML_DSA_44,
    fips204::ID_ML_DSA_65,
    fips204::ID_ML_DSA_87,
];

/// A CSR (RFC 2986 §4) that is signed by the key it holds, asks for no CA certificate, and holds a
/// key that a certificate may carry. All else it asks for is left unread (RFC 8555 §7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateRequest {
    public_key: PublicKey,
    names: AltNames,
    common_names: Vec<String>,
}

/// What a subjectAltName holds that can be certified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AltNames {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    devices: Vec<PermanentIdentifier>,
}

/// Why a CSR is refused, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsrError {
    #[error("the CSR is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the CSR is not the DER of a PKCS #10 certification request (RFC 2986)")]
    Malformed,
    #[error("the CSR cannot be used: {0}")]
    Key(#[from] KeyError),
    #[error("the CSR's key is too weak: {0}")]
    WeakKey(#[from] WeakKey),
    #[error(
        "the CSR is signed with algorithm {0}; sign it with RSA, ECDSA, Ed25519 or ML-DSA, and \
         with SHA-256 or better"
    )]
    SignatureAlgorithm(String),
    #[error("the CSR's signature is not one by the key in the CSR")]
    Signature,
    #[error("the CSR asks for a CA certificate (basicConstraints CA:TRUE); leave that out")]
    CertificateAuthority,
    #[error("the CSR has more than one list of requested extensions")]
    SecondExtensionRequest,
    #[error("the CSR requests extension {0} twice")]
    SecondExtension(String),
    #[error("the CSR's {0} cannot be read")]
    Extension(&'static str),
    #[error(
        "the CSR's subjectAltName holds a name of type {0}; only DNS names, IP addresses \
         and permanent identifiers of devices are certified here"
    )]
    NameType(&'static str),
    #[error("the CSR's common name is not a string that can be read")]
    CommonName,
}

impl CertificateRequest {
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        let (request, public_key) = signed_request(der)?;
        let extensions = requested_extensions(&request)?;
        if let Some(constraints) = value_of(&extensions, BasicConstraints::OID) {
            let constraints = BasicConstraints::from_der(constraints)
                .map_err(|_| CsrError::Extension("basicConstraints"))?;
            if constraints.ca {
                return Err(CsrError::CertificateAuthority);
            }
        }
        let names = match value_of(&extensions, rfc5280::ID_CE_SUBJECT_ALT_NAME) {
            Some(names) => alt_names(names)?,
            None => AltNames::default(),
        };
        let common_names = common_names(&request.info.subject)?;
        Ok(Self { public_key, names, common_names })
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The dNSNames of the subjectAltName (RFC 5280 §4.2.1.6) as they are written: ASCII, neither
    /// checked nor folded.
    pub(crate) fn dns_names(&self) -> &[String] {
        &self.names.dns
    }

    /// The iPAddresses of the subjectAltName, not checked.
    pub(crate) fn ip_addresses(&self) -> &[IpAddr] {
        &self.names.ip
    }

    /// The identities of devices in the subjectAltName (RFC 4043), not checked.
    pub(crate) fn permanent_identifiers(&self) -> &[PermanentIdentifier] {
        &self.names.devices
    }

    /// The common names of the subject that are not empty, as they are written. RFC 8555 §7.4 lets
    /// them name an identifier.
    pub(crate) fn common_names(&self) -> &[String] {
        &self.common_names
    }
}

/// The key of a CSR that [`CertificateRequest::from_der`] accepted before.
pub(crate) fn key_of_accepted(der: &[u8]) -> Result<PublicKey, CsrError> {
    key_of(&read(der)?)
}

/// Reads a request, whatever its version of those that X.509 knows: RFC 2986 §4.1 has only 0, but
/// there are clients that write 2, and nothing in the request is different for it.
fn read(der: &[u8]) -> Result<CertReq, CsrError> {
    let mut der = der.to_vec();
    let version = place_of_version(&der).ok().and_then(|place| der.get_mut(place));
    if let Some(version) = version
        && *version <= 2
    {
        *version = 0;
    }
    CertReq::from_der(&der).map_err(|_| CsrError::Malformed)
}

/// Where the one octet of the version is.
fn place_of_version(der: &[u8]) -> der::Result<usize> {
    let mut reader = SliceReader::new(der)?;
    for expected in [Tag::Sequence, Tag::Sequence] {
        Header::decode(&mut reader)?.tag().assert_eq(expected)?;
    }
    let header = Header::decode(&mut reader)?;
    if header != Header::new(Tag::Integer, Length::ONE) {
        return Err(header.tag().unexpected_error(Some(Tag::Integer)).into());
    }
    reader.position().try_into()
}

fn key_of(request: &CertReq) -> Result<PublicKey, CsrError> {
    let spki = request.info.public_key.to_der().map_err(|_| CsrError::Malformed)?;
    Ok(PublicKey::from_spki(&spki)?)
}

/// The request and the key that it holds, which is a strong one and signed it.
pub(super) fn signed_request(der: &[u8]) -> Result<(CertReq, PublicKey), CsrError> {
    if der.len() > MAX_LENGTH {
        return Err(CsrError::TooLong);
    }
    let request = read(der)?;
    let public_key = key_of(&request)?;
    // Before the signature: a monstrous exponent makes verifying it dear.
    weak_key::check(&public_key)?;
    check_signature_algorithm(&request.algorithm)?;
    if !is_signed_by(der, &request, &public_key)? {
        return Err(CsrError::Signature);
    }
    Ok((request, public_key))
}

fn check_signature_algorithm(algorithm: &AlgorithmIdentifierOwned) -> Result<(), CsrError> {
    let oid = algorithm.oid;
    if !SIGNATURE_ALGORITHMS.contains(&oid) {
        return Err(CsrError::SignatureAlgorithm(oid.to_string()));
    }
    // PSS names its hash function in its parameters, and means SHA-1 where it names none.
    if oid == rfc5912::ID_RSASSA_PSS {
        let parameters = algorithm.parameters.as_ref();
        let parameters = parameters.and_then(|any| any.decode_as::<PssParameters>().ok());
        if parameters.and_then(|parameters| parameters.hash()).is_none() {
            return Err(CsrError::SignatureAlgorithm(format!("{oid} with these parameters")));
        }
    }
    Ok(())
}

fn is_signed_by(der: &[u8], request: &CertReq, key: &PublicKey) -> Result<bool, CsrError> {
    let malformed = |_| CsrError::Malformed;
    let ecdsa = Hash::ALL.map(SignatureAlgorithm::Ecdsa);
    let plain = ecdsa.into_iter().find(|ecdsa| ecdsa.identifier() == request.algorithm);
    let Some(pkey) = key.pkey().filter(|_| plain.is_none()) else {
        let algorithm = plain.unwrap_or_else(|| SignatureAlgorithm::default_for(key.key_type()));
        return Ok(Signed::from_der(der).map_err(malformed)?.is_signed_by(key, algorithm));
    };
    // OpenSSL reads parameters in all their forms; it also reads the key anew, which takes several times as
    // long as to verify with it.
    let signed = X509Req::from_der(der).map_err(|_| CsrError::Malformed)?;
    let verified = matches!(signed.verify(pkey), Ok(true));
    // `verify` leaves its errors in the thread's queue, where TLS would take them for its own.
    drop(ErrorStack::get());
    Ok(verified)
}

/// The extensions asked for in the extensionRequest attribute (RFC 2985 §5.4.2), each once.
pub(super) fn requested_extensions(request: &CertReq) -> Result<Vec<Extension>, CsrError> {
    let mut lists = request
        .info
        .attributes
        .iter()
        .filter(|attribute| attribute.oid == ExtensionReq::OID)
        .flat_map(|attribute| attribute.values.iter());
    let Some(list) = lists.next() else { return Ok(Vec::new()) };
    if lists.next().is_some() {
        return Err(CsrError::SecondExtensionRequest);
    }
    let ExtensionReq(extensions) =
        list.decode_as().map_err(|_| CsrError::Extension("list of requested extensions"))?;
    let mut seen = BTreeSet::new();
    for extension in &extensions {
        if !seen.insert(extension.extn_id) {
            return Err(CsrError::SecondExtension(extension.extn_id.to_string()));
        }
    }
    Ok(extensions)
}

pub(super) fn value_of(extensions: &[Extension], oid: ObjectIdentifier) -> Option<&[u8]> {
    let extension = extensions.iter().find(|extension| extension.extn_id == oid)?;
    Some(extension.extn_value.as_bytes())
}

/// The `GeneralNames` of a subjectAltName (RFC 5280 §4.2.1.6). They are told apart by tag alone, so
/// that a refusal can say what the client asked for, whatever it holds.
fn alt_names(value: &[u8]) -> Result<AltNames, CsrError> {
    const UNREADABLE: CsrError = CsrError::Extension("subjectAltName");
    let names = Vec::<Any>::from_der(value).map_err(|_| UNREADABLE)?;
    if names.is_empty() {
        return Err(UNREADABLE);
    }
    let mut found = AltNames::default();
    for name in &names {
        let Tag::ContextSpecific { number: TagNumber(number), constructed } = name.tag() else {
            return Err(UNREADABLE);
        };
        match (number, constructed) {
            (2, false) if name.value().is_ascii() => {
                let text = String::from_utf8(name.value().to_vec()).map_err(|_| UNREADABLE)?;
                found.dns.push(text);
            }
            (7, false) => found.ip.push(ip_address(name.value()).ok_or(UNREADABLE)?),
            (0, true) => found.devices.push(other_name(name)?),
            (0, false) => return Err(CsrError::NameType("otherName")),
            (1, _) => return Err(CsrError::NameType("rfc822Name (e-mail)")),
            (3, _) => return Err(CsrError::NameType("x400Address")),
            (4, _) => return Err(CsrError::NameType("directoryName")),
            (5, _) => return Err(CsrError::NameType("ediPartyName")),
            (6, _) => return Err(CsrError::NameType("uniformResourceIdentifier")),
            (8, _) => return Err(CsrError::NameType("registeredID")),
            _ => return Err(UNREADABLE),
        }
    }
    Ok(found)
}

/// The only otherName that an order can have: a permanentIdentifier.
fn other_name(name: &Any) -> Result<PermanentIdentifier, CsrError> {
    let der = name.to_der().map_err(|_| CsrError::Extension("subjectAltName"))?;
    match GeneralName::from_der(&der) {
        Ok(GeneralName::OtherName(other)) if other.type_id == PermanentIdentifier::OID => {
            PermanentIdentifier::read(&other.value)
                .ok_or(CsrError::Extension("permanentIdentifier (RFC 4043)"))
        }
        _ => Err(CsrError::NameType("otherName")),
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

fn common_names(subject: &Name) -> Result<Vec<String>, CsrError> {
    let mut names = Vec::new();
    for attribute in subject.iter().filter(|attribute| attribute.oid == COMMON_NAME) {
        let bytes = attribute.value.value();
        let name = match attribute.value.tag() {
            Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::TeletexString => {
                String::from_utf8(bytes.to_vec()).map_err(|_| CsrError::CommonName)?
            }
            Tag::BmpString if bytes.len().is_multiple_of(2) => {
                let units =
                    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(units)
                    .collect::<Result<_, _>>()
                    .map_err(|_| CsrError::CommonName)?
            }
            _ => return Err(CsrError::CommonName),
        };
        // Some clients send "CN=" and mean none.
        if !name.is_empty() {
            names.push(name);
        }
    }
    Ok(names)
}
