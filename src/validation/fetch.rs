//! One GET over one connection of its own: no pool, no cookies, and no proxy, since nothing here
//! reads the environment.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::dial::Dialer;
use super::outcome::Failure;
use super::tls_alpn01::handshake;
use crate::acme::problem::ProblemType;

/// A key authorization has some 90 octets; this leaves room for much white space.
pub(super) const MAX_BODY: usize = 4096;
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const AGENT: &str = concat!("kipuka/", env!("CARGO_PKG_VERSION"));

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) peer: SocketAddr,
    pub(super) status: StatusCode,
    pub(super) location: Option<HeaderValue>,
    /// At most [`MAX_BODY`] octets of it.
    pub(super) body: Vec<u8>,
    pub(super) end: BodyEnd,
}

#[derive(Debug)]
pub(super) enum BodyEnd {
    Complete,
    /// There was more than [`MAX_BODY`].
    TooLong,
    Broken(String),
}

/// Fetches `url`, which has a host, and which a problem calls `shown`. Every address is judged and pinned
/// anew (see [`Dialer`]).
pub(super) async fn get(
    dialer: &Dialer,
    tls: &Arc<ClientConfig>,
    url: &Url,
    shown: &str,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let asked = format!("GET {shown}");
    let refused =
        |why: String| Failure::refused(ProblemType::IncorrectResponse, why).during(&asked);
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(refused("the URL has no host or port".to_owned()));
    };
    let request = request(url, &host).map_err(|error| refused(error.to_string()))?;
    let (stream, peer) = dialer
        .connect(&host, port, deadline)
        .await
        .map_err(|error| Failure::from(error).during(&asked))?;
    let answer = if url.scheme() == "https" {
        let name = server_name(&host).map_err(refused)?;
        match handshake(tls, name, stream, deadline).await {
            Ok(stream) => exchange(TokioIo::new(stream), peer, request, deadline).await,
            Err(error) => Err(error),
        }
    } else {
        exchange(TokioIo::new(stream), peer, request, deadline).await
    };
    answer.map_err(|error| error.during(format!("{asked} at {peer}")))
}

fn request(url: &Url, host: &Host<&str>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    };
    Request::get(target)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
}

fn server_name(host: &Host<&str>) -> Result<ServerName<'static>, String> {
    match *host {
        Host::Ipv4(address) => Ok(ServerName::from(std::net::IpAddr::V4(address))),
        Host::Ipv6(address) => Ok(ServerName::from(std::net::IpAddr::V6(address))),
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|e| e.to_string()),
    }
}

/// Drives the connection and the request together, in this task: dropped, both are gone.
async fn exchange(
    io: impl Read + Write + Unpin + Send + 'static,
    peer: SocketAddr,
    request: Request<Empty<Bytes>>,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .handshake(io)
        .await
        .map_err(|error| failure(&error))?;
    let answer = async {
        let response = match timeout_at(deadline, sender.send_request(request)).await {
            Ok(response) => response.map_err(|error| failure(&error))?,
            Err(_) => {
                return Err(Failure::unreachable(
                    ProblemType::Connection,
                    "connected, but no answer came in the time allowed",
                ));
            }
        };
        let (head, body) = response.into_parts();
        let (body, end) = read(body, deadline).await;
        let location = head.headers.get(LOCATION).cloned();
        Ok(Answer { peer, status: head.status, location, body, end })
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // the connection may end while the answer it delivered still waits to be taken
        _ = connection => answer.await,
    }
}

async fn read(mut body: Incoming, deadline: Instant) -> (Vec<u8>, BodyEnd) {
    let mut bytes = Vec::new();
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() > MAX_BODY {
                    bytes.truncate(MAX_BODY);
                    return (bytes, BodyEnd::TooLong);
                }
            }
            Ok(Some(Err(error))) => return (bytes, BodyEnd::Broken(explain(&error))),
            Ok(None) => return (bytes, BodyEnd::Complete),
            Err(_) => {
                let late = "it did not end in the time allowed".to_owned();
                return (bytes, BodyEnd::Broken(late));
            }
        }
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        let why = format!("the answer is not HTTP as it should be: {}", explain(error));
        Failure::refused(ProblemType::IncorrectResponse, why)
    } else {
        let why = format!("connected, but the connection broke: {}", explain(error));
        Failure::unreachable(ProblemType::Connection, why)
    }
}

/// hyper's error with its cause.
fn explain(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Reads an answer that came over a connection.
#[cfg(fuzzing)]
pub(super) fn fuzz(answer: &[u8]) -> Option<Answer> {
    use tokio::io::AsyncWriteExt as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().ok()?;
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(answer.get(..32 * 1024).unwrap_or(answer)).await.ok()?;
        far.shutdown().await.ok()?;
        let peer = SocketAddr::from(([127, 0, 0, 1], 80));
        let request = Request::get("/").body(Empty::new()).ok()?;
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        exchange(TokioIo::new(near), peer, request, deadline).await.ok()
    })
}
