//! A TPM 2.0, of which nothing but its words is needed here (TPM 2.0 library specification, part 2).

use openssl::bn::{BigNum, BigNumContext};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::X509;

use super::{Cbor, Device, Statement, extension, permanent_identifier};
use crate::csr;
use crate::der::{oid, sequence, set, value};

/// What a TPM says of a key, and how its own certificate is; a test may bend it.
pub struct Certification {
    /// Bits of `TPMA_OBJECT`: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign.
    pub attributes: u32,
    /// What begins everything that a TPM signs.
    pub magic: u32,
    pub extra_data: Option<Vec<u8>>,
    /// Of which object it is said; of the key itself unless set.
    pub name: Option<Vec<u8>>,
    /// The attestation key's certificate says what it is for.
    pub is_attestation_key: bool,
    pub subject: &'static str,
}

impl Default for Certification {
    fn default() -> Self {
        Self {
            attributes: 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 18,
            magic: 0xff54_4347,
            extra_data: None,
            name: None,
            is_attestation_key: true,
            subject: "",
        }
    }
}

impl Device<'_> {
    pub fn tpm(&self) -> Statement {
        self.tpm_with(&Certification::default(), &csr::p256())
    }

    /// By an attestation key of type EC P-256 or RSA.
    pub fn tpm_with(&self, said: &Certification, own: &PKey<Private>) -> Statement {
        let public = public_area(self.key, said.attributes);
        let name = said.name.clone();
        let name = name.unwrap_or_else(|| [&[0, 0x0b][..], &sha256(&public)].concat());
        let extra = said.extra_data.clone();
        let extra = extra.unwrap_or_else(|| sha256(self.key_authorization.as_bytes()).to_vec());
        let certified = [
            &said.magic.to_be_bytes()[..],
            &[0x80, 0x17],
            &sized(&[0; 34]),
            &sized(&extra),
            &[0; 17],
            &[0; 8],
            &sized(&name),
            &sized(&[0; 34]),
        ]
        .concat();
        let mut signer = Signer::new(MessageDigest::sha256(), own).unwrap();
        let signature = signer.sign_oneshot_to_vec(&certified).unwrap();
        let (algorithm, signature) = if own.ec_key().is_ok() {
            let signature = EcdsaSig::from_der(&signature).unwrap();
            let parts = [signature.r().to_vec_padded(32), signature.s().to_vec_padded(32)];
            let parts = parts.map(|part| sized(&part.unwrap()));
            (-7, [&[0, 0x18, 0, 0x0b][..], &parts.concat()].concat())
        } else {
            (-257, [&[0, 0x14, 0, 0x0b][..], &sized(&signature)].concat())
        };
        let members = vec![
            ("ver", Cbor::Text("2.0".to_owned())),
            ("alg", Cbor::Int(algorithm)),
            ("x5c", self.chain(&self.certificate(own, said))),
            ("sig", Cbor::Bytes(signature)),
            ("certInfo", Cbor::Bytes(certified)),
            ("pubArea", Cbor::Bytes(public)),
        ];
        Statement { format: "tpm", members }
    }

    /// Of the attestation key (WebAuthn §8.3.1).
    pub(super) fn certificate<T: HasPublic>(&self, own: &PKeyRef<T>, said: &Certification) -> X509 {
        let attribute =
            |id: &str, text: &str| set(&[sequence(&[oid(id), value(0x0c, text.as_bytes())])]);
        let hardware = sequence(&[
            attribute("2.23.133.2.1", "id:54455354"),
            attribute("2.23.133.2.2", "test TPM"),
            attribute("2.23.133.2.3", "id:00010002"),
        ]);
        let names = sequence(&[value(0xa4, &hardware), permanent_identifier(self.serial)]);
        let usage = if said.is_attestation_key { "2.23.133.8.3" } else { "1.3.6.1.5.5.7.3.2" };
        let extensions = vec![
            extension("2.5.29.17", true, &names),
            extension("2.5.29.37", false, &sequence(&[oid(usage)])),
        ];
        self.certify(own, said.subject, extensions)
    }
}

/// A `TPMT_PUBLIC` of an EC P-256 or RSA key.
fn public_area(key: &PKey<Private>, attributes: u32) -> Vec<u8> {
    let kind: u16 = if key.ec_key().is_ok() { 0x0023 } else { 0x0001 };
    let head = [&kind.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0]].concat();
    let rest = match key.ec_key() {
        Ok(key) => {
            let mut context = BigNumContext::new().unwrap();
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
            let [x, y] = [x, y].map(|part| sized(&part.to_vec_padded(32).unwrap()));
            // No cipher, ECDSA with SHA-256, P-256, no derivation.
            [&[0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10][..], &x, &y].concat()
        }
        Err(_) => {
            let modulus = key.rsa().unwrap().n().to_vec();
            let bits = u16::try_from(modulus.len() * 8).unwrap().to_be_bytes();
            // No cipher, any scheme; the usual exponent is written as 0.
            [&[0, 0x10, 0, 0x10][..], &bits, &[0; 4], &sized(&modulus)].concat()
        }
    };
    [head, rest].concat()
}

/// A `TPM2B_…`.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
