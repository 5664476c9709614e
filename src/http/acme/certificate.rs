//! Certificates (RFC 8555 §7.4.2).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Acme;
use super::problem::AcmeError;
use super::request::{AcmeRequest, AsGet};
use crate::flow;
use crate::x509::chain::download_pem;

/// The certificate, then its chain.
pub(super) async fn certificate(
    State(acme): State<Arc<Acme>>,
    Path((ca, id)): Path<(String, String)>,
    request: AcmeRequest<AsGet>,
) -> Result<Response, AcmeError> {
    let issued = acme.context.store.certificate(&ca, &id).await?;
    let issued = issued
        .filter(|issued| issued.account_id == request.account.id)
        .ok_or_else(|| flow::not_found("certificate"))?;
    let pem = download_pem(&issued.certificate, &issued.chain);
    Ok(([(header::CONTENT_TYPE, "application/pem-certificate-chain")], pem).into_response())
}
