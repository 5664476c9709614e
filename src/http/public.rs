//! What anybody may read without an account: the CAs' certificates and CRLs.

mod crls;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use self::crls::Crls;
use super::admission::Admission;
use crate::clock::Timestamp;
use crate::flow::SharedContext;
use crate::store::{PublishedCrl, StoreError};

/// How long a CRL may be kept by whoever fetched it, in seconds: a revocation is known that soon. Most
/// clients keep it until its nextUpdate all the same.
const MAX_AGE_S: u64 = 300;
/// When to ask again for a CRL that is about to be signed; in seconds.
const RETRY_AFTER_S: u32 = 5;

#[derive(Clone)]
struct Public {
    context: SharedContext,
    crls: Arc<Crls>,
}

pub(crate) fn router(context: SharedContext, admission: Arc<Admission>) -> Router {
    let public = Public { context, crls: Arc::default() };
    Router::new()
        .route("/ca/{file}", get(issuer))
        .route("/crl/{file}", get(crl))
        .layer(middleware::from_fn_with_state(admission, Admission::guard))
        .with_state(public)
}

/// `/ca/{ca}.cer` is the CA's certificate as DER, `/ca/{ca}.pem` its whole chain.
async fn issuer(State(public): State<Public>, Path(file): Path<String>) -> Response {
    let authorities = public.context.authorities.load();
    let Some((ca, form)) = file.rsplit_once('.') else { return not_found() };
    let Some(authority) = authorities.get(ca) else { return not_found() };
    match form {
        "cer" => {
            let der = authority.chain.issuer().der().to_vec();
            ([(header::CONTENT_TYPE, "application/pkix-cert")], der).into_response()
        }
        "pem" => {
            let pem = authority.chain.to_file();
            ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
        }
        _ => not_found(),
    }
}

/// `/crl/{ca}.crl` is the CA's newest CRL as DER (RFC 5280 §4.2.1.13), also where that is past its
/// nextUpdate: an old list is better than none.
async fn crl(
    State(Public { context, crls }): State<Public>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    let authorities = context.authorities.load_full();
    let ca = file.strip_suffix(".crl").and_then(|ca| authorities.get(ca));
    let Some(authority) = ca.filter(|authority| authority.crl_validity.is_some()) else {
        return not_found();
    };
    let unavailable = |error: StoreError| {
        tracing::error!(%error, "a CRL could not be served");
        not_now("the CRL cannot be read just now\n")
    };
    let (issuer, signing_key) = (authority.crl_issuer(), authority.signing_key());
    let store = &context.store;
    let published = match store.published_crl(&issuer, &signing_key).await {
        Ok(Some(published)) => published,
        Ok(None) => return not_now("no CRL is signed yet\n"),
        Err(error) => return unavailable(error),
    };
    let told = told(published, context.clock.now());
    if is_known(&headers, &told) {
        return (StatusCode::NOT_MODIFIED, told).into_response();
    }
    let load = store.crl(&issuer, published.number);
    match crls.get(&issuer, &signing_key, published, load).await {
        Ok(Some(der)) => {
            (told, [(header::CONTENT_TYPE, "application/pkix-crl")], der).into_response()
        }
        // Superseded in between, or the clock of the database's other users is far ahead.
        Ok(None) => not_now("a newer CRL is about to be served\n"),
        Err(error) => unavailable(error),
    }
}

type Told = [(header::HeaderName, String); 3];

/// What caches are told of a CRL (RFC 9110 §8.8, RFC 9111 §5.2.2).
fn told(published: PublishedCrl, now: Timestamp) -> Told {
    let left_s = published.next_update.since(now).as_secs();
    [
        (header::ETAG, format!("\"{}\"", published.number)),
        (header::LAST_MODIFIED, published.signed_at.http_date()),
        (header::CACHE_CONTROL, format!("public, max-age={}", left_s.min(MAX_AGE_S))),
    ]
}

/// Whether the client has this very CRL (RFC 9110 §13.1).
fn is_known(headers: &HeaderMap, [(_, etag), (_, last_modified), _]: &Told) -> bool {
    let given = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match given(header::IF_NONE_MATCH) {
        Some(tags) => {
            let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
            tags.any(|tag| tag == etag || tag == "*")
        }
        None => given(header::IF_MODIFIED_SINCE) == Some(last_modified),
    }
}

fn not_now(why: &'static str) -> Response {
    let retry_after = [(header::RETRY_AFTER, RETRY_AFTER_S.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, why).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "there is no such CA\n").into_response()
}
