//! The structures of the TPM 2.0 library specification, part 2, as far as keys and their certification
//! need them. Numbers are big-endian.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::asn1::{Any, BitString, Null, UintRef};
use der::{Encode, Sequence};
use openssl::hash::{MessageDigest, hash};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::attestation::AttestationError;
use crate::x509::algorithm::SignatureAlgorithm;

const ALG_RSA: u16 = 0x0001;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECDAA: u16 = 0x001a;
const ALG_ECC: u16 = 0x0023;
const ALG_SHA256: u16 = 0x000b;
const ALG_SHA384: u16 = 0x000c;
const ALG_SHA512: u16 = 0x000d;

const GENERATED: u32 = 0xff54_4347;
const ATTEST_CERTIFY: u16 = 0x8017;

/// Bits of `TPMA_OBJECT`.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const RESTRICTED: u32 = 1 << 16;
const SIGN: u32 = 1 << 18;

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A `TPM2B_…`: a length, and as many octets.
    fn sized(&mut self) -> Option<&'b [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// A `TPMS_ATTEST` of `TPM2_Certify`.
pub(super) struct Certified<'b> {
    /// What the caller had signed along.
    pub(super) extra_data: &'b [u8],
    /// Of the object that was certified: its nameAlg and the digest of its public area.
    pub(super) name: &'b [u8],
}

impl<'b> Certified<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        // No other structure that a TPM signs with such a key begins so.
        if reader.u32()? != GENERATED || reader.u16()? != ATTEST_CERTIFY {
            return None;
        }
        let _qualified_signer = reader.sized()?;
        let extra_data = reader.sized()?;
        let _clock_info = reader.take(17)?;
        let _firmware_version = reader.take(8)?;
        let name = reader.sized()?;
        let _qualified_name = reader.sized()?;
        reader.end()?;
        Some(Self { extra_data, name })
    }
}

/// A `TPMT_PUBLIC`.
pub(super) struct Public<'b> {
    name_algorithm: u16,
    attributes: u32,
    key: Key<'b>,
}

enum Key<'b> {
    Rsa { modulus: &'b [u8], exponent: u32 },
    Ec { curve: u16, x: &'b [u8], y: &'b [u8] },
}

impl<'b> Public<'b> {
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let kind = reader.u16()?;
        let name_algorithm = reader.u16()?;
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        // Only a parent has one: a cipher, with its key's length and mode.
        if reader.u16()? != ALG_NULL {
            reader.take(4)?;
        }
        let key = match kind {
            ALG_RSA => {
                scheme(&mut reader)?;
                let _bits = reader.u16()?;
                let exponent = reader.u32()?;
                Key::Rsa { modulus: reader.sized()?, exponent }
            }
            ALG_ECC => {
                scheme(&mut reader)?;
                let curve = reader.u16()?;
                // How to derive keys.
                scheme(&mut reader)?;
                Key::Ec { curve, x: reader.sized()?, y: reader.sized()? }
            }
            _ => return None,
        };
        reader.end()?;
        Some(Self { name_algorithm, attributes, key })
    }

    /// The name of the object whose public area has these bytes; `None` where its digest is none to
    /// rely on.
    pub(super) fn name(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let digest = match self.name_algorithm {
            ALG_SHA256 => MessageDigest::sha256(),
            ALG_SHA384 => MessageDigest::sha384(),
            ALG_SHA512 => MessageDigest::sha512(),
            _ => return None,
        };
        let digest = hash(digest, bytes).ok()?;
        Some([&self.name_algorithm.to_be_bytes()[..], &digest].concat())
    }

    /// It was made in this TPM, cannot leave it, and signs what it is given.
    pub(super) fn check_attributes(&self) -> Result<(), AttestationError> {
        let has = |bit| self.attributes & bit != 0;
        if !has(FIXED_TPM) || !has(FIXED_PARENT) {
            return Err(AttestationError::Key("may be taken out of its TPM"));
        }
        if !has(SENSITIVE_DATA_ORIGIN) {
            return Err(AttestationError::Key("was not made by its TPM"));
        }
        if has(RESTRICTED) || !has(SIGN) {
            return Err(AttestationError::Key("is not for signatures of everything"));
        }
        Ok(())
    }

    /// The DER of the key's SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Option<Vec<u8>> {
        let (algorithm, bits) = match self.key {
            Key::Rsa { modulus, exponent } => {
                // What a TPM takes for the default.
                let exponent = if exponent == 0 { 65_537 } else { exponent }.to_be_bytes();
                let key = RsaPublicKey {
                    modulus: UintRef::new(modulus).ok()?,
                    public_exponent: UintRef::new(&exponent).ok()?,
                };
                let parameters = Some(Any::encode_from(&Null).ok()?);
                let oid = rfc5912::RSA_ENCRYPTION;
                (AlgorithmIdentifierOwned { oid, parameters }, key.to_der().ok()?)
            }
            Key::Ec { curve, x, y } => {
                let (curve, length): (ObjectIdentifier, usize) = match curve {
                    3 => (rfc5912::SECP_256_R_1, 32),
                    4 => (rfc5912::SECP_384_R_1, 48),
                    5 => (rfc5912::SECP_521_R_1, 66),
                    _ => return None,
                };
                let mut point = vec![4];
                // A TPM may leave zeros in front out.
                for coordinate in [x, y] {
                    let zeros = length.checked_sub(coordinate.len())?;
                    point.extend(std::iter::repeat_n(0, zeros));
                    point.extend(coordinate);
                }
                let parameters = Some(Any::encode_from(&curve).ok()?);
                let oid = rfc5912::ID_EC_PUBLIC_KEY;
                (AlgorithmIdentifierOwned { oid, parameters }, point)
            }
        };
        let subject_public_key = BitString::from_bytes(&bits).ok()?;
        SubjectPublicKeyInfoOwned { algorithm, subject_public_key }.to_der().ok()
    }
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'b> {
    modulus: UintRef<'b>,
    public_exponent: UintRef<'b>,
}

/// A scheme and what it needs, which is a digest for most.
fn scheme(reader: &mut Reader<'_>) -> Option<()> {
    match reader.u16()? {
        ALG_NULL | ALG_RSAES => {}
        ALG_ECDAA => drop(reader.take(4)?),
        _ => drop(reader.u16()?),
    }
    Some(())
}

/// The signature of a `TPMT_SIGNATURE` by this algorithm over SHA-256, as X.509 writes it.
pub(super) fn signature(bytes: &[u8], algorithm: SignatureAlgorithm) -> Option<Vec<u8>> {
    let mut reader = Reader(bytes);
    let (kind, digest) = (reader.u16()?, reader.u16()?);
    if digest != ALG_SHA256 {
        return None;
    }
    let signature = match (kind, algorithm) {
        (ALG_RSASSA, SignatureAlgorithm::RsaPkcs1(_)) => reader.sized()?.to_vec(),
        (ALG_ECDSA, SignatureAlgorithm::Ecdsa(_)) => {
            let (r, s) = (UintRef::new(reader.sized()?).ok()?, UintRef::new(reader.sized()?).ok()?);
            EcdsaSignature { r, s }.to_der().ok()?
        }
        _ => return None,
    };
    reader.end()?;
    Some(signature)
}

/// RFC 3279 §2.2.3.
#[derive(Sequence)]
struct EcdsaSignature<'b> {
    r: UintRef<'b>,
    s: UintRef<'b>,
}
