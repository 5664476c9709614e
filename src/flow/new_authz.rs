//! An authorization is asked for before any order needs it (RFC 8555 §7.4.1).

use super::authorize::{new_authorization, pending};
use super::identifiers::{AskedIdentifier, accept_identifiers};
use super::new_order::{caps, check_account};
use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::ledger::{Actor, Entry, Kind};

/// Makes a pending authorization, with `subdomains` for the names below, too, where the CA lets that
/// count (RFC 9444 §4.2). Later orders of the account use it while it is valid.
pub(crate) async fn new_authz(
    context: &Context,
    authority: &Authority,
    account: &Account,
    asked: AskedIdentifier,
    subdomains: bool,
) -> Result<Authorization, Error> {
    if context.limits.load().reuse.is_zero() {
        let detail =
            "authorizations are not reused here, so there is no use for one without an order";
        return Err(Problem::malformed(detail).with_status(404).into());
    }
    // RFC 8555 §7.4.1 wants 403 of what the server is unwilling to issue for.
    let accepted =
        accept_identifiers(account, authority, &[asked]).map_err(|problem| match problem.kind {
            ProblemType::Malformed => problem,
            _ => problem.with_status(403),
        })?;
    let Some((identifier, _)) = accepted.into_iter().next() else {
        return Err(Error::Failed("one identifier was accepted and is not there".to_owned()));
    };
    if identifier.is_wildcard() {
        let detail = "a wildcard is authorized by an order alone (RFC 8555 §7.4.1): order it";
        return Err(Problem::new(ProblemType::RejectedIdentifier, detail).with_status(403).into());
    }
    if identifier.as_device().is_some() {
        let detail = "a device attests the key of one order, so no other could use it: order it";
        return Err(Problem::new(ProblemType::RejectedIdentifier, detail).with_status(403).into());
    }
    let subdomains =
        subdomains && authority.subdomain_authorizations && identifier.dns_name().is_some();
    let new = new_authorization(context, authority, identifier, subdomains)?;
    let now = context.clock.now();
    let actor = Actor::Account(account.id.clone());
    let entry = Entry::new(Kind::AuthorizationCreated, actor, new.id.as_str(), now)
        .ca(&authority.id)
        .with("identifier", new.identifier.to_string())
        .with("subdomains", subdomains);
    let caps = caps(&context.limits.load().accounts);
    let (ca, id) = (&authority.id, &account.id);
    if context.at_cap.was_refused(id, now) {
        check_account(context, account, 0, std::slice::from_ref(&new)).await?;
    }
    if !context.store.create_authorization(ca, id, &new, caps, &entry).await? {
        check_account(context, account, 0, std::slice::from_ref(&new)).await?;
        return Err(Error::Failed("an authorization was refused within the limits".to_owned()));
    }
    tracing::info!(
        ca.id = authority.id,
        account.id = account.id,
        authorization.id = new.id,
        identifier = %new.identifier,
        subdomains,
        "authorization asked for"
    );
    Ok(pending(&authority.id, &account.id, new))
}
