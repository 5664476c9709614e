//! An order says which certificate it replaces (RFC 9773 §5).

use super::{Context, Error};
use crate::acme::account::Account;
use crate::acme::identifier::Identifier;
use crate::acme::problem::{Problem, ProblemType};
use crate::acme::renewal::CertId;
use crate::ca::Authority;
use crate::x509::certificate::CertificateFacts;

/// Whether an order of the account for these identifiers may replace this certificate. Of what another
/// CA issued nothing is known, and clients that come from there name it all the same: it is taken as
/// it is, and marks nothing.
pub(super) async fn check_replaces<'a>(
    context: &Context,
    authority: &Authority,
    account: &Account,
    replaces: &str,
    mut identifiers: impl Iterator<Item = &'a Identifier>,
) -> Result<(), Error> {
    let malformed = |detail: &str| Error::from(Problem::malformed(detail));
    let id = CertId::parse(replaces).ok_or_else(|| {
        malformed("\"replaces\" is not the identifier of a certificate (RFC 9773 §4.1)")
    })?;
    let found = context.store.certificate_by_serial(&authority.id, &id.serial()).await?;
    let known = match found {
        None => None,
        Some(found) => {
            let facts = CertificateFacts::of(&found.certificate)
                .map_err(|error| Error::Failed(format!("certificate {}: {error}", found.id)))?;
            let same = facts.authority_key_identifier.as_ref() == Some(&id.key_identifier);
            same.then_some((found, facts))
        }
    };
    let Some((found, facts)) = known else {
        let ours = authority.chain.issuer().subject_key_identifier() == id.key_identifier;
        if ours {
            let detail = "this CA issued no certificate that \"replaces\" could name; leave it out";
            return Err(malformed(detail));
        }
        return Ok(());
    };
    if found.account_id.as_ref() != Some(&account.id) {
        let detail = "the certificate that \"replaces\" names is not this account's; leave it out";
        return Err(Problem::new(ProblemType::Unauthorized, detail).into());
    }
    let names: Vec<_> = facts.names().collect();
    if !identifiers.any(|identifier| names.contains(&identifier.to_string())) {
        let detail = "the certificate that \"replaces\" names has none of the order's identifiers";
        return Err(malformed(detail));
    }
    if context.store.is_replaced(&authority.id, replaces).await? {
        let detail = "another order has replaced this certificate; leave \"replaces\" out";
        return Err(Problem::new(ProblemType::AlreadyReplaced, detail).into());
    }
    Ok(())
}
