//! The way to a collector: one POST a connection, within some seconds.
//!
//! It blocks, since it runs on the thread of the exporter, where no runtime is, and brings its own.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// From the connection to the end of the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Of the answer, which says nothing that is of use.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Says once when a collector begins to fail, and when it is back.
#[derive(Debug, Default)]
pub(super) struct Client {
    failing: AtomicBool,
}

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let endpoint = request.uri().clone();
            let answer = post_and_wait(request);
            match &answer {
                Ok(status) if status.is_success() => {
                    if self.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(%endpoint, "spans are taken again");
                    }
                }
                failed => {
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        let why = match failed {
                            Ok(status) => format!("answered {status}"),
                            Err(error) => error.to_string(),
                        };
                        tracing::warn!(%endpoint, why, "spans are not taken; they are dropped");
                    }
                }
            }
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = answer?;
            Ok(response)
        })
    }
}

fn post_and_wait(request: Request<Bytes>) -> Result<StatusCode, HttpError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        timeout(PATIENCE, post(request))
            .await
            .unwrap_or_else(|_| Err("it takes too long to answer".into()))
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    answer
}

/// To one connection, which ends with the answer.
async fn post(request: Request<Bytes>) -> Result<StatusCode, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("the endpoint has no host")?.clone();
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let mut stream = Err("the host has no address".into());
    for address in lookup_host((name, authority.port_u16().unwrap_or(80))).await? {
        // So that there is time for another.
        stream = match timeout(PATIENCE / 4, TcpStream::connect(address)).await {
            Ok(connected) => connected.map_err(HttpError::from),
            Err(_) => Err(format!("{address} does not answer").into()),
        };
        if stream.is_ok() {
            break;
        }
    }
    let stream = stream?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    head.headers.insert(header::HOST, HeaderValue::try_from(authority.as_str())?);
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.uri = Uri::try_from(head.uri.path())?;
    let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let status = answer.status();
    // Whoever sends an answer likes to see it taken; its status says all that counts.
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect();
    let _ = timeout(PATIENCE / 4, body).await;
    connection.abort();
    Ok(status)
}
