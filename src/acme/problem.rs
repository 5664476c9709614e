//! Problem documents (RFC 7807) with the types of RFC 8555 §6.7.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::identifier::Identifier;

/// The error types of RFC 8555 §6.7, in its order, then those of other documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProblemType {
    #[serde(rename = "urn:ietf:params:acme:error:accountDoesNotExist")]
    AccountDoesNotExist,
    #[serde(rename = "urn:ietf:params:acme:error:alreadyRevoked")]
    AlreadyRevoked,
    #[serde(rename = "urn:ietf:params:acme:error:badCSR")]
    BadCsr,
    #[serde(rename = "urn:ietf:params:acme:error:badNonce")]
    BadNonce,
    #[serde(rename = "urn:ietf:params:acme:error:badPublicKey")]
    BadPublicKey,
    #[serde(rename = "urn:ietf:params:acme:error:badRevocationReason")]
    BadRevocationReason,
    #[serde(rename = "urn:ietf:params:acme:error:badSignatureAlgorithm")]
    BadSignatureAlgorithm,
    #[serde(rename = "urn:ietf:params:acme:error:caa")]
    Caa,
    #[serde(rename = "urn:ietf:params:acme:error:compound")]
    Compound,
    #[serde(rename = "urn:ietf:params:acme:error:connection")]
    Connection,
    #[serde(rename = "urn:ietf:params:acme:error:dns")]
    Dns,
    #[serde(rename = "urn:ietf:params:acme:error:externalAccountRequired")]
    ExternalAccountRequired,
    #[serde(rename = "urn:ietf:params:acme:error:incorrectResponse")]
    IncorrectResponse,
    #[serde(rename = "urn:ietf:params:acme:error:invalidContact")]
    InvalidContact,
    #[serde(rename = "urn:ietf:params:acme:error:malformed")]
    Malformed,
    #[serde(rename = "urn:ietf:params:acme:error:orderNotReady")]
    OrderNotReady,
    #[serde(rename = "urn:ietf:params:acme:error:rateLimited")]
    RateLimited,
    #[serde(rename = "urn:ietf:params:acme:error:rejectedIdentifier")]
    RejectedIdentifier,
    #[serde(rename = "urn:ietf:params:acme:error:serverInternal")]
    ServerInternal,
    #[serde(rename = "urn:ietf:params:acme:error:tls")]
    Tls,
    #[serde(rename = "urn:ietf:params:acme:error:unauthorized")]
    Unauthorized,
    #[serde(rename = "urn:ietf:params:acme:error:unsupportedContact")]
    UnsupportedContact,
    #[serde(rename = "urn:ietf:params:acme:error:unsupportedIdentifier")]
    UnsupportedIdentifier,
    #[serde(rename = "urn:ietf:params:acme:error:userActionRequired")]
    UserActionRequired,
    /// draft-ietf-acme-profiles §6.3.
    #[serde(rename = "urn:ietf:params:acme:error:invalidProfile")]
    InvalidProfile,
    /// RFC 9773 §7.4.
    #[serde(rename = "urn:ietf:params:acme:error:alreadyReplaced")]
    AlreadyReplaced,
    /// draft-ietf-acme-device-attest §8.
    #[serde(rename = "urn:ietf:params:acme:error:badAttestationStatement")]
    BadAttestationStatement,
}

impl ProblemType {
    /// The last part of its URN.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AccountDoesNotExist => "accountDoesNotExist",
            Self::AlreadyRevoked => "alreadyRevoked",
            Self::BadCsr => "badCSR",
            Self::BadNonce => "badNonce",
            Self::BadPublicKey => "badPublicKey",
            Self::BadRevocationReason => "badRevocationReason",
            Self::BadSignatureAlgorithm => "badSignatureAlgorithm",
            Self::Caa => "caa",
            Self::Compound => "compound",
            Self::Connection => "connection",
            Self::Dns => "dns",
            Self::ExternalAccountRequired => "externalAccountRequired",
            Self::IncorrectResponse => "incorrectResponse",
            Self::InvalidContact => "invalidContact",
            Self::Malformed => "malformed",
            Self::OrderNotReady => "orderNotReady",
            Self::RateLimited => "rateLimited",
            Self::RejectedIdentifier => "rejectedIdentifier",
            Self::ServerInternal => "serverInternal",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedContact => "unsupportedContact",
            Self::UnsupportedIdentifier => "unsupportedIdentifier",
            Self::UserActionRequired => "userActionRequired",
            Self::InvalidProfile => "invalidProfile",
            Self::AlreadyReplaced => "alreadyReplaced",
            Self::BadAttestationStatement => "badAttestationStatement",
        }
    }

    /// The HTTP status this type is answered with unless the problem says otherwise.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::Unauthorized
            | Self::OrderNotReady
            | Self::Caa
            | Self::ExternalAccountRequired
            | Self::UserActionRequired => 403,
            Self::AlreadyReplaced => 409,
            Self::RateLimited => 429,
            Self::ServerInternal => 500,
            _ => 400,
        }
    }
}

