//! Whose request it is (RFC 8555 §6.2, §6.4, §6.5): signature, nonce and account, in an order in which
//! nobody without a key can make the database write.
//!
//! An account is remembered as it was last read, and so is what verifies its signatures; neither is
//! trusted for long. The nonce is spent only if the account still is what was remembered, which the
//! database is asked for each request, so that a key that was changed or an account that was deactivated
//! anywhere is refused by every instance from the next request on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Acme;
use super::problem::AcmeError;
use super::request::problem_of;
use super::resource::Resource;
use crate::acme::account::{Account, AccountStatus};
use crate::acme::nonce::Nonce;
use crate::acme::problem::{Problem, ProblemType};
use crate::flow::Error;
use crate::jose::jwk::Jwk;
use crate::jose::jws::{Jws, KeyReference};
use crate::jose::verify::{Algorithm, Verifier};

/// Accounts and verifiers kept at most, each of a kilobyte or two.
const MAX_KEPT: usize = 5_000;

/// The signature of a request's JWS is not that of its key.
const WRONG_SIGNATURE: &str = "the JWS's signature is not the key's";
const USED_BEFORE: &str = "the nonce was used before";

/// Checks a request that an account signed, and spends its nonce.
pub(super) async fn by_account(
    acme: &Acme,
    resource: &Resource,
    jws: Jws,
) -> Result<(Account, Jws), AcmeError> {
    let KeyReference::Kid(kid) = jws.key() else {
        return Err(Problem::malformed("the JWS names no account").into());
    };
    let id = resource.links.account_id(kid).ok_or_else(unknown_account)?.to_owned();
    let ca = resource.authority.id.as_str();
    let (known, fresh) = match acme.known.account(ca, &id) {
        Some(known) => (known, false),
        None => (read_account(acme, ca, &id).await?, true),
    };
    let nonce = open_nonce(acme, resource, &jws)?;
    let (verdict, jws) = verify_by(acme, &known, jws).await?;
    let (known, jws) = match verdict {
        Ok(()) => (known, jws),
        Err(problem) if fresh => return Err(problem.into()),
        // The key may have been changed since it was read.
        Err(_) => {
            let known = read_account(acme, ca, &id).await?;
            let (verdict, jws) = verify_by(acme, &known, jws).await?;
            verdict?;
            (known, jws)
        }
    };
    // Once it is known who asks, and before the database is written to: nobody else can use up what an
    // account may ask, and its nonce is good for another try.
    acme.admission.admit_account(&known.account.id)?;
    let account = spend_for(acme, known, nonce).await?;
    Ok((account, jws))
}

/// Checks a request that a key signed which need not have an account, and spends its nonce.
pub(super) async fn by_key(
    acme: &Acme,
    resource: &Resource,
    key: &Jwk,
    jws: Jws,
) -> Result<Jws, AcmeError> {
    let nonce = open_nonce(acme, resource, &jws)?;
    let jws = verify(acme, key, jws, WRONG_SIGNATURE).await?;
    match acme.context.store.spend_nonce(nonce).await? {
        true => acme.context.metrics.acme.nonce_spent(),
        false => return Err(bad_nonce(acme, USED_BEFORE)),
    }
    Ok(jws)
}

/// Checks the signature; one that is not `key`'s is refused with this sentence.
pub(super) async fn verify(
    acme: &Acme,
    key: &Jwk,
    jws: Jws,
    wrong: &str,
) -> Result<Jws, AcmeError> {
    // Not kept: anybody can sign with a new key each time, and would have those of accounts forgotten.
    let verifier = match acme.known.verifier(&key.thumbprint(), jws.algorithm()) {
        Some(verifier) => verifier,
        None => new_verifier(key, jws.algorithm())?,
    };
    let (right, jws) = run(verifier, jws).await?;
    if right { Ok(jws) } else { Err(Problem::new(ProblemType::Unauthorized, wrong).into()) }
}

/// An account as it was read from the store, with its key.
pub(super) struct KnownAccount {
    account: Account,
    key: Jwk,
}

async fn read_account(acme: &Acme, ca: &str, id: &str) -> Result<Arc<KnownAccount>, AcmeError> {
    let account = acme.context.store.account(ca, id).await?;
    let account = valid(account.ok_or_else(unknown_account)?)?;
    let key = Jwk::from_json(&account.jwk)
        .map_err(|error| Error::Failed(format!("account {}: {error}", account.id)))?;
    let known = Arc::new(KnownAccount { account, key });
    acme.known.keep(Arc::clone(&known));
    Ok(known)
}

fn unknown_account() -> AcmeError {
    let detail = "the \"kid\" is not the URL of an account of this CA";
    Problem::new(ProblemType::AccountDoesNotExist, detail).into()
}

fn valid(account: Account) -> Result<Account, Problem> {
    match account.status() {
        AccountStatus::Valid => Ok(account),
        AccountStatus::Deactivated => {
            let problem = Problem::new(ProblemType::Unauthorized, "the account was deactivated");
            // RFC 8555 §7.3.6.
            Err(problem.with_status(401))
        }
    }
}

