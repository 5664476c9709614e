//! A certificate is revoked, for good (RFC 8555 §7.6).

use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType};
use crate::ca::{Authority, crl_issuer};
use crate::clock::Timestamp;
use crate::jose::jwk::Jwk;
use crate::ledger::{self, Actor, Entry, Kind};
use crate::store::{FoundCertificate, NewRevocation, Store};
use crate::x509::certificate::CertificateFacts;
use crate::x509::revocation_list::Reason;

/// Reasons that a subscriber can give. Not privilegeWithdrawn: it is the CA that withdraws.
const SUBSCRIBERS_REASONS: [Reason; 5] = [
    Reason::Unspecified,
    Reason::KeyCompromise,
    Reason::AffiliationChanged,
    Reason::Superseded,
    Reason::CessationOfOperation,
];

/// Who asks for a revocation by ACME.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Revoker<'a> {
    Account(&'a Account),
    /// Somebody with this key.
    Key(&'a Jwk),
}

/// Revokes the certificate with this DER, if this CA issued it and whoever asks may: the account that
/// ordered it, one that holds valid authorizations for all its names (those for a domain above count
/// where the CA would issue by them, RFC 9444 §4), or its own key.
#[tracing::instrument(
    target = "kipuka::spans",
    level = "trace",
    name = "flow revoke_cert",
    skip_all
)]
pub(crate) async fn revoke_cert(
    context: &Context,
    authority: &Authority,
    revoker: Revoker<'_>,
    der: &[u8],
    reason: Option<i64>,
) -> Result<(), Error> {
    let reason = read_reason(reason)?;
    let facts = CertificateFacts::of(der)
        .map_err(|error| Problem::malformed(format!("the \"certificate\" {error}")))?;
    let now = context.clock.now();
    let found = context.store.certificate_by_serial(&authority.id, &facts.serial).await?;
    let found = found.filter(|found| found.certificate == der).ok_or_else(|| {
        Problem::malformed("this CA has issued no such certificate").with_status(404)
    })?;
    let by = authorize(context, authority, revoker, &found, &facts, now).await?;
    if !revoke(&context.store, &found, &facts, reason, by, now).await? {
        let detail = "the certificate was revoked before";
        return Err(Problem::new(ProblemType::AlreadyRevoked, detail).into());
    }
    context.metrics.issuance.revoked(&authority.id, reason.name());
    Ok(())
}

/// Revokes a certificate at an operator's word. `false` where it was revoked before.
pub(crate) async fn revoke_as_operator(
    store: &Store,
    found: &FoundCertificate,
    reason: Reason,
    operator: String,
    now: Timestamp,
) -> Result<bool, Error> {
    let facts = CertificateFacts::of(&found.certificate)
        .map_err(|error| Error::Failed(format!("the certificate {} {error}", found.serial)))?;
    let by = Entitled { actor: Actor::Operator(operator), how: None };
    revoke(store, found, &facts, reason, by, now).await
}

/// Who may revoke, and why.
struct Entitled {
    actor: Actor,
    /// Where that is not clear from who it is.
    how: Option<&'static str>,
}

impl Entitled {
    fn words(&self) -> String {
        let how = self.how.map(|how| format!(", which {how}"));
        format!("{}{}", self.actor, how.unwrap_or_default())
    }
}

async fn revoke(
    store: &Store,
    found: &FoundCertificate,
    facts: &CertificateFacts,
    reason: Reason,
    by: Entitled,
    now: Timestamp,
) -> Result<bool, Error> {
    let revoked_by = by.words();
    let revocation = NewRevocation {
        certificate_id: &found.id,
        issuer: &crl_issuer(&facts.issuer),
        serial: &found.serial,
        reason: reason.code(),
        revoked_at: now,
        revoked_by: &revoked_by,
        not_after: Timestamp::from_unix_s(facts.not_after_s),
    };
    let entry = Entry::new(Kind::CertificateRevoked, by.actor, found.serial.as_str(), now)
        .ca(&found.ca)
        .with("account", found.account_id.clone())
        .with("issuer", revocation.issuer)
        .with("reason", reason.name())
        .with("how", by.how)
        .with("sha256", ledger::digest(&found.certificate));
    let revoked = store.revoke(revocation, &entry).await?;
    if revoked {
        tracing::info!(
            ca.id = found.ca,
            serial = found.serial,
            reason = reason.name(),
            revoked_by,
            "certificate revoked"
        );
    }
    Ok(revoked)
}

fn read_reason(code: Option<i64>) -> Result<Reason, Problem> {
    let Some(code) = code else { return Ok(Reason::Unspecified) };
    let reason = Reason::from_code(code).filter(|reason| SUBSCRIBERS_REASONS.contains(reason));
    reason.ok_or_else(|| {
        let known =
            SUBSCRIBERS_REASONS.map(|reason| format!("{} {}", reason.code(), reason.name()));
        let detail = format!(
            "{code} is no reason that can be given here; these are: {} (RFC 5280 §5.3.1)",
            known.join(", ")
        );
        Problem::new(ProblemType::BadRevocationReason, detail)
    })
}

async fn authorize(
    context: &Context,
    authority: &Authority,
    revoker: Revoker<'_>,
    found: &FoundCertificate,
    facts: &CertificateFacts,
    now: Timestamp,
) -> Result<Entitled, Error> {
    let unauthorized =
        |detail: String| Error::from(Problem::new(ProblemType::Unauthorized, detail));
    let account = match revoker {
        Revoker::Key(key) => {
            let spki = key.spki().map_err(|error| Error::Failed(error.to_string()))?;
            if spki == facts.spki {
                return Ok(Entitled { actor: Actor::CertificateKey, how: None });
            }
            let detail = "the request is signed by a key that is not the certificate's; sign with that, \
                          or with \"kid\" by an account";
            return Err(unauthorized(detail.to_owned()));
        }
        Revoker::Account(account) => account,
    };
    if found.account_id.as_deref() == Some(&account.id) {
        return Ok(Entitled { actor: Actor::Account(account.id.clone()), how: None });
    }
    for name in facts.names() {
        let held = match Identifier::named(&name) {
            Ok(identifier) => {
                let below = authority.subdomain_authorizations;
                context.store.is_authorized(&found.ca, &account.id, &identifier, below, now).await?
            }
            Err(_) => false,
        };
        if !held {
            return Err(unauthorized(format!(
                "the certificate was ordered by another account, and this one holds no valid \
                 authorization for {name}"
            )));
        }
    }
    let how = Some("is authorized for every name");
    Ok(Entitled { actor: Actor::Account(account.id.clone()), how })
}
