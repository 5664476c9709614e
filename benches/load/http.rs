//! HTTP/1.1 over TLS on a connection that is kept: no more than a load client needs, so that it takes
//! little from the cores it shares with the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use openssl::x509::X509;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) nonce: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Where a server listens, and how it is trusted.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Server {
    /// With `resumes`, a new connection goes on with the TLS session of an earlier one.
    pub(crate) fn new(address: SocketAddr, roots: &[X509], resumes: bool) -> Self {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from(root.to_der().unwrap())).unwrap();
        }
        let provider = Arc::new(rustls_openssl::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        if !resumes {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = self.tls.connect(name, stream).await?;
        Ok(Connection { stream, read: Vec::with_capacity(8192), address: self.address })
    }
}

/// A connection on which one request follows the other.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    address: SocketAddr,
}

impl Connection {
    /// POST of a JWS, or a HEAD where there is no body.
    pub(crate) async fn send(&mut self, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let port = self.address.port();
        let mut request = match body {
            Some(body) => format!(
                "POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\
                 Content-Type: application/jose+json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .into_bytes(),
            None => format!("HEAD {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").into_bytes(),
        };
        request.extend_from_slice(body.unwrap_or_default());
        self.stream.write_all(&request).await?;
        self.stream.flush().await?;
        self.read.clear();
        let end = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                break end;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let mut answer = Answer { status: 0, nonce: None, location: None, body: Vec::new() };
        let (mut length, mut is_chunked) = (0, false);
        for (index, line) in head.split("\r\n").enumerate() {
            if index == 0 {
                let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
                answer.status = status.ok_or_else(|| broken(line))?;
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { return Err(broken(line)) };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(|_| broken(line))?;
            } else if name.eq_ignore_ascii_case("replay-nonce") {
                answer.nonce = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("location") {
                answer.location = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = true;
            }
        }
        if body.is_some() && is_chunked {
            answer.body = self.chunks(end + 4).await?;
        } else if body.is_some() {
            while self.read.len() < end + 4 + length {
                self.more().await?;
            }
            answer.body = self.read[end + 4..end + 4 + length].to_vec();
        }
        Ok(answer)
    }

    /// A body in chunks (RFC 9112 §7.1) that begins here, without trailers.
    async fn chunks(&mut self, mut at: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(length) = find(&self.read[at..], b"\r\n") {
                    break String::from_utf8_lossy(&self.read[at..at + length]).into_owned();
                }
                self.more().await?;
            };
            let length = usize::from_str_radix(&line, 16).map_err(|_| broken(&line))?;
            at += line.len() + 2;
            while self.read.len() < at + length + 2 {
                self.more().await?;
            }
            body.extend_from_slice(&self.read[at..at + length]);
            at += length + 2;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn broken(line: &str) -> io::Error {
    io::Error::other(format!("no answer that this client understands: {line:?}"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
