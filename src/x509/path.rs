//! Certification paths (RFC 5280 §6), judged by OpenSSL as a client would.

use openssl::error::ErrorStack;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};

use super::chain::Chain;

/// Why a CA's certificate is not trusted by whoever trusts the root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// What OpenSSL found, and of which certificate, counted from the CA's own as 1.
    #[error("certificate {place}: {reason}")]
    Invalid { place: u32, reason: String },
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
