//! An authorization is given up (RFC 8555 §7.5.2).

use super::changes::{Change, count_change};
use super::{Context, Error};
use crate::acme::authorization::{Authorization, AuthorizationStatus};
use crate::acme::problem::Problem;
use crate::ledger::{Actor, Entry, Kind};

/// Deactivates an authorization that is pending or valid.
pub(crate) async fn deactivate_authorization(
    context: &Context,
    mut authorization: Authorization,
) -> Result<Authorization, Error> {
    let now = context.clock.now();
    match authorization.status(now) {
        AuthorizationStatus::Pending | AuthorizationStatus::Valid => {
            count_change(context, Change::Authorization, &authorization.account_id)?;
            let actor = Actor::Account(authorization.account_id.clone());
            let id = authorization.id.as_str();
            let entry = Entry::new(Kind::AuthorizationDeactivated, actor, id, now)
                .ca(&authorization.ca)
                .with("identifier", authorization.identifier.to_string());
            context.store.deactivate_authorization(id, now, &entry).await?;
            authorization.deactivated_at = Some(now);
            Ok(authorization)
        }
        AuthorizationStatus::Deactivated => Ok(authorization),
        other => {
            let detail = format!("the authorization is {} and stays so", other.as_str());
            Err(Problem::malformed(detail).into())
        }
    }
}
