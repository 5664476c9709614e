//! Certification paths (RFC 5280 §6), judged by OpenSSL as a client would.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};

use super::chain::Chain;
use super::issuer::{IssuerCertificate, IssuerError};

/// Why a CA's certificate is not trusted by whoever trusts the root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// What OpenSSL found, and of which certificate, counted from the CA's own as 1.
    #[error("certificate {place}: {reason}")]
    Invalid { place: u32, reason: String },
    #[error("certificate {place} ({subject}) is not in force")]
    NotInForce { place: usize, subject: String },
    #[error("its last certificate, {0}, is neither the root nor issued by it")]
    OtherRoot(String),
    #[error("the root {0}")]
    Root(#[from] IssuerError),
    #[error("OpenSSL could not verify it: {0}")]
    OpenSsl(String),
}

impl From<ErrorStack> for PathError {
    fn from(errors: ErrorStack) -> Self {
        Self::OpenSsl(errors.to_string())
    }
}

/// Verifies that the first certificate of `chain` leads to the self-signed `root` (DER), and that
/// all on the way are in force at `at_s`.
pub(crate) fn verify(chain: &Chain, root: &[u8], at_s: i64) -> Result<(), PathError> {
    let root_certificate = IssuerCertificate::from_der(root)?;
    let mut all = chain.certificates().chain([&root_certificate]);
    if all.any(|certificate| certificate.public_key().pkey().is_none()) {
        return verify_without_openssl(chain, &root_certificate, at_s);
    }
    let mut store = X509StoreBuilder::new()?;
    store.add_cert(X509::from_der(root)?)?;
    let mut parameters = X509VerifyParam::new()?;
    parameters.set_time(at_s);
    store.set_param(&parameters)?;
    let store = store.build();
    let mut above = Stack::new()?;
    for certificate in chain.certificates().skip(1) {
        above.push(X509::from_der(certificate.der())?)?;
    }
    let own = X509::from_der(chain.issuer().der())?;
    let mut context = X509StoreContext::new()?;
    let verdict = context.init(&store, &own, &above, |context| {
        let valid = context.verify_cert()?;
        Ok((valid, context.error(), context.error_depth()))
    });
    // A "no" stays in the thread's error queue, where TLS would take it for its own.
    drop(ErrorStack::get());
    match verdict? {
        (true, ..) => Ok(()),
        (false, error, depth) => {
            Err(PathError::Invalid { place: depth + 1, reason: error.error_string().to_owned() })
        }
    }
}

/// The same where OpenSSL does not know a key's algorithm (ML-DSA before OpenSSL 3.5): a [`Chain`] is
/// linked by signatures, names and path lengths already, so what is left is the time and the root.
fn verify_without_openssl(
    chain: &Chain,
    root: &IssuerCertificate,
    at_s: i64,
) -> Result<(), PathError> {
    let mut certificates: Vec<_> = chain.certificates().cloned().collect();
    let ends_in_root = certificates.last() == Some(root);
    let other = |top: &IssuerCertificate| PathError::OtherRoot(top.subject().to_owned());
    if !root.is_self_signed() {
        return Err(other(root));
    }
    if !ends_in_root {
        certificates.push(root.clone());
        Chain::new(certificates.clone())
            .map_err(|_| other(&certificates[certificates.len() - 2]))?;
    }
    for (certificate, place) in certificates.iter().zip(1..) {
        if !(certificate.not_before_s()..=certificate.not_after_s()).contains(&at_s) {
            let subject = certificate.subject().to_owned();
            return Err(PathError::NotInForce { place, subject });
        }
    }
    Ok(())
}

/// How many more CA certificates the whole chain allows below its first (RFC 5280 §4.2.1.9); `None`
/// is any number.
pub(crate) fn room_below(chain: &Chain) -> Option<u8> {
    chain
        .certificates()
        .zip(0u8..=u8::MAX)
        .filter_map(|(certificate, below)| {
            // Self-issued certificates do not count, but kipuka's chains have none below the root.
            Some(certificate.path_len()?.saturating_sub(below))
        })
        .min()
}
