//! A CA certificate that was made elsewhere for a key that is here.

use crate::clock::Timestamp;
use crate::x509::algorithm::PublicKey;
use crate::x509::chain::{Chain, ChainError};
use crate::x509::issuer::IssuerCertificate;
use crate::x509::path::{self, PathError};
use crate::x509::subject::{Subject, SubjectError};

/// Why a certificate that came back is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("there is no certificate in it")]
    Nothing,
    #[error(
        "no certificate in it is for this key, whose key id is {expected}; they are for {found}"
    )]
    Key { expected: String, found: String },
    #[error("the certificate's subject is {found}, and not {expected}, which was asked for")]
    Subject { expected: String, found: String },
    #[error("the certificate's subject: {0}")]
    UnreadableSubject(#[from] SubjectError),
    #[error("the certificate's key usage lacks {0}")]
    KeyUsage(String),
    #[error("the certificate is not valid before {0}")]
    NotYetValid(Timestamp),
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    #[error(
        "the certificate is signed by the key itself: it is a root, and nobody signed the request"
    )]
    SelfSigned,
    #[error("the certificate of {0}, which signed that of {1}, is not there")]
    NoIssuer(String, String),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("nobody who trusts the root trusts the certificate: {0}")]
    Path(#[from] PathError),
}

/// What a CA's key must be allowed to do here.
const NEEDED: [&str; 2] = ["keyCertSign", "cRLSign"];

/// Finds among `certificates`, in whichever order they stand, the one for `public_key` and those above
/// it up to a root, and checks that they are what was asked for.
pub(crate) fn import(
    certificates: &[IssuerCertificate],
    public_key: &PublicKey,
    subject: &Subject,
    now: Timestamp,
) -> Result<Chain, ImportError> {
    let own = choose(certificates, public_key)?;
    let found = Subject::from_der(own.subject_der())?;
    if !found.names_the_same(subject) {
        let (expected, found) = (subject.to_string(), found.to_string());
        return Err(ImportError::Subject { expected, found });
    }
    if let Some(usage) = own.key_usage() {
        let lacking: Vec<_> = NEEDED.into_iter().filter(|needed| !usage.contains(needed)).collect();
        if !lacking.is_empty() {
            return Err(ImportError::KeyUsage(lacking.join(" and ")));
        }
    }
    if now.unix_s() < own.not_before_s() {
        return Err(ImportError::NotYetValid(Timestamp::from_unix_s(own.not_before_s())));
    }
    if now.unix_s() > own.not_after_s() {
        return Err(ImportError::Expired(Timestamp::from_unix_s(own.not_after_s())));
    }
    let mut path = vec![own.clone()];
    // As many as there are at most, so that two that sign each other do not lead in circles.
    for _ in certificates {
        let Some(last) = path.last().filter(|last| !last.is_self_signed()) else { break };
        let issuers = || certificates.iter().filter(|issuer| last.is_issued_by(issuer));
        // The shorter way: a root rather than a cross certificate of it.
        let issuer = issuers().find(|issuer| issuer.is_self_signed()).or_else(|| issuers().next());
        let Some(issuer) = issuer else {
            let above = last.issuer().to_owned();
            return Err(ImportError::NoIssuer(above, last.subject().to_owned()));
        };
        path.push(issuer.clone());
    }
    let chain = Chain::new(path)?;
    let root = chain.certificates().last().map(|root| root.der().to_vec()).unwrap_or_default();
    path::verify(&chain, &root, now.unix_s())?;
    Ok(chain)
}

/// The certificate for the key that another key signed.
fn choose<'a>(
    certificates: &'a [IssuerCertificate],
    public_key: &PublicKey,
) -> Result<&'a IssuerCertificate, ImportError> {
    if certificates.is_empty() {
        return Err(ImportError::Nothing);
    }
    let mut own = certificates.iter().filter(|one| one.public_key() == public_key).peekable();
    if own.peek().is_none() {
        let found = certificates.iter().map(|one| one.public_key().key_identifier_hex());
        let found = found.collect::<Vec<_>>().join(", ");
        return Err(ImportError::Key { expected: public_key.key_identifier_hex(), found });
    }
    own.find(|one| !one.is_self_signed()).ok_or(ImportError::SelfSigned)
}
