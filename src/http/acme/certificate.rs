//! Certificates (RFC 8555 §7.4.2).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Acme;
use super::problem::AcmeError;
use super::request::{AcmeRequest, AsGet};
use super::resource::Resource;
use crate::flow;
use crate::x509::chain::{Chain, download_pem};

/// The certificate, then the chain below which it was issued.
pub(super) async fn certificate(
    State(acme): State<Arc<Acme>>,
    Path((_, id)): Path<(String, String)>,
    request: AcmeRequest<AsGet>,
) -> Result<Response, AcmeError> {
    download(&acme, &request, &id, 0).await
}

/// The certificate, then another chain; they count from 1.
pub(super) async fn alternate(
    State(acme): State<Arc<Acme>>,
    Path((_, id, number)): Path<(String, String, String)>,
    request: AcmeRequest<AsGet>,
) -> Result<Response, AcmeError> {
    // In one form only: every resource has one URL.
    let number = number.parse::<usize>().ok().filter(|parsed| parsed.to_string() == number);
    match number {
        Some(number) if number > 0 => download(&acme, &request, &id, number).await,
        _ => Err(flow::not_found("chain").into()),
    }
}

async fn download(
    acme: &Acme,
    request: &AcmeRequest<AsGet>,
    id: &str,
    number: usize,
) -> Result<Response, AcmeError> {
    let authority = &request.resource.authority;
    let issued = acme.context.store.certificate(&authority.id, id).await?;
    let issued = issued
        .filter(|issued| issued.account_id == request.account.id)
        .ok_or_else(|| flow::not_found("certificate"))?;
    let alternates = alternates(&request.resource, &issued.chain);
    let pem = match number.checked_sub(1) {
        None => download_pem(&issued.certificate, &issued.chain),
        Some(place) => {
            let chain = alternates.get(place).ok_or_else(|| flow::not_found("chain"))?;
            chain.to_pem(&issued.certificate)
        }
    };
    let content_type = "application/pem-certificate-chain";
    let mut response = ([(header::CONTENT_TYPE, content_type)], pem).into_response();
    let links = &request.resource.links;
    for other in (0..=alternates.len()).filter(|other| *other != number) {
        let url = match other {
            0 => links.certificate(id),
            other => links.alternate(id, other),
        };
        if let Ok(link) = HeaderValue::try_from(links.relation("alternate", &url)) {
            response.headers_mut().append(header::LINK, link);
        }
    }
    Ok(response)
}

/// The CA's other chains, where they fit what was issued below `chain`: the CA may have had another
/// name or key then.
fn alternates<'a>(resource: &'a Resource, chain: &str) -> &'a [Chain] {
    let alternates = &resource.authority.alternates;
    let fits = |first: &Chain| {
        Chain::from_pem(chain).is_ok_and(|chain| chain.issuer().stands_for(first.issuer()))
    };
    if alternates.first().is_some_and(fits) { alternates } else { &[] }
}
