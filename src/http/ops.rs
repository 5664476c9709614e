//! For the people and machines that look after the server: is it alive, and can it issue?

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::flow::SharedContext;
use crate::signer::Health;
use crate::telemetry::metrics::Metrics;

struct Ops {
    context: SharedContext,
    metrics: Arc<Metrics>,
}

pub(crate) fn router(context: SharedContext, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Arc::new(Ops { context, metrics }))
}

/// The process lives and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The database and every CA's key answer; else 503, and which does not.
async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    let database = ops.context.store.ping().await;
    let mut ready = database.is_ok();
    let mut answer = json!({
        "database": database.map_or_else(|error| error.to_string(), |()| "ok".to_owned()),
    });
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
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}

async fn metrics_text(State(ops): State<Arc<Ops>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], ops.metrics.encode()).into_response()
}