/// The nonce, if it is one of the CA's that has not expired; it may have been spent.
fn open_nonce(acme: &Acme, resource: &Resource, jws: &Jws) -> Result<Nonce, AcmeError> {
    let nonce = jws.nonce().ok_or_else(|| bad_nonce(acme, "the JWS has no nonce"))?;
    acme.nonces
        .open(&resource.authority.id, acme.context.clock.now(), nonce)
        .ok_or_else(|| bad_nonce(acme, "the nonce is not one of this CA's, or has expired"))
}

fn bad_nonce(acme: &Acme, detail: &str) -> AcmeError {
    acme.context.metrics.acme.nonce_refused();
    Problem::new(ProblemType::BadNonce, detail).into()
}

/// Whether the signature is the account's, and if not, what to say.
async fn verify_by(
    acme: &Acme,
    known: &KnownAccount,
    jws: Jws,
) -> Result<(Result<(), Problem>, Jws), AcmeError> {
    let KnownAccount { account, key } = known;
    let (thumbprint, algorithm) = (account.thumbprint.as_str(), jws.algorithm());
    let kept = acme.known.verifier(thumbprint, algorithm);
    let is_new = kept.is_none();
    let verifier = match kept.map_or_else(|| new_verifier(key, algorithm), Ok) {
        Ok(verifier) => verifier,
        Err(problem) => return Ok((Err(problem), jws)),
    };
    let (right, jws) = run(Arc::clone(&verifier), jws).await?;
    if right && is_new {
        acme.known.keep_verifier(thumbprint, algorithm, verifier);
    }
    let wrong = || Problem::new(ProblemType::Unauthorized, WRONG_SIGNATURE);
    Ok((if right { Ok(()) } else { Err(wrong()) }, jws))
}

fn new_verifier(key: &Jwk, algorithm: Algorithm) -> Result<Arc<Verifier>, Problem> {
    Verifier::new(key, algorithm).map(Arc::new).map_err(|error| problem_of(&error))
}

async fn run(verifier: Arc<Verifier>, jws: Jws) -> Result<(bool, Jws), AcmeError> {
    if !jws.algorithm().is_slow() {
        return Ok((verifier.verify(&jws), jws));
    }
    // About a millisecond each: too long for a thread that serves connections.
    Ok(tokio::task::spawn_blocking(move || (verifier.verify(&jws), jws))
        .await
        .map_err(|error| Error::Failed(error.to_string()))?)
}

/// Spends the nonce, and returns the account as it was when it was spent, or on SQLite just before.
async fn spend_for(
    acme: &Acme,
    known: Arc<KnownAccount>,
    nonce: Nonce,
) -> Result<Account, AcmeError> {
    let (store, metrics) = (&acme.context.store, &acme.context.metrics.acme);
    if store.spend_nonce_for(nonce.clone(), &known.account).await? {
        metrics.nonce_spent();
        tracing::Span::current().record("account.id", &known.account.id);
        return Ok(known.account.clone());
    }
    // The nonce was used, or the account is another by now.
    let (ca, id) = (&known.account.ca, &known.account.id);
    let now = read_account(acme, ca, id).await?;
    if now.account.thumbprint != known.account.thumbprint {
        let detail = "the JWS's signature is by a key that the account had before";
        return Err(Problem::new(ProblemType::Unauthorized, detail).into());
    }
    if now.account != known.account && store.spend_nonce_for(nonce, &now.account).await? {
        metrics.nonce_spent();
        tracing::Span::current().record("account.id", &now.account.id);
        return Ok(now.account.clone());
    }
    Err(bad_nonce(acme, USED_BEFORE))
}

/// Accounts that were seen lately, and the verifiers of their keys: to make one costs more than to use it.
#[derive(Default)]
pub(crate) struct Known {
    /// By the ids of CA and account.
    accounts: Mutex<HashMap<(String, String), Arc<KnownAccount>>>,
    /// By thumbprint and algorithm.
    verifiers: Mutex<HashMap<(String, Algorithm), Arc<Verifier>>>,
}

impl Known {
    fn account(&self, ca: &str, id: &str) -> Option<Arc<KnownAccount>> {
        locked(&self.accounts).get(&(ca.to_owned(), id.to_owned())).cloned()
    }

    fn keep(&self, known: Arc<KnownAccount>) {
        let name = (known.account.ca.clone(), known.account.id.clone());
        keep(&self.accounts, name, known);
    }

    /// The verifier of the key with this thumbprint, if it is an account's that signed lately.
    fn verifier(&self, thumbprint: &str, algorithm: Algorithm) -> Option<Arc<Verifier>> {
        locked(&self.verifiers).get(&(thumbprint.to_owned(), algorithm)).cloned()
    }

    /// Keeps what has verified a signature of an account.
    fn keep_verifier(&self, thumbprint: &str, algorithm: Algorithm, verifier: Arc<Verifier>) {
        keep(&self.verifiers, (thumbprint.to_owned(), algorithm), verifier);
    }
}

fn locked<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each of its values is whole in itself.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<K: Eq + std::hash::Hash, V>(kept: &Mutex<HashMap<K, V>>, name: K, value: V) {
    let mut kept = locked(kept);
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(name, value);
}
