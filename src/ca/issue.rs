//! From names and a key to a certificate: prepared and linted, then signed.

use std::net::IpAddr;

use tracing::Instrument as _;

use super::Authority;
use crate::acme::identifier::Identifier;
use crate::clock::Timestamp;
use crate::entropy::{Entropy, NoEntropy};
use crate::signer::SignError;
use crate::telemetry::traces;
use crate::x509::algorithm::PublicKey;
use crate::x509::dates::RequestedDates;
use crate::x509::lint::{LintError, LintedTbs, lint};
use crate::x509::permanent_identifier::PermanentIdentifier;
use crate::x509::profile::Profile;
use crate::x509::serial::Serial;
use crate::x509::tbs::{Leaf, TbsError};

/// What a certificate is to be, but for its serial and the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) identifiers: &'a [Identifier],
    pub(crate) public_key: &'a PublicKey,
    pub(crate) profile: &'a Profile,
    pub(crate) dates: RequestedDates,
}

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
    #[error("the planned certificate has expired before it was signed")]
    Expired,
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

/// What stands in a certificate's subjectAltName.
#[derive(Default)]
struct Names {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    devices: Vec<PermanentIdentifier>,
}

impl Names {
    /// Those of a certificate for these identifiers (RFC 8738 §3; draft-ietf-acme-device-attest §3.2).
    fn of<'a>(identifiers: impl IntoIterator<Item = &'a Identifier>) -> Self {
        let mut names = Self::default();
        for identifier in identifiers {
            if let Some(address) = identifier.as_ip() {
                names.ip.push(address);
            } else if let Some((device, assigner)) = identifier.as_device() {
                let (value, assigner) = (device.to_owned(), assigner.map(str::to_owned));
                names.devices.push(PermanentIdentifier { value, assigner });
            } else {
                names.dns.push(identifier.to_string());
            }
        }
        names
    }
}

impl Authority {
    /// A certificate as an order wants it.
    pub(crate) fn prepare(
        &self,
        wanted: &Wanted<'_>,
        now: Timestamp,
        entropy: Entropy,
    ) -> Result<Prepared, IssueError> {
        let names = Names::of(wanted.identifiers);
        let serial = Serial::from_entropy(entropy.bytes()?);
        self.prepare_leaf(&self.leaf(serial, wanted, &names), now)
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
        let wanted = Wanted {
            identifiers: &[],
            public_key,
            profile: &self.profile,
            dates: RequestedDates::default(),
        };
        let names =
            Names { dns: dns_names.to_vec(), ip: ip_addresses.to_vec(), devices: Vec::new() };
        self.prepare_leaf(&self.leaf(serial, &wanted, &names), now)
    }

    fn prepare_leaf(&self, leaf: &Leaf<'_>, now: Timestamp) -> Result<Prepared, IssueError> {
        let tbs = leaf.tbs(now.unix_s())?;
        Ok(Prepared {
            tbs: lint(tbs.der, leaf).map_err(IssueError::Lint)?,
            serial: leaf.serial.to_string(),
        })
    }

    /// Makes the proof anew that the planned bytes may be signed. They must be those that a plan of
    /// that time has: the lint alone would let other dates pass that the profile allows.
    pub(crate) fn lint(
        &self,
        tbs: &[u8],
        serial: &str,
        wanted: &Wanted<'_>,
        planned_at: Timestamp,
        now: Timestamp,
    ) -> Result<LintedTbs, IssueError> {
        let serial = Serial::from_hex(serial).ok_or(IssueError::Serial)?;
        let names = Names::of(wanted.identifiers);
        let leaf = self.leaf(serial, wanted, &names);
        let planned = leaf.tbs(planned_at.unix_s())?;
        if planned.der != tbs {
            return Err(IssueError::NotAsPlanned);
        }
        if planned.not_after_s < now.unix_s() {
            return Err(IssueError::Expired);
        }
        lint(planned.der, &leaf).map_err(IssueError::Lint)
    }

    fn leaf<'a>(&'a self, serial: Serial, wanted: &Wanted<'a>, names: &'a Names) -> Leaf<'a> {
        Leaf {
            issuer: self.chain.issuer(),
            algorithm: self.signer.algorithm(),
            profile: wanted.profile,
            serial,
            public_key: wanted.public_key,
            dates: wanted.dates,
            dns_names: &names.dns,
            ip_addresses: &names.ip,
            devices: &names.devices,
        }
    }

    /// Has the token sign, and returns the certificate's DER. Takes the proof, so that what was
    /// proved once is signed at most once.
    pub(crate) async fn sign(&self, tbs: LintedTbs) -> Result<Vec<u8>, SignFailure> {
        let span = tracing::trace_span!(target: traces::ONLY, "sign", ca.id = self.id);
        let signature = self.signer.sign(tbs.der().to_vec()).instrument(span).await?;
        tbs.assemble(&signature).map_err(|error| SignFailure::Wrong(error.to_string()))
    }
}
