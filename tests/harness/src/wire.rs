//! Requests that no library would send, and headers that none would set.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::acme::{Answer, Client};

impl Client {
    /// A request with these headers beside `Host`.
    pub async fn send_with(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = self.request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        self.keep_nonce(&answer);
        answer
    }

    /// Whatever bytes, in a TLS connection that speaks HTTP/1.1; `None` where no answer came. The
    /// request should ask for the connection to be closed, or be one that closes it.
    pub async fn send_bytes(&self, request: &[u8], patience: Duration) -> Option<Answer> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = self.connector.connect(name, stream).await.ok()?;
        // The answer to a request that is refused early comes before all of it is sent.
        let _ = stream.write_all(request).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let _ = timeout(patience, stream.read_to_end(&mut answer)).await;
        parse(&answer)
    }
}

/// An answer in HTTP/1.1 whose body ends with the connection.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(Answer { status, headers, body: Bytes::copy_from_slice(&answer[end + 4..]) })
}
