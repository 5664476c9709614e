//! Which identifiers an account may have, in an order or an authorization (RFC 8555 §7.4, §7.4.1).

use std::collections::BTreeSet;

use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType, Subproblem, SubproblemIdentifier};

/// Names in one order at most: a certificate with more is a burden to everyone who reads it.
const MAX_IDENTIFIERS: usize = 100;

/// An identifier object as the client wrote it (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedIdentifier {
    pub(crate) kind: String,
    pub(crate) value: String,
}

/// The identifiers in normal form, each once.
///
/// # Errors
/// What is wrong with each of them, as subproblems (RFC 8555 §6.7.1).
pub(super) fn accept_identifiers(
    asked: &[AskedIdentifier],
) -> Result<BTreeSet<Identifier>, Problem> {
    if asked.is_empty() {
        return Err(Problem::malformed("the order names no identifiers"));
    }
    if asked.len() > MAX_IDENTIFIERS {
        let detail = format!(
            "the order has {} identifiers; at most {MAX_IDENTIFIERS} are taken",
            asked.len()
        );
        return Err(Problem::new(ProblemType::RejectedIdentifier, detail));
    }
    let mut identifiers = BTreeSet::new();
    let mut refused = Vec::new();
    for AskedIdentifier { kind, value } in asked {
        match Identifier::parse(kind, value) {
            Ok(identifier) => {
                identifiers.insert(identifier);
            }
            Err(problem) => refused.push(Subproblem {
                kind: problem.kind,
                detail: problem.detail,
                identifier: SubproblemIdentifier { kind: kind.clone(), value: value.clone() },
            }),
        }
    }
    match Problem::from_subproblems(refused) {
        None => Ok(identifiers),
        Some(problem) => Err(problem),
    }
}
