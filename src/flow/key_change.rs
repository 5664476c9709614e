//! An account gets another key (RFC 8555 §7.3.5).

use super::changes::{Change, count_change};
use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::problem::{Problem, ProblemType};
use crate::jose::jwk::Jwk;
use crate::ledger::{Actor, Entry, Kind};
use crate::store::KeyChanged;

/// What became of the wish.
#[derive(Debug)]
pub(crate) enum NewKey {
    /// The account as it is now.
    Taken(Box<Account>),
    /// The key has an account already, with this id.
    InUse(String),
}

/// Gives the account `new_key`, whose holder has asked for it, in the place of `old_key`.
pub(crate) async fn change_key(
    context: &Context,
    account: Account,
    old_key: &Jwk,
    new_key: &Jwk,
) -> Result<NewKey, Error> {
    if old_key.canonical_json() != account.jwk {
        let detail = "\"oldKey\" is not the account's key";
        return Err(Problem::malformed(detail).into());
    }
    count_change(context, Change::Account, &account.id)?;
    let (jwk, thumbprint) = (new_key.canonical_json(), new_key.thumbprint());
    let actor = Actor::Account(account.id.clone());
    let now = context.clock.now();
    let entry = Entry::new(Kind::AccountKeyChanged, actor, account.id.as_str(), now)
        .ca(&account.ca)
        .with("old_thumbprint", account.thumbprint.as_str())
        .with("thumbprint", thumbprint.as_str());
    match context.store.change_key(&account, &jwk, &thumbprint, &entry).await? {
        KeyChanged::Done => {
            tracing::info!(
                ca.id = account.ca,
                account.id = account.id,
                old_thumbprint = account.thumbprint,
                thumbprint,
                "account key changed"
            );
            Ok(NewKey::Taken(Box::new(Account { jwk, thumbprint, ..account })))
        }
        KeyChanged::Taken(holder) => Ok(NewKey::InUse(holder)),
        KeyChanged::Stale => {
            let detail = "the account's key was changed by another request meanwhile";
            Err(Problem::new(ProblemType::Unauthorized, detail).into())
        }
    }
}
