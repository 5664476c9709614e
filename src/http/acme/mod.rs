//! ACME over HTTP: this listing is the directory object (RFC 8555 §7.1).

mod account;
mod authenticate;
mod authorization;
mod body;
mod certificate;
mod challenge;
mod directory;
mod finalize;
mod key_change;
mod links;
mod new_account;
mod new_authz;
mod new_nonce;
mod new_order;
mod object;
mod order;
mod problem;
mod renewal_info;
mod reply;
mod request;
mod resource;
mod revoke_cert;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, header};
use axum::middleware;
use axum::routing::{get, post};
use tower_http::cors::{Any, CorsLayer};

use crate::acme::nonce::NonceKey;
use crate::flow::SharedContext;
use crate::http::admission::Admission;
use crate::http::tls::CertificateSlot;

pub(crate) use authenticate::Known;
pub(crate) use body::Bodies;
pub(crate) use problem::AnsweredProblem;

/// How long a browser may remember what it may ask.
const PREFLIGHT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What every handler works with.
pub(crate) struct Acme {
    pub(crate) context: SharedContext,
    pub(crate) nonces: NonceKey,
    pub(crate) known: Known,
    /// The base of every URL handed out; the request's `Host` where it is not configured.
    pub(crate) external_url: Option<String>,
    /// What says which hosts this server is.
    pub(crate) certificate: Arc<CertificateSlot>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) bodies: Bodies,
}

/// The routes of every CA.
pub(crate) fn router(acme: Arc<Acme>) -> Router {
    let routes = Router::new()
        .route("/directory", get(directory::directory).post(directory::directory_as_post))
        .route("/new-nonce", get(new_nonce::new_nonce).post(new_nonce::new_nonce_as_post))
        .route("/new-account", post(new_account::new_account))
        .route("/account/{id}", post(account::account))
        .route("/account/{id}/orders", post(account::orders))
        .route("/key-change", post(key_change::key_change))
        .route("/new-authz", post(new_authz::new_authz))
        .route("/new-order", post(new_order::new_order))
        .route("/order/{id}", post(order::order))
        .route("/order/{id}/finalize", post(finalize::finalize))
        .route("/authz/{id}", post(authorization::authorization))
        .route("/chall/{id}", post(challenge::challenge))
        .route("/cert/{id}", post(certificate::certificate))
        .route("/cert/{id}/{number}", post(certificate::alternate))
        .route("/renewal-info/{id}", get(renewal_info::renewal_info))
        .route("/revoke-cert", post(revoke_cert::revoke_cert))
        .method_not_allowed_fallback(problem::method_not_allowed)
        .fallback(problem::no_such_resource)
        .layer(middleware::from_fn_with_state(Arc::clone(&acme), resource::resource))
        .layer(cross_origin())
        .with_state(acme);
    Router::new().nest("/acme/{ca}", routes)
}

/// Lets clients in browsers ask (RFC 8555 §6.1): nothing here depends on cookies, so any page may.
fn cross_origin() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .expose_headers([
            resource::REPLAY_NONCE,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
        ])
        .max_age(PREFLIGHT_LIFETIME)
        // The answer is the same for all.
        .vary([])
}
