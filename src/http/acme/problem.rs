//! The one place that turns errors into HTTP (RFC 8555 §6.7).

use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::resource::Resource;
use crate::acme::problem::{Problem, ProblemType};
use crate::flow::Error;

/// After how long a client may try again while something is away; in seconds.
const RETRY_AFTER_S: u32 = 5;

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct AcmeError(Error);

impl From<Error> for AcmeError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Problem> for AcmeError {
    fn from(problem: Problem) -> Self {
        Self(problem.into())
    }
}

impl From<crate::store::StoreError> for AcmeError {
    fn from(error: crate::store::StoreError) -> Self {
        Self(error.into())
    }
}

/// The problem that an answer carries, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredProblem(pub(crate) ProblemType);

impl IntoResponse for AcmeError {
    fn into_response(self) -> Response {
        let problem = match self.0 {
            Error::Refused(problem) => *problem,
            error @ (Error::Unavailable(_) | Error::CutOff) => {
                tracing::error!(%error, "a request could not be served for now");
                let detail = "the server cannot do this just now; try again in a moment";
                Problem::new(ProblemType::ServerInternal, detail).with_status(503)
            }
            Error::Failed(error) => {
                tracing::error!(error, "a request failed");
                let detail = "the server failed; its log says why";
                Problem::new(ProblemType::ServerInternal, detail)
            }
        };
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, serde_json::to_string(&problem).unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, content_type);
        // RFC 8555 §7.3.3: the terms that a person must read.
        if problem.kind == ProblemType::UserActionRequired
            && let Some(terms) = &problem.instance
            && let Ok(link) = HeaderValue::try_from(format!("<{terms}>;rel=\"terms-of-service\""))
        {
            headers.append(header::LINK, link);
        }
        if matches!(problem.status, 429 | 503) {
            let seconds = problem.retry_after_s.unwrap_or(RETRY_AFTER_S);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(AnsweredProblem(problem.kind));
        response
    }
}

/// The answer to a path below a CA that is no resource.
pub(super) async fn no_such_resource() -> AcmeError {
    Problem::malformed("there is no such resource; begin at the directory").with_status(404).into()
}

/// The answer to a GET where RFC 8555 §6.3 wants a POST-as-GET, and to any other wrong method.
pub(super) async fn method_not_allowed(
    Extension(resource): Extension<Resource>,
    request: Request,
) -> AcmeError {
    let detail = format!(
        "{} is not allowed here; ACME resources are read by POST-as-GET (RFC 8555 §6.3), see {}",
        request.method(),
        resource.links.directory()
    );
    Problem::malformed(detail).with_status(405).into()
}
