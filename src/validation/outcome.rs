//! What an attempt comes to.

use std::time::Duration;

use crate::acme::problem::{Problem, ProblemType};

/// The result of one attempt. A problem's detail says what was asked, of whom, and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Proved(Evidence),
    /// There was an answer, and it was wrong: asking again soon is of use only if the client
    /// began too early (RFC 8555 §8.2).
    Refused(Problem),
    /// There was no answer to judge: asking again may help.
    Unreachable(Problem),
}

impl Outcome {
    /// For the metrics.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Proved(_) => "proved",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// What was asked, of whom, and what came back, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) text: String,
}

/// The two outcomes that prove nothing, while they travel as an error.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Failure {
    kind: ProblemType,
    detail: String,
    answered: bool,
}

impl Failure {
    pub(super) fn refused(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), answered: true }
    }

    pub(super) fn unreachable(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), answered: false }
    }

    /// The same, said of `what` was being done.
    pub(super) fn during(self, what: impl std::fmt::Display) -> Self {
        Self { detail: format!("{what}: {}", self.detail), ..self }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        let problem = Problem::new(failure.kind, failure.detail);
        if failure.answered { Self::Refused(problem) } else { Self::Unreachable(problem) }
    }
}

/// The beginning of what a stranger sent, fit for a log and a terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 80;
    let head = bytes.get(..SHOWN).unwrap_or(bytes);
    let ellipsis = if bytes.len() > SHOWN { "…" } else { "" };
    format!("\"{}{ellipsis}\"", head.escape_ascii())
}

/// "1 redirect", "2 redirects".
pub(super) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A duration as a person says it.
pub(super) fn seconds(span: Duration) -> String {
    format!("{} s", span.as_millis() as f64 / 1000.0)
}
