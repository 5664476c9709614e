//! Which authorizations stand for the identifiers of an order (RFC 8555 §7.4): those that the account
//! has already, and new ones for the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::authorization::Authorization;
use crate::acme::challenge::ChallengeType;
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::store::{NewAuthorization, NewChallenge, OrderedIdentifier};

/// What an authorization must have left to live for another order: the client needs time for its CSR,
/// and for what else the order waits for.
const REUSE_MARGIN: Duration = Duration::from_secs(3600);

/// The authorizations of an order to be.
#[derive(Debug, Default)]
pub(super) struct Authorizations {
    pub(super) identifiers: Vec<OrderedIdentifier>,
    /// Those that earlier orders or pre-authorizations proved. Pending ones are never among them:
    /// with a challenge that fails, one order would bring down the other.
    pub(super) earlier: Vec<Authorization>,
    pub(super) new: Vec<NewAuthorization>,
}

impl Authorizations {
    /// Chooses for each identifier, given with the ancestor that the client would rather prove. With
    /// `reuse`, valid authorizations of the same account with the same CA come first.
    pub(super) async fn choose(
        context: &Context,
        authority: &Authority,
        account: &Account,
        wanted: BTreeMap<Identifier, Option<Identifier>>,
        reuse: bool,
    ) -> Result<Self, Error> {
        let now = context.clock.now();
        let mut chosen = Self::default();
        let known = if reuse {
            known(context, authority, account, wanted.keys(), now).await?
        } else {
            Vec::new()
        };
        for (identifier, ancestor) in wanted {
            let covers = |known: &&Authorization| {
                known.identifier == identifier
                    || (authority.subdomain_authorizations && known.covers(&identifier))
            };
            let authorization_id = if let Some(known) = known.iter().find(covers) {
                if !chosen.earlier.iter().any(|earlier| earlier.id == known.id) {
                    chosen.earlier.push(known.clone());
                }
                known.id.clone()
            } else if let Some(ancestor) = ancestor.filter(|_| authority.subdomain_authorizations) {
                let same = |new: &&NewAuthorization| new.subdomains && new.identifier == ancestor;
                match chosen.new.iter().find(same) {
                    Some(new) => new.id.clone(),
                    None => chosen.add(new_authorization(context, authority, ancestor, true)?),
                }
            } else {
                chosen.add(new_authorization(context, authority, identifier.clone(), false)?)
            };
            chosen.identifiers.push(OrderedIdentifier { identifier, authorization_id });
        }
        Ok(chosen)
    }

    fn add(&mut self, new: NewAuthorization) -> String {
        let id = new.id.clone();
        self.new.push(new);
        id
    }
}

/// The account's own valid authorizations for these identifiers and, where the CA lets them count, for
/// the names above; proved by a challenge that the CA still offers.
async fn known(
    context: &Context,
    authority: &Authority,
    account: &Account,
    identifiers: impl Iterator<Item = &Identifier>,
    now: Timestamp,
) -> Result<Vec<Authorization>, Error> {
    let reuse = context.limits.load().reuse;
    if reuse.is_zero() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for identifier in identifiers {
        names.push(identifier.to_string());
        if authority.subdomain_authorizations {
            names.extend(identifier.ancestors().map(str::to_owned));
        }
    }
    let (proved_after, until) = (now.minus(reuse), now.plus(REUSE_MARGIN));
    let mut known = context
        .store
        .valid_authorizations(&authority.id, &account.id, &names, proved_after, until)
        .await?;
    // What the CA takes for a proof may have changed since.
    known.retain(|known| {
        // A device attests one key, and a further order is for another.
        known.identifier.as_device().is_none()
            && known
                .concluding_challenge()
                .is_some_and(|challenge| authority.offers(challenge.kind))
    });
    Ok(known)
}

/// A pending authorization with a challenge of each type that can prove it. What is below a name is
/// proved by the DNS alone: whoever answers on a host need not speak for the domain (RFC 9444 §6).
pub(super) fn new_authorization(
    context: &Context,
    authority: &Authority,
    identifier: Identifier,
    subdomains: bool,
) -> Result<NewAuthorization, Error> {
    let now = context.clock.now();
    let id = || context.entropy.id_of(now.unix_ms());
    let mut challenges = Vec::new();
    for kind in authority.challenges_for(&identifier) {
        if !subdomains || matches!(kind, ChallengeType::Dns01 | ChallengeType::DnsAccount01) {
            challenges.push(NewChallenge { id: id()?, kind, token: context.entropy.token()? });
        }
    }
    if challenges.is_empty() {
        let detail = format!("this CA offers no challenge that could prove {identifier}");
        let problem = Problem::new(ProblemType::RejectedIdentifier, detail);
        return Err(Problem { subproblems: vec![problem.about(&identifier)], ..problem }.into());
    }
    // As the store lists them.
    challenges.sort_by_key(|challenge| challenge.kind.as_str());
    let expires_at = now.plus(context.limits.load().order_lifetime);
    Ok(NewAuthorization { id: id()?, identifier, subdomains, expires_at, challenges })
}

/// A new authorization as it stands when it was just kept.
pub(super) fn pending(ca: &str, account_id: &str, new: NewAuthorization) -> Authorization {
    Authorization {
        id: new.id,
        ca: ca.to_owned(),
        account_id: account_id.to_owned(),
        identifier: new.identifier,
        subdomains: new.subdomains,
        expires_at: new.expires_at,
        deactivated_at: None,
        concluded_by: None,
        challenges: new.challenges.into_iter().map(NewChallenge::pending).collect(),
    }
}
