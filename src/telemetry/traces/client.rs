//! HTTP/1.1 as far as a collector needs it: one POST a connection, within some seconds.
//!
//! It blocks, since it runs on the thread of the exporter, where no runtime is. That is also why hyper
//! does not serve.

use std::io::{self, Read, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use opentelemetry_http::{HttpClient, HttpError};

/// For a connection, and again for each step of the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Of the answer, which says nothing that is of use.
const LONGEST_ANSWER: u64 = 64 * 1024;

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
            let answer = post(&request);
            let endpoint = request.uri();
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

fn post(request: &Request<Bytes>) -> io::Result<StatusCode> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let uri = request.uri();
    let host = uri.host().ok_or_else(|| invalid("no host"))?;
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = invalid("the host has no address");
    let mut connected = None;
    for address in (name, uri.port_u16().unwrap_or(80)).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(error) => last = error,
        }
    }
    let mut stream = connected.ok_or(last)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {}\r\n",
        uri.path(),
        request.body().len()
    )
    .into_bytes();
    for (name, value) in request.headers() {
        if name != http::header::CONTENT_LENGTH && name != http::header::HOST {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head)?;
    stream.write_all(request.body())?;
    let mut answer = [0; 64];
    let mut length = 0;
    while length < answer.len() {
        let rest = answer.get_mut(length..).unwrap_or_default();
        let read = stream.read(rest)?;
        if read == 0 {
            break;
        }
        length += read;
    }
    // Whoever sends an answer likes to see it taken.
    let _ = io::copy(&mut (&stream).take(LONGEST_ANSWER), &mut io::sink());
    let head = String::from_utf8_lossy(&answer);
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    status
        .and_then(|status| status.trim_end().parse().ok())
        .ok_or_else(|| invalid("the answer is not HTTP/1.1"))
}
