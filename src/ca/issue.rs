//! From names and a key to a certificate: prepared and linted, then signed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Authority;
use crate::acme::identifier::Identifier;
use crate::clock::Timestamp;
use crate::entropy::{Entropy, NoEntropy};
use crate::signer::SignError;
use crate::x509::algorithm::PublicKey;
use crate::x509::lint::{LintError, LintedTbs, lint};
use crate::x509::serial::Serial;
use crate::x509::tbs::{Leaf, TbsError};

/// A certificate that may be signed once it is stored.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tbs: LintedTbs,
    /// In lower-case hex.
    pub(crate) serial: String,
}

/// Why there is nothing that may be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssueError {
    #[error(transparent)]
    Tbs(#[from] TbsError),
    #[error("the certificate does not pass the lint: {}", list(.0))]
    Lint(Vec<LintError>),
    #[error("the planned certificate has no serial that this CA could have made")]
    Serial,
    #[error("the planned certificate is not what this CA would plan for the order")]
    NotAsPlanned,
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// Why there is no certificate, by what can be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignFailure {
    /// Later, the same bytes may be signed.
    #[error("{0}")]
    Unavailable(String),
    /// The key is not what it should be; a person must look.
    #[error("{0}")]
    Wrong(String),
}

impl From<SignError> for SignFailure {
    fn from(error: SignError) -> Self {
        let text = error.to_string();
        match error {
            SignError::WrongSignature { .. } => Self::Wrong(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// Everything that a lint found, in one line.
pub(super) fn list(errors: &[LintError]) -> String {
    errors.iter().map(LintError::to_string).collect::<Vec<_>>().join("; ")
}

/// The dNSNames and the iPAddresses of a certificate for these identifiers (RFC 8738 §3).
fn names_of<'a>(
    identifiers: impl IntoIterator<Item = &'a Identifier>,
) -> (Vec<String>, Vec<IpAddr>) {
    let (mut dns_names, mut ip_addresses) = (Vec::new(), Vec::new());
    for identifier in identifiers {
        match identifier.as_ip() {
            Some(address) => ip_addresses.push(address),
            None => dns_names.push(identifier.to_string()),
        }
    }
    (dns_names, ip_addresses)
}

impl Authority {
    /// A certificate for identifiers of an order.
    pub(crate) fn prepare(
        &self,
        identifiers: &BTreeSet<Identifier>,
        public_key: &PublicKey,
        now: Timestamp,
        entropy: Entropy,
    ) -> Result<Prepared, IssueError> {
        let (dns_names, ip_addresses) = names_of(identifiers);
        self.prepare_names(&dns_names, &ip_addresses, public_key, now, entropy)
    }

    /// A certificate for names that need no proof: kipuka's own.
    pub(crate) fn prepare_names(
        &self,
        dns_names: &[String],
        ip_addresses: &[IpAddr],
        public_key: &PublicKey,
        now: Timestamp,
        entropy: Entropy,
    ) -> Result<Prepared, IssueError> {
        let serial = Serial::from_entropy(entropy.bytes()?);
        let leaf = self.leaf(serial, dns_names, ip_addresses, public_key);
        let tbs = leaf.tbs(now.unix_s())?;
        Ok(Prepared {
            tbs: lint(tbs.der, &leaf).map_err(IssueError::Lint)?,
            serial: serial.to_string(),
        })
    }

    /// Makes the proof anew that the planned bytes may be signed. They must be those that a plan of
    /// that time has: the lint alone would let other dates pass that the profile allows.
    pub(crate) fn lint(
        &self,
        tbs: &[u8],
        serial: &str,
        planned_at: Timestamp,
        identifiers: &[Identifier],
        public_key: &PublicKey,
    ) -> Result<LintedTbs, IssueError> {
        let serial = Serial::from_hex(serial).ok_or(IssueError::Serial)?;
        let (dns_names, ip_addresses) = names_of(identifiers);
        let leaf = self.leaf(serial, &dns_names, &ip_addresses, public_key);
        if leaf.tbs(planned_at.unix_s())?.der != tbs {
            return Err(IssueError::NotAsPlanned);
        }
        lint(tbs.to_vec(), &leaf).map_err(IssueError::Lint)
    }

    fn leaf<'a>(
        &'a self,
        serial: Serial,
        dns_names: &'a [String],
        ip_addresses: &'a [IpAddr],
        public_key: &'a PublicKey,
    ) -> Leaf<'a> {
        Leaf {
            issuer: self.chain.issuer(),
            algorithm: self.signer.algorithm(),
            profile: &self.profile,
            serial,
            public_key,
            dns_names,
            ip_addresses,
        }
    }

    /// Has the token sign, and returns the certificate's DER. Takes the proof, so that what was
    /// proved once is signed at most once.
    pub(crate) async fn sign(&self, tbs: LintedTbs) -> Result<Vec<u8>, SignFailure> {
        let signature = self.signer.sign(tbs.der().to_vec()).await?;
        tbs.assemble(&signature).map_err(|error| SignFailure::Wrong(error.to_string()))
    }
}
