//! Challenges (RFC 8555 §7.1.5, §8).

use super::identifier::Identifier;
use super::problem::Problem;
use crate::clock::Timestamp;

/// The ways to prove control of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChallengeType {
    /// RFC 8555 §8.3.
    Http01,
    /// RFC 8555 §8.4.
    Dns01,
    /// RFC 8737.
    TlsAlpn01,
    /// draft-ietf-acme-dns-account-label.
    DnsAccount01,
    /// draft-sheurich-acme-dns-persist.
    DnsPersist01,
    /// draft-ietf-acme-device-attest.
    DeviceAttest01,
}

impl ChallengeType {
    pub(crate) const ALL: [Self; 6] = [
        Self::Http01,
        Self::Dns01,
        Self::TlsAlpn01,
        Self::DnsAccount01,
        Self::DnsPersist01,
        Self::DeviceAttest01,
    ];

    /// Those of published RFCs, which every client can be trusted to read.
    pub(crate) const STANDARD: [Self; 3] = [Self::Http01, Self::Dns01, Self::TlsAlpn01];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::DnsAccount01 => "dns-account-01",
            Self::DnsPersist01 => "dns-persist-01",
            Self::DeviceAttest01 => "device-attest-01",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether this way can prove control of the identifier: of every name below a domain, as a
    /// wildcard asks, only DNS does (RFC 8555 §8.3, §8.4), and of an address DNS does not (RFC 8738 §7).
    /// A device speaks for itself.
    pub(crate) fn proves(self, identifier: &Identifier) -> bool {
        match self {
            Self::DeviceAttest01 => identifier.as_device().is_some(),
            Self::Http01 | Self::TlsAlpn01 => {
                !identifier.is_wildcard() && identifier.as_device().is_none()
            }
            Self::Dns01 | Self::DnsAccount01 | Self::DnsPersist01 => {
                identifier.dns_name().is_some()
            }
        }
    }
}

/// What is known of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) id: String,
    pub(crate) kind: ChallengeType,
    pub(crate) token: String,
    /// When the client said that it is ready.
    pub(crate) begun_at: Option<Timestamp>,
    /// The account's URL as the client wrote it when it said so.
    pub(crate) account_url: Option<String>,
    /// While the validation is tried again: what went wrong, with an entry for each query that
    /// failed (RFC 8555 §8.2), and when the next one is due.
    pub(crate) retry: Option<Retry>,
    /// The SHA-256 of the SubjectPublicKeyInfo that a device attested, in hex: the authorization is good
    /// for a certificate of that key alone.
    pub(crate) attested_key: Option<String>,
    pub(crate) result: Option<ChallengeResult>,
}

/// A validation that is to be tried again (RFC 8555 §8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) problem: Problem,
    pub(crate) at: Timestamp,
}

/// How the validation ended; written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeResult {
    Proved { at: Timestamp },
    Failed { problem: Problem },
}

/// The status of a challenge (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChallengeStatus<'a> {
    Pending,
    Processing,
    /// Begun, and then another challenge decided, or the authorization was given up or expired: it
    /// will not be validated any more. To the client it is `invalid`.
    Overtaken,
    Valid {
        at: Timestamp,
    },
    Invalid {
        problem: &'a Problem,
    },
}

impl ChallengeStatus<'_> {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Valid { .. } => "valid",
            Self::Invalid { .. } | Self::Overtaken => "invalid",
        }
    }
}

impl Challenge {
    /// The status by itself; `Authorization::challenge_status` knows what became of the others.
    pub(crate) fn status(&self) -> ChallengeStatus<'_> {
        match (&self.result, self.begun_at) {
            (Some(ChallengeResult::Proved { at }), _) => ChallengeStatus::Valid { at: *at },
            (Some(ChallengeResult::Failed { problem }), _) => ChallengeStatus::Invalid { problem },
            (None, Some(_)) => ChallengeStatus::Processing,
            (None, None) => ChallengeStatus::Pending,
        }
    }
}
