//! An order is placed (RFC 8555 §7.4).

use super::identifiers::{AskedIdentifier, accept_identifiers};
use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::challenge::Challenge;
use crate::acme::identifier::Identifier;
use crate::acme::order::Order;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::store::{NewAuthorization, NewChallenge, NewOrder};

/// What a client orders.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewOrderRequest {
    /// In any form: what cannot be had is refused one by one, with the client's own words.
    pub(crate) identifiers: Vec<AskedIdentifier>,
    /// Whole seconds.
    pub(crate) not_before: Option<Timestamp>,
    /// Whole seconds; the last one of the validity.
    pub(crate) not_after: Option<Timestamp>,
    /// The name of a profile (draft-ietf-acme-profiles §4).
    pub(crate) profile: Option<String>,
}

/// Places an order; the same name twice counts once.
pub(crate) async fn new_order(
    context: &Context,
    authority: &Authority,
    account: &Account,
    request: NewOrderRequest,
) -> Result<Order, Error> {
    check_dates(&request)?;
    check_profile(&request)?;
    let identifiers = accept_identifiers(account, &authority.policy, &request.identifiers)?;
    let now = context.clock.now();
    let entropy = context.entropy;
    let mut authorizations = Vec::with_capacity(identifiers.len());
    for identifier in identifiers {
        let mut challenges = Vec::new();
        for kind in authority.challenges_for(&identifier) {
            challenges.push(NewChallenge { id: entropy.id()?, kind, token: entropy.token()? });
        }
        if challenges.is_empty() {
            return Err(cannot_be_proved(&identifier).into());
        }
        authorizations.push(NewAuthorization { id: entropy.id()?, identifier, challenges });
    }
    let order = NewOrder {
        id: entropy.id()?,
        ca: authority.id.clone(),
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

fn cannot_be_proved(identifier: &Identifier) -> Problem {
    let detail = format!("this CA offers no challenge that could prove {identifier}");
    let problem = Problem::new(ProblemType::RejectedIdentifier, detail);
    Problem { subproblems: vec![problem.about(identifier)], ..problem }
}

fn check_dates(request: &NewOrderRequest) -> Result<(), Problem> {
    if request.not_before.is_none() && request.not_after.is_none() {
        return Ok(());
    }
    Err(Problem::malformed("this CA sets the dates itself; leave out notBefore and notAfter"))
}

fn check_profile(request: &NewOrderRequest) -> Result<(), Problem> {
    let Some(profile) = &request.profile else { return Ok(()) };
    let detail = format!("this CA has no profile {profile:?}; leave out \"profile\"");
    Err(Problem::new(ProblemType::InvalidProfile, detail))
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
                account_url: None,
                retry: None,
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
