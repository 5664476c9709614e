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
}

impl ChallengeType {
    pub(crate) const ALL: [Self; 3] = [Self::Http01, Self::Dns01, Self::TlsAlpn01];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether this way can prove control of the identifier: of every name below a domain, as a
    /// wildcard asks, only DNS does (RFC 8555 §8.3, §8.4), and of an address DNS does not (RFC 8738 §7).
    pub(crate) fn proves(self, identifier: &Identifier) -> bool {
        match self {
            Self::Http01 | Self::TlsAlpn01 => !identifier.is_wildcard(),
            Self::Dns01 => identifier.dns_name().is_some(),
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
    pub(crate) result: Option<ChallengeResult>,
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
    Valid { at: Timestamp },
    Invalid { problem: &'a Problem },
}

impl ChallengeStatus<'_> {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Valid { .. } => "valid",
            Self::Invalid { .. } => "invalid",
        }
    }
}

impl Challenge {
    pub(crate) fn status(&self) -> ChallengeStatus<'_> {
        match (&self.result, self.begun_at) {
            (Some(ChallengeResult::Proved { at }), _) => ChallengeStatus::Valid { at: *at },
            (Some(ChallengeResult::Failed { problem }), _) => ChallengeStatus::Invalid { problem },
            (None, Some(_)) => ChallengeStatus::Processing,
            (None, None) => ChallengeStatus::Pending,
        }
    }
}