/// A refusal, as the client reads it and as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: ProblemType,
    /// A sentence for a person: what was wrong, and what would be right.
    pub(crate) detail: String,
    pub(crate) status: u16,
    /// The algorithms that would have been accepted (RFC 8555 §6.2), with `badSignatureAlgorithm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) algorithms: Vec<String>,
    /// One entry for each identifier at fault (RFC 8555 §6.7.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) subproblems: Vec<Subproblem>,
    /// The URL that a person must visit, with `userActionRequired` (RFC 8555 §7.3.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// After how many seconds to ask again, where that is known; a header of the answer.
    #[serde(skip)]
    pub(crate) retry_after_s: Option<u32>,
}

/// A problem with one identifier (RFC 8555 §6.7.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subproblem {
    #[serde(rename = "type")]
    pub(crate) kind: ProblemType,
    pub(crate) detail: String,
    /// As the client wrote it: what was refused may have no normal form.
    pub(crate) identifier: SubproblemIdentifier,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubproblemIdentifier {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) value: String,
}

impl Problem {
    pub(crate) fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: kind.status(),
            algorithms: Vec::new(),
            subproblems: Vec::new(),
            instance: None,
            retry_after_s: None,
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Malformed, detail)
    }

    /// `rateLimited` (RFC 8555 §6.6), of which `what` says who has had how much of what; `key` is the
    /// limit's in `[limits]`.
    pub(crate) fn rate_limited(what: &str, key: &str, retry_after: Duration) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1000).max(1);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let detail = format!(
            "{what}, and that is the limit here ({key} in [limits] of kipuka.toml); try again in \
             {seconds} s"
        );
        Self { retry_after_s: Some(seconds), ..Self::new(ProblemType::RateLimited, detail) }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// One problem for several refused identifiers: itself where there is one, else `compound`
    /// unless all are of one type (RFC 8555 §6.7.1).
    pub(crate) fn from_subproblems(mut subproblems: Vec<Subproblem>) -> Option<Self> {
        let kind = subproblems.first()?.kind;
        if subproblems.len() == 1 {
            let only = subproblems.remove(0);
            return Some(Self { subproblems: vec![only.clone()], ..Self::new(kind, only.detail) });
        }
        let kind = if subproblems.iter().all(|sub| sub.kind == kind) {
            kind
        } else {
            ProblemType::Compound
        };
        let detail = format!("{} identifiers were refused; see the subproblems", subproblems.len());
        Some(Self { subproblems, ..Self::new(kind, detail) })
    }

    /// The same problem, said of `identifier` (RFC 8555 §6.7.1).
    pub(crate) fn about(&self, identifier: &Identifier) -> Subproblem {
        Subproblem {
            kind: self.kind,
            detail: self.detail.clone(),
            identifier: SubproblemIdentifier {
                kind: identifier.kind().to_owned(),
                value: identifier.value(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registry "ACME Error Types": RFC 8555 §9.7.4, and the documents that added to it.
    const REGISTERED: [&str; 29] = [
        "accountDoesNotExist",
        "alreadyRevoked",
        "badCSR",
        "badNonce",
        "badPublicKey",
        "badRevocationReason",
        "badSignatureAlgorithm",
        "caa",
        "compound",
        "connection",
        "dns",
        "externalAccountRequired",
        "incorrectResponse",
        "invalidContact",
        "malformed",
        "orderNotReady",
        "rateLimited",
        "rejectedIdentifier",
        "serverInternal",
        "tls",
        "unauthorized",
        "unsupportedContact",
        "unsupportedIdentifier",
        "userActionRequired",
        "autoRenewalCanceled",
        "unknownDelegation",
        "alreadyReplaced",
        // Of the drafts that kipuka speaks.
        "invalidProfile",
        "badAttestationStatement",
    ];

    #[test]
    fn a_type_is_read_back_only_where_a_document_defines_it() {
        let urn = |name: &str| format!("\"urn:ietf:params:acme:error:{name}\"");
        let known = REGISTERED
            .iter()
            .filter(|name| serde_json::from_str::<ProblemType>(&urn(name)).is_ok());
        // As many as there are variants: each is registered. The two are of RFC 8739 and RFC 9115.
        let source = include_str!("problem.rs");
        let variants = source.matches("#[serde(rename = \"urn:ietf:params:acme:error:").count();
        assert_eq!(known.count(), variants);
        assert_eq!(variants, REGISTERED.len() - 2);
        assert!(serde_json::from_str::<ProblemType>(&urn("other")).is_err());
    }
}
