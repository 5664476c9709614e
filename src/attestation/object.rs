//! The CBOR around a statement (WebAuthn §6.5.4), strictly.

use minicbor::decode::Error;
use minicbor::{Decoder, data::Type};

use super::AttestationError;
use crate::x509::algorithm::{Hash, KeyType, SignatureAlgorithm};

/// Certificates and a signature fit in a fraction of it.
pub(crate) const MAX_LENGTH: usize = 48 * 1024;
/// From a device to its root.
const MAX_CERTIFICATES: u64 = 8;
/// Members of a map; those that are known are fewer.
const MAX_MEMBERS: u64 = 16;

/// `COSEAlgorithmIdentifier`s. SHA-1 (-65535) is none of them.
const ES256: i64 = -7;
const RS256: i64 = -257;

/// An attestation object, read where it lies.
#[derive(Debug)]
pub(super) struct Object<'b> {
    pub(super) format: &'b str,
    pub(super) statement: Statement<'b>,
}

/// The members that some format of statement has.
#[derive(Debug, Default)]
pub(super) struct Statement<'b> {
    pub(super) ver: Option<&'b str>,
    /// A `COSEAlgorithmIdentifier`.
    pub(super) alg: Option<i64>,
    /// The certificate of what attests, then those above it.
    pub(super) x5c: Vec<&'b [u8]>,
    pub(super) sig: Option<&'b [u8]>,
    pub(super) cert_info: Option<&'b [u8]>,
    pub(super) pub_area: Option<&'b [u8]>,
}

impl<'b> Object<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Result<Self, AttestationError> {
        if bytes.len() > MAX_LENGTH {
            return Err(AttestationError::TooLong);
        }
        let mut decoder = Decoder::new(bytes);
        let (mut format, mut statement) = (None, None);
        members(&mut decoder, |name, decoder| {
            match name {
                "fmt" => format = Some(decoder.str().map_err(unreadable)?),
                "attStmt" => statement = Some(Statement::read(decoder)?),
                _ => decoder.skip().map_err(unreadable)?,
            }
            Ok(())
        })?;
        if decoder.position() != bytes.len() {
            return Err(AttestationError::Cbor("something stands behind it"));
        }
        Ok(Self {
            format: format.ok_or(AttestationError::Cbor("it has no fmt"))?,
            statement: statement.ok_or(AttestationError::Cbor("it has no attStmt"))?,
        })
    }
}

impl<'b> Statement<'b> {
    fn read(decoder: &mut Decoder<'b>) -> Result<Self, AttestationError> {
        let mut this = Self::default();
        members(decoder, |name, decoder| {
            match name {
                "ver" => this.ver = Some(decoder.str().map_err(unreadable)?),
                "alg" => this.alg = Some(decoder.i64().map_err(unreadable)?),
                "x5c" => this.x5c = certificates(decoder)?,
                "sig" => this.sig = Some(decoder.bytes().map_err(unreadable)?),
                "certInfo" => this.cert_info = Some(decoder.bytes().map_err(unreadable)?),
                "pubArea" => this.pub_area = Some(decoder.bytes().map_err(unreadable)?),
                _ => decoder.skip().map_err(unreadable)?,
            }
            Ok(())
        })?;
        Ok(this)
    }
}

impl Statement<'_> {
    /// What `alg` says, for a key of this type; `misfit` where it says something else.
    pub(super) fn algorithm(
        &self,
        key: KeyType,
        misfit: AttestationError,
    ) -> Result<SignatureAlgorithm, AttestationError> {
        match (self.alg.ok_or(AttestationError::Missing("alg"))?, key) {
            (ES256, KeyType::EcP256) => Ok(SignatureAlgorithm::Ecdsa(Hash::Sha256)),
            (RS256, KeyType::Rsa(_)) => Ok(SignatureAlgorithm::RsaPkcs1(Hash::Sha256)),
            _ => Err(misfit),
        }
    }
}

/// The byte string that `bytes` are the CBOR of, if they are that and nothing more.
pub(super) fn only_byte_string(bytes: &[u8]) -> Option<&[u8]> {
    let mut decoder = Decoder::new(bytes);
    let content = decoder.bytes().ok()?;
    (decoder.position() == bytes.len()).then_some(content)
}

/// Reads a map of a given length whose names are texts, each once.
fn members<'b>(
    decoder: &mut Decoder<'b>,
    mut read: impl FnMut(&'b str, &mut Decoder<'b>) -> Result<(), AttestationError>,
) -> Result<(), AttestationError> {
    let length = match decoder.datatype() {
        Ok(Type::Map) => decoder.map().map_err(unreadable)?,
        _ => return Err(AttestationError::Cbor("a map of known length is missing")),
    };
    let mut seen = Vec::new();
    let length = length.filter(|length| *length <= MAX_MEMBERS);
    for _ in 0..length.ok_or(AttestationError::Cbor("a map has too many members"))? {
        let name = decoder.str().map_err(unreadable)?;
        if seen.contains(&name) {
            return Err(AttestationError::Cbor("a member stands there twice"));
        }
        seen.push(name);
        read(name, decoder)?;
    }
    Ok(())
}

fn certificates<'b>(decoder: &mut Decoder<'b>) -> Result<Vec<&'b [u8]>, AttestationError> {
    let length = decoder.array().map_err(unreadable)?;
    let length = length.filter(|length| (1..=MAX_CERTIFICATES).contains(length));
    let length = length.ok_or(AttestationError::Cbor("x5c has no or too many certificates"))?;
    (0..length).map(|_| decoder.bytes().map_err(unreadable)).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn unreadable(error: Error) -> AttestationError {
    AttestationError::Cbor(if error.is_end_of_input() {
        "it ends too soon"
    } else {
        "something is not of the type that it should be, or has no length"
    })
}
