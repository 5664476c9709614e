//! Which identifiers an account may have, in an order or an authorization (RFC 8555 §7.4, §7.4.1).

use std::collections::BTreeMap;

use crate::acme::account::Account;
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType, Subproblem, SubproblemIdentifier};
use crate::ca::Authority;
use crate::policy::{Policy, check_binding};
use crate::x509::algorithm::KeyType;

/// An identifier object as the client wrote it (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedIdentifier {
    pub(crate) kind: String,
    pub(crate) value: String,
    /// A domain above that the client would prove instead (RFC 9444 §4.3).
    pub(crate) ancestor_domain: Option<String>,
}

/// The identifiers in normal form, each once, with the domain that the client would prove instead.
///
/// # Errors
/// What is wrong with each of them, or which rule refuses it, as subproblems (RFC 8555 §6.7.1).
pub(super) fn accept_identifiers(
    account: &Account,
    authority: &Authority,
    asked: &[AskedIdentifier],
) -> Result<BTreeMap<Identifier, Option<Identifier>>, Problem> {
    if asked.is_empty() {
        return Err(Problem::malformed("the order names no identifiers"));
    }
    let policy = &authority.policy;
    policy.check_count(asked.len()).map_err(|refusal| {
        let detail = format!("the order has {} identifiers: {refusal}", asked.len());
        Problem::new(ProblemType::RejectedIdentifier, detail)
    })?;
    let mut identifiers = BTreeMap::new();
    let mut refused = Vec::new();
    let bound = |identifier: &Identifier| {
        check_binding(account.binding.as_ref(), identifier)
            .map_err(|detail| Problem::new(ProblemType::RejectedIdentifier, detail))
    };
    for one in asked {
        let AskedIdentifier { kind, value, .. } = one;
        let accepted = read(one).and_then(|(identifier, ancestor)| {
            // Where domains stand for themselves alone, it is not used.
            let ancestor = ancestor.filter(|_| authority.subdomain_authorizations);
            // What newAuthz would refuse is not to be had by way of a name below it.
            for wanted in std::iter::once(&identifier).chain(&ancestor) {
                judge(policy, wanted)?;
                bound(wanted)?;
            }
            Ok((identifier, ancestor))
        });
        match accepted {
            Ok((identifier, ancestor)) => {
                let kept = identifiers.entry(identifier).or_insert(None);
                *kept = kept.take().or(ancestor);
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

fn read(asked: &AskedIdentifier) -> Result<(Identifier, Option<Identifier>), Problem> {
    let identifier = Identifier::parse(&asked.kind, &asked.value)?;
    let Some(text) = &asked.ancestor_domain else { return Ok((identifier, None)) };
    match Identifier::dns(text) {
        Ok(ancestor) if identifier.is_below(&ancestor) => Ok((identifier, Some(ancestor))),
        // The order may name the domain itself, too, beside the names below.
        Ok(ancestor) if identifier == ancestor => Ok((identifier, None)),
        _ => {
            let detail = format!("the ancestorDomain of {identifier} is not a domain above it");
            Err(Problem::malformed(detail))
        }
    }
}

/// Whether the policy has the CA issue it.
fn judge(policy: &Policy, identifier: &Identifier) -> Result<(), Problem> {
    policy.judge(identifier).map(drop).map_err(|refusal| {
        Problem::new(ProblemType::RejectedIdentifier, format!("{identifier}: {refusal}"))
    })
}

/// Whether all that was ordered may still be had, with the CSR's key: the policy may have become
/// stricter since.
pub(super) fn judge_again<'a>(
    policy: &Policy,
    ordered: impl IntoIterator<Item = &'a Identifier>,
    key_type: KeyType,
) -> Result<(), Problem> {
    let refused = ordered.into_iter().filter_map(|identifier| {
        judge(policy, identifier).err().map(|problem| problem.about(identifier))
    });
    if let Some(problem) = Problem::from_subproblems(refused.collect()) {
        return Err(problem);
    }
    policy.check_key(key_type).map_err(|refusal| {
        let detail = format!("the CSR's key is {key_type}: {refusal}");
        Problem::new(ProblemType::BadCsr, detail)
    })
}
