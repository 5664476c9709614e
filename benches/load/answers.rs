//! What validation asks: a web server for http-01 and a DNS server for which every name is this
//! machine. The harness has both too, but remembers whatever it was asked, which a soak would notice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<HashMap<String, String>>>);

impl Answers {
    pub(crate) fn show(&self, token: &str, key_authorization: String) {
        self.0.lock().unwrap().insert(token.to_owned(), key_authorization);
    }

    pub(crate) fn hide(&self, token: &str) {
        self.0.lock().unwrap().remove(token);
    }

    /// Answers http-01 on a port, which is returned.
    pub(crate) async fn serve(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                tokio::spawn(async move { answers.answer(stream).await });
            }
        });
        port
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::with_capacity(1024);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut head).await {
                Ok(length) if length > 0 => {}
                _ => return,
            }
        }
        let token = std::str::from_utf8(&head)
            .ok()
            .and_then(|head| head.split(' ').nth(1))
            .and_then(|path| path.strip_prefix("/.well-known/acme-challenge/"));
        let body = token.and_then(|token| self.0.lock().unwrap().get(token).cloned());
        let (status, body) = body.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

const A: u16 = 1;
const HEADER: usize = 12;

/// Answers DNS on a port of loopback, which is returned: 127.0.0.1 for every name, and nothing else.
pub(crate) async fn serve_dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = answer(&buffer[..length]) {
                let _ = socket.send_to(&answer, peer).await;
            }
        }
    });
    address
}

/// The answer (RFC 1035 §4) to a query with one question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = HEADER;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(HEADER..end + 5)?;
    let kind = u16::from_be_bytes([*query.get(end + 1)?, *query.get(end + 2)?]);
    let count = u8::from(kind == A);
    let mut answer = query[..2].to_vec();
    // A response to a recursive query, of a server that recurses.
    answer.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if kind == A {
        // The name of the question, type A, class IN, no TTL, four octets.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
