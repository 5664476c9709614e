//! Who vouches for devices.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext};

use super::AttestationError;
use crate::x509::pem::{self, PemError};

/// Certificates between a device's and a root.
const MAX_DEPTH: i32 = 8;
/// OpenSSL's for 112 bits: no SHA-1, no RSA below 2048.
const SECURITY_LEVEL: i32 = 2;

/// The certificates that attestations are traced to. Without any, none counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots(Vec<X509>);

/// Why a file holds no roots.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("holds no PEM certificate")]
    Empty,
    #[error("holds a PEM block of type {0:?}; only CERTIFICATE blocks may be there")]
    ForeignBlock(String),
    #[error("certificate {0} is not the DER of a certificate (RFC 5280 §4.1)")]
    Malformed(usize),
}

impl Roots {
    /// Adds those of a PEM file.
    pub(crate) fn add_pem(&mut self, text: &str) -> Result<(), RootsError> {
        let blocks = pem::blocks(text)?;
        if blocks.is_empty() {
            return Err(RootsError::Empty);
        }
        for (block, place) in blocks.into_iter().zip(1..) {
            if block.label != "CERTIFICATE" {
                return Err(RootsError::ForeignBlock(block.label));
            }
            let root = X509::from_der(&block.der);
            self.0.push(root.map_err(|_| RootsError::Malformed(place))?);
        }
        Ok(())
    }

    /// The DER of the first certificate, if it leads to a root and all on the way are in force.
    pub(super) fn verify(&self, x5c: &[&[u8]], now_s: i64) -> Result<Vec<u8>, AttestationError> {
        let [leaf, above @ ..] = x5c else { return Err(AttestationError::Missing("x5c")) };
        let read = |der: &[u8]| X509::from_der(der);
        let verdict = read(leaf).and_then(|leaf| {
            let above = above.iter().map(|der| read(der)).collect::<Result<Vec<_>, _>>()?;
            Ok((leaf, above))
        });
        drop(ErrorStack::get());
        let (certificate, above) = verdict.map_err(|_| AttestationError::Unreadable("x5c"))?;
        let verdict = self.judge(&certificate, above, now_s);
        // A "no" stays in the thread's error queue, where TLS would take it for its own.
        drop(ErrorStack::get());
        match verdict {
            Ok(None) => Ok(leaf.to_vec()),
            Ok(Some(reason)) => Err(AttestationError::Chain(reason)),
            Err(error) => Err(AttestationError::Chain(error.to_string())),
        }
    }

    /// What OpenSSL has against it.
    fn judge(
        &self,
        leaf: &X509,
        above: Vec<X509>,
        now_s: i64,
    ) -> Result<Option<String>, ErrorStack> {
        let mut store = X509StoreBuilder::new()?;
        for root in &self.0 {
            store.add_cert(root.clone())?;
        }
        let mut parameters = X509VerifyParam::new()?;
        parameters.set_time(now_s);
        parameters.set_depth(MAX_DEPTH);
        parameters.set_auth_level(SECURITY_LEVEL);
        parameters.set_purpose(X509PurposeId::ANY)?;
        // A vendor's certificate for one line of devices may be what the operator trusts.
        parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        store.set_param(&parameters)?;
        let mut untrusted = Stack::new()?;
        for certificate in above {
            untrusted.push(certificate)?;
        }
        let mut context = X509StoreContext::new()?;
        let (valid, error) = context.init(&store.build(), leaf, &untrusted, |context| {
            Ok((context.verify_cert()?, context.error()))
        })?;
        Ok((!valid).then(|| error.error_string().to_owned()))
    }
}
