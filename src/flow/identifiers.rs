//! Which identifiers an account may have, in an order or an authorization (RFC 8555 §7.4, §7.4.1).

use std::collections::BTreeSet;

use crate::acme::account::{Account, Binding};
use crate::acme::identifier::Identifier;
use crate::acme::name_rule::NameRule;
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
    account: &Account,
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
    let bound = account.binding.as_ref().filter(|binding| !binding.allowed.is_empty());
    for AskedIdentifier { kind, value } in asked {
        let identifier = Identifier::parse(kind, value);
        match identifier.and_then(|identifier| check_binding(bound, identifier)) {
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

/// Refuses what the key that bound the account does not allow. A rule that cannot be read allows
/// nothing.
fn check_binding(bound: Option<&Binding>, identifier: Identifier) -> Result<Identifier, Problem> {
    let Some(Binding { kid, allowed, .. }) = bound else { return Ok(identifier) };
    let permits =
        |rule: &String| rule.parse::<NameRule>().is_ok_and(|rule| rule.permits(&identifier));
    if allowed.iter().any(permits) {
        return Ok(identifier);
    }
    let detail = format!(
        "{identifier} is not among the names that accounts of the external account key {kid} may \
         have: {}",
        allowed.join(", ")
    );
    Err(Problem::new(ProblemType::RejectedIdentifier, detail))
}
