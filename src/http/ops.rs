//! For the people and machines that look after the server: is it alive, and can it issue?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::gather::Gather;
use super::tls::CertificateSlot;
use crate::ca::Authority;
use crate::flow::{Context, SharedContext};
use crate::signer::Health;
use crate::telemetry::metrics::Format;

struct Ops {
    context: SharedContext,
    gather: Gather,
    leaving: Arc<AtomicBool>,
}

/// `leaving` turns true where the server is about to stop: then it is not ready for more.
pub(crate) fn router(
    context: SharedContext,
    certificate: Arc<CertificateSlot>,
    leaving: Arc<AtomicBool>,
) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(Ops { context, gather: Gather::new(certificate), leaving }))
}

/// The process lives and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// How long the database may take to answer: whoever asks wants to know soon.
const DATABASE: Duration = Duration::from_secs(3);

/// The database and every CA's key answer, and the server goes on; else 503, and which does not.
async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    let database = tokio::time::timeout(DATABASE, ops.context.store.ping()).await;
    let database = match database {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("it did not answer within {} s", DATABASE.as_secs())),
    };
    let mut ready = database.is_none();
    let mut answer = json!({ "database": database.as_deref().unwrap_or("ok") });
    for authority in ops.context.authorities.load().iter() {
        let state = match authority.signer.health() {
            Health::Up => "ok".to_owned(),
            Health::Down(why) => {
                ready = false;
                why
            }
        };
        answer["ca"][&authority.id] = json!(state);
        // Of several places one is enough to be ready; which are not is worth knowing all the same.
        let places = authority.signer.places();
        if places.len() > 1 {
            let place = |(place, health): (String, Health)| match health {
                Health::Up => (place, json!("ok")),
                Health::Down(why) => (place, json!(why)),
            };
            answer["places"][&authority.id] = places.into_iter().map(place).collect();
        }
    }
    for authority in ops.context.authorities.load_full().iter() {
        let state = match database {
            None => crl_state(&ops.context, authority).await,
            Some(_) => None,
        };
        if let Some(state) = state {
            answer["crl"][&authority.id] = json!(state);
        }
    }
    if ops.leaving.load(Ordering::Relaxed) {
        ready = false;
        answer["stopping"] = json!("this server is about to stop");
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}

/// How the CA's CRL is, in words; none where it signs none. It makes the server neither ready nor not:
/// every instance serves the same one, and another server could do no better.
async fn crl_state(context: &Context, authority: &Authority) -> Option<String> {
    authority.crl_validity?;
    let issuer = authority.crl_issuer();
    let published = context.store.published_crl(&issuer, &authority.signing_key()).await;
    let (Ok(published), Ok(due)) = (published, context.store.crl_is_due(&issuer).await) else {
        return Some("not known".to_owned());
    };
    let state = match published {
        None => "none is signed yet".to_owned(),
        Some(crl) if crl.next_update <= context.clock.now() => {
            format!("number {} was to be replaced by {}", crl.number, crl.next_update)
        }
        Some(crl) => format!("number {}, until {}", crl.number, crl.next_update),
    };
    Some(if due { format!("{state}; the next waits to be signed") } else { state })
}

/// In the format that is asked for (`Accept`), of the two that Prometheus reads.
async fn metrics_text(State(ops): State<Arc<Ops>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    ops.gather.gather(&ops.context).await;
    let text = ops.context.metrics.encode(format);
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}
