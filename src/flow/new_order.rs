//! An order is placed (RFC 8555 §7.4).

use std::collections::BTreeSet;

use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::challenge::{Challenge, ChallengeType};
use crate::acme::identifier::Identifier;
use crate::acme::order::Order;
use crate::acme::problem::{Problem, ProblemType, Subproblem, SubproblemIdentifier};
use crate::store::{NewAuthorization, NewChallenge, NewOrder};

/// Names in one order at most: a certificate with more is a burden to everyone who reads it.
const MAX_IDENTIFIERS: usize = 100;

/// Places an order for the identifiers (`type`, `value`), in any form; the same name twice counts
/// once.
pub(crate) async fn new_order(
    context: &Context,
    account: &Account,
    asked: &[(String, String)],
) -> Result<Order, Error> {
    let identifiers = read_identifiers(asked)?;
    let now = context.clock.now();
    let entropy = context.entropy;
    let mut authorizations = Vec::with_capacity(identifiers.len());
    for identifier in identifiers {
        let mut challenges = Vec::new();
        for kind in ChallengeType::ALL {
            if kind.proves_wildcards() || !identifier.is_wildcard() {
                challenges.push(NewChallenge { id: entropy.id()?, kind, token: entropy.token()? });
            }
        }
        authorizations.push(NewAuthorization { id: entropy.id()?, identifier, challenges });
    }
    let order = NewOrder {
        id: entropy.id()?,
        ca: account.ca.clone(),
        account_id: account.id.clone(),
        created_at: now,
        expires_at: now.plus(context.limits.load().order_lifetime),
        authorizations,
    };
    context.store.create_order(&order).await?;
    tracing::info!(
        ca.id = order.ca,
        account.id = order.account_id,
        order.id = order.id,
        identifiers = order.authorizations.len(),
        "order placed"
    );
    Ok(placed(order))
}

fn read_identifiers(asked: &[(String, String)]) -> Result<BTreeSet<Identifier>, Problem> {
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
    for (kind, value) in asked {
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

fn placed(order: NewOrder) -> Order {
    let (ca, account_id, expires_at) = (order.ca, order.account_id, order.expires_at);
    let authorizations = order.authorizations.into_iter().map(|authorization| Authorization {
        id: authorization.id,
        ca: ca.clone(),
        account_id: account_id.clone(),
        identifier: authorization.identifier,
        expires_at,
        deactivated_at: None,
        concluded_by: None,
        challenges: authorization
            .challenges
            .into_iter()
            .map(|new| Challenge {
                id: new.id,
                kind: new.kind,
                token: new.token,
                begun_at: None,
                result: None,
            })
            .collect(),
    });
    Order {
        id: order.id,
        expires_at,
        processing_since: None,
        certificate_id: None,
        error: None,
        account_deactivated_at: None,
        authorizations: authorizations.collect(),
        ca,
        account_id,
    }
}
