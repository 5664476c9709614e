//! Renewal information (RFC 9773 §4): read by GET, without an account.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::json;

use super::Acme;
use super::problem::AcmeError;
use super::reply::Reply;
use crate::acme::problem::Problem;
use crate::acme::renewal::{CertId, RenewalInfo};
use crate::clock::Timestamp;
use crate::flow::Error;
use crate::x509::certificate::CertificateFacts;

pub(super) async fn renewal_info(
    State(acme): State<Arc<Acme>>,
    Path((ca, id)): Path<(String, String)>,
) -> Result<Reply, AcmeError> {
    let id = CertId::parse(&id).ok_or_else(|| {
        Problem::malformed(
            "this is not the identifier of a certificate: its authority's keyIdentifier and its \
             serial, each in base64url without padding, with a dot between (RFC 9773 §4.1)",
        )
    })?;
    let unknown = || {
        let detail = "this CA issued no certificate with this identifier";
        AcmeError::from(Problem::malformed(detail).with_status(404))
    };
    let found = acme.context.store.certificate_by_serial(&ca, &id.serial()).await?;
    let found = found.ok_or_else(unknown)?;
    let facts = CertificateFacts::of(&found.certificate)
        .map_err(|error| Error::Failed(format!("certificate {}: {error}", found.id)))?;
    if facts.authority_key_identifier.as_ref() != Some(&id.key_identifier) {
        return Err(unknown());
    }
    let info = RenewalInfo::of(
        Timestamp::from_unix_s(facts.not_before_s),
        Timestamp::from_unix_s(facts.not_after_s),
        found.revocation.map(|revocation| revocation.revoked_at),
    );
    let mut body = json!({ "suggestedWindow": { "start": info.start, "end": info.end } });
    let authorities = acme.context.authorities.load();
    if let Some(page) = authorities.get(&ca).and_then(|ca| ca.meta.renewal_explanation.as_ref()) {
        body["explanationURL"] = json!(page);
    }
    Ok(Reply::ok(body).retry_after_s(info.retry_after_s))
}
