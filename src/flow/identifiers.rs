//! Which identifiers an account may have, in an order or an authorization (RFC 8555 §7.4, §7.4.1).

use std::collections::BTreeSet;

use crate::acme::account::{Account, Binding};
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType, Subproblem, SubproblemIdentifier};
use crate::policy::{NamePattern, Policy};

/// An identifier object as the client wrote it (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedIdentifier {
    pub(crate) kind: String,
    pub(crate) value: String,
}

/// The identifiers in normal form, each once.
///
/// # Errors
/// What is wrong with each of them, or which rule refuses it, as subproblems (RFC 8555 §6.7.1).
pub(super) fn accept_identifiers(
    account: &Account,
    policy: &Policy,
    asked: &[AskedIdentifier],
) -> Result<BTreeSet<Identifier>, Problem> {
    if asked.is_empty() {
        return Err(Problem::malformed("the order names no identifiers"));
    }
    policy.check_count(asked.len()).map_err(|refusal| {
        let detail = format!("the order has {} identifiers: {refusal}", asked.len());
        Problem::new(ProblemType::RejectedIdentifier, detail)
    })?;
    let mut identifiers = BTreeSet::new();
    let mut refused = Vec::new();
    let bound = account.binding.as_ref().filter(|binding| !binding.allowed.is_empty());
    for AskedIdentifier { kind, value } in asked {
        let accepted = Identifier::parse(kind, value)
            .and_then(|identifier| judge(policy, &identifier).map(|()| identifier))
            .and_then(|identifier| check_binding(bound, &identifier).map(|()| identifier));
        match accepted {
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
fn check_binding(bound: Option<&Binding>, identifier: &Identifier) -> Result<(), Problem> {
    let Some(Binding { kid, allowed, .. }) = bound else { return Ok(()) };
    let permits =
        |rule: &String| rule.parse::<NamePattern>().is_ok_and(|rule| rule.covers(identifier));
    if allowed.iter().any(permits) {
        return Ok(());
    }
    let detail = format!(
        "{identifier} is not among the names that accounts of the external account key {kid} may \
         have: {}",
        allowed.join(", ")
    );
    Err(Problem::new(ProblemType::RejectedIdentifier, detail))
}

/// Whether the policy has the CA issue it.
fn judge(policy: &Policy, identifier: &Identifier) -> Result<(), Problem> {
    policy.judge(identifier).map(drop).map_err(|refusal| {
        Problem::new(ProblemType::RejectedIdentifier, format!("{identifier}: {refusal}"))
    })
}

/// Whether all that was ordered may still be had: the policy may have become stricter since.
pub(super) fn judge_again(policy: &Policy, ordered: &BTreeSet<Identifier>) -> Result<(), Problem> {
    let refused = ordered.iter().filter_map(|identifier| {
        judge(policy, identifier).err().map(|problem| problem.about(identifier))
    });
    Problem::from_subproblems(refused.collect()).map_or(Ok(()), Err)
}
