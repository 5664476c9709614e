//! What anybody may read without an account: the CA's certificates.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::flow::SharedContext;

pub(crate) fn router(context: SharedContext) -> Router {
    Router::new().route("/ca/{file}", get(issuer)).with_state(context)
}

/// `/ca/{ca}.cer` is the CA's certificate as DER, `/ca/{ca}.pem` its whole chain.
async fn issuer(State(context): State<SharedContext>, Path(file): Path<String>) -> Response {
    let authorities = context.authorities.load();
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

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "there is no such CA\n").into_response()
}
