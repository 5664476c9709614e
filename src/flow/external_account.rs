//! A new account is bound to an external one (RFC 8555 §7.3.4).

use super::{Context, Error, NewAccount};
use crate::acme::account::Binding;
use crate::acme::external_account::{ExternalAccount, ExternalAccountStatus};
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::Authority;
use crate::jose::external_account::{ExternalAccountJws, MacAlgorithm};
use crate::jose::jws::JwsError;

/// Verified instead where there is no key, so that the answer takes as long.
const NO_KEY: [u8; 32] = [0; 32];

/// The binding of an account to be, where the client sent one; each that is sent is verified, also
/// where none is required.
pub(super) async fn bind(
    context: &Context,
    authority: &Authority,
    asked: &NewAccount,
) -> Result<Option<Binding>, Error> {
    let jws = asked.external_account_binding.as_deref().map(ExternalAccountJws::read);
    let Some(jws) = jws.transpose().map_err(|error| problem_of(&error))?.flatten() else {
        if authority.meta.external_account_required {
            let detail = "this CA makes accounts only for those who are known to its operator: send \
                          an externalAccountBinding with the key identifier and the MAC key that \
                          the operator gives you";
            return Err(Problem::new(ProblemType::ExternalAccountRequired, detail).into());
        }
        return Ok(None);
    };
    if jws.url != asked.url {
        let detail =
            "the \"url\" of the externalAccountBinding is not that of the request around it";
        return Err(Problem::malformed(detail).into());
    }
    if jws.key != asked.key {
        let detail =
            "the payload of the externalAccountBinding is not the key that signed the request";
        return Err(Problem::malformed(detail).into());
    }
    let found = context.store.external_account(&jws.kid).await?;
    let mac_key = found.as_ref().and_then(|found| found.mac_key.as_deref()).unwrap_or(&NO_KEY);
    let mac_is_right = jws.verify(mac_key);
    let Some(found) = found else { return Err(refused().into()) };
    if let Some(why) = why_not(&found, authority, &jws, mac_is_right, context) {
        tracing::warn!(
            ca.id = authority.id,
            external_account.kid = found.kid,
            why,
            "an external account binding was refused"
        );
        return Err(refused().into());
    }
    Ok(Some(Binding { kid: found.kid, jws: jws.to_json(), allowed: found.allowed }))
}

/// For the log alone.
fn why_not(
    found: &ExternalAccount,
    authority: &Authority,
    jws: &ExternalAccountJws,
    mac_is_right: bool,
    context: &Context,
) -> Option<&'static str> {
    if found.ca != authority.id {
        return Some("the key is another CA's");
    }
    match found.status(context.clock.now()) {
        ExternalAccountStatus::Active => {}
        ExternalAccountStatus::Bound => return Some("the key has bound its account already"),
        ExternalAccountStatus::Expired => return Some("the key has expired"),
        ExternalAccountStatus::Revoked => return Some("the key was revoked"),
    }
    if jws.algorithm.as_str() != found.algorithm {
        return Some("the MAC is of another algorithm than the key");
    }
    (!mac_is_right).then_some("the MAC is wrong")
}

/// What a client is told of every binding that does not hold: one sentence, so that nobody finds out
/// which key identifiers there are and what became of them.
pub(super) fn refused() -> Problem {
    let detail = "the external account binding does not hold at this CA: check key identifier, MAC \
                  key and algorithm, or ask the CA's operator for a new key";
    Problem::new(ProblemType::Unauthorized, detail)
}

fn problem_of(error: &JwsError) -> Problem {
    let detail = format!("the externalAccountBinding cannot be taken: {error}");
    match error {
        JwsError::UnsupportedAlgorithm { .. } => {
            let algorithms = MacAlgorithm::ALL.map(|algorithm| algorithm.as_str().to_owned());
            let problem = Problem::new(ProblemType::BadSignatureAlgorithm, detail);
            Problem { algorithms: algorithms.into(), ..problem }
        }
        _ => Problem::malformed(detail),
    }
}
