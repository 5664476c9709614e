//! The bodies of requests: how long they may be, how long they may take, and how much of them is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use ipnet::IpNet;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::acme::problem::{Problem, ProblemType};
use crate::http::admission::Caller;

/// The largest: a CSR of 100 long names under an RSA-8192 key, in base64url twice, fits.
const MAX_BODY: usize = 128 * 1024;
/// Of a body that is too long, so much is read at most.
const MAX_DISCARDED: usize = 2 * 1024 * 1024;
/// For a body to come, all of it: the largest needs 105 kbit/s.
const TIME: Duration = Duration::from_secs(10);
/// What bodies are counted in; most fit into one.
const BLOCK: usize = 4 * 1024;
/// Of all bodies that are being read: 64 MiB.
const BLOCKS: usize = 16 * 1024;
/// Of one client's, without the first of each: 16 of the largest, and no client known sends one without a
/// reason. Its connections are limited, too.
const BLOCKS_PER_CLIENT: usize = 512;

/// The bodies that are being read.
#[derive(Debug)]
pub(crate) struct Bodies {
    blocks: Semaphore,
    clients: Mutex<HashMap<IpNet, usize>>,
    time: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { blocks: Semaphore::new(BLOCKS), clients: Mutex::default(), time: TIME }
    }
}

/// A body as far as it has come.
struct Kept<'a> {
    bodies: &'a Bodies,
    client: Option<IpNet>,
    bytes: Vec<u8>,
    blocks: Option<SemaphorePermit<'a>>,
    /// How many of them count as the client's.
    of_client: usize,
}

impl<'a> Kept<'a> {
    fn none(bodies: &'a Bodies, client: Option<IpNet>) -> Self {
        Self { bodies, client, bytes: Vec::new(), blocks: None, of_client: 0 }
    }

    fn extend(&mut self, data: &[u8]) -> Result<(), Problem> {
        let length = self.bytes.len() + data.len();
        if length > self.bytes.capacity() {
            // Double, so that a body in small pieces is not copied for each.
            let capacity = (self.bytes.len() * 2).min(MAX_BODY).max(length);
            self.reserve(capacity.div_ceil(BLOCK))?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn reserve(&mut self, blocks: usize) -> Result<(), Problem> {
        let held = self.blocks.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = blocks.saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let count = u32::try_from(more).map_err(|_| busy())?;
        let more = self.bodies.blocks.try_acquire_many(count).map_err(|_| busy())?;
        match &mut self.blocks {
            Some(held) => held.merge(more),
            None => self.blocks = Some(more),
        }
        let of_client = blocks.saturating_sub(1);
        if of_client > self.of_client
            && let Some(client) = self.client
        {
            let mut clients = self.bodies.clients.lock().unwrap_or_else(PoisonError::into_inner);
            let count = clients.get(&client).copied().unwrap_or_default();
            let count = count + of_client - self.of_client;
            if count > BLOCKS_PER_CLIENT {
                return Err(busy());
            }
            clients.insert(client, count);
            self.of_client = of_client;
        }
        Ok(())
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.filter(|_| self.of_client > 0) else { return };
        let mut clients = self.bodies.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&client) {
            *count -= self.of_client;
            if *count == 0 {
                clients.remove(&client);
            }
        }
    }
}

impl Bodies {
    /// Reads a body of at most [`MAX_BODY`] bytes. Of a longer one the rest is read too, so that its
    /// sender gets to see the answer, but not without end; and one that says so beforehand is not waited
    /// for.
    ///
    /// # Errors
    /// It is too long, did not come in time, or broke off; or too much is being read already.
    pub(super) async fn read(&self, request: Request) -> Result<Vec<u8>, Problem> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > MAX_DISCARDED) {
            return Err(too_long());
        }
        timeout(self.time, self.collect(request)).await.unwrap_or_else(|_| {
            let detail =
                format!("the request's body did not come within {} s", self.time.as_secs());
            Err(Problem::malformed(detail).with_status(408))
        })
    }

    async fn collect(&self, request: Request) -> Result<Vec<u8>, Problem> {
        let client = request.extensions().get::<Caller>().and_then(Caller::counted);
        let mut body = request.into_body();
        let (mut kept, mut length) = (Kept::none(self, client), 0);
        while let Some(frame) = body.frame().await
            && length <= MAX_DISCARDED
        {
            let frame =
                frame.map_err(|_| Problem::malformed("the request's body could not be read"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length <= MAX_BODY {
                kept.extend(&data)?;
            } else {
                kept = Kept::none(self, client);
            }
        }
        if length > MAX_BODY { Err(too_long()) } else { Ok(std::mem::take(&mut kept.bytes)) }
    }
}

fn too_long() -> Problem {
    let detail = format!("the request is longer than {MAX_BODY} bytes");
    Problem::malformed(detail).with_status(413)
}

fn busy() -> Problem {
    let detail = "too much of requests is being read just now; try again in a moment";
    Problem::new(ProblemType::ServerInternal, detail).with_status(503)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use axum::body::{Body, Bytes};
    use axum::http::HeaderMap;
    use futures_util::stream::{self, StreamExt as _};

    use super::*;
    use crate::config::Limits;
    use crate::http::admission::Admission;
    use crate::telemetry::metrics::LimitMetrics;

    fn impatient() -> Bodies {
        Bodies { time: Duration::from_millis(50), ..Bodies::default() }
    }

    fn request(body: Body) -> Request {
        Request::new(body)
    }

    /// So many bytes, and then nothing more, but no end either.
    fn unfinished(length: usize) -> Body {
        let some = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; length]))]);
        Body::from_stream(some.chain(stream::pending()))
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_to_its_end_is_a_timeout() {
        for length in [0, 1, MAX_BODY, MAX_BODY + 1] {
            let problem = impatient().read(request(unfinished(length))).await.unwrap_err();
            assert_eq!(problem.status, 408, "{length}");
        }
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read() {
        for length in [0, 1, BLOCK, BLOCK + 1, MAX_BODY] {
            let read = Bodies::default().read(request(Body::from(vec![b'x'; length]))).await;
            assert_eq!(read.unwrap().len(), length);
        }
        for length in [MAX_BODY + 1, 2 * MAX_DISCARDED] {
            let read = Bodies::default().read(request(Body::from(vec![b'x'; length]))).await;
            assert_eq!(read.unwrap_err().status, 413, "{length}");
        }
    }

    /// Reads bodies that do not come to their end, and runs `other` once they have so many blocks.
    async fn beside(
        bodies: &Bodies,
        requests: Vec<Request>,
        blocks: usize,
        other: impl Future<Output = ()>,
    ) {
        let slow = requests.into_iter().map(|request| bodies.read(request));
        let other = async {
            while bodies.blocks.available_permits() > BLOCKS - blocks {
                tokio::task::yield_now().await;
            }
            other.await;
        };
        let (slow, ()) = tokio::join!(futures_util::future::join_all(slow), other);
        assert!(slow.into_iter().all(|read| read.unwrap_err().status == 408));
        assert_eq!(bodies.blocks.available_permits(), BLOCKS, "not all were given back");
        assert!(bodies.clients.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn all_bodies_together_have_so_much_and_no_more() {
        let bodies = Bodies { time: Duration::from_millis(500), ..Bodies::default() };
        let read = |length| bodies.read(request(Body::from(vec![b'x'; length])));
        let largest = MAX_BODY / BLOCK;
        let mut slow: Vec<_> =
            (1..BLOCKS / largest).map(|_| request(unfinished(MAX_BODY))).collect();
        slow.extend((1..largest).map(|_| request(unfinished(1))));
        beside(&bodies, slow, BLOCKS - 1, async {
            let refused = read(BLOCK + 1).await.unwrap_err();
            assert_eq!(refused.status, 503);
            assert_eq!(read(BLOCK).await.unwrap().len(), BLOCK);
        })
        .await;
        assert_eq!(read(MAX_BODY).await.unwrap().len(), MAX_BODY);
    }

    #[tokio::test]
    async fn one_client_has_few_large_bodies_and_others_have_theirs() {
        let bodies = Bodies { time: Duration::from_millis(500), ..Bodies::default() };
        let admission = Admission::new(&Limits::default(), LimitMetrics::default());
        let of = |address: &str, body| {
            let peer = SocketAddr::new(address.parse().unwrap(), 1);
            let caller = admission.caller(peer, None, &HeaderMap::new()).unwrap();
            let mut request = request(body);
            request.extensions_mut().insert(caller);
            request
        };
        let whole = |length| Body::from(vec![b'x'; length]);
        let most = BLOCKS_PER_CLIENT / (MAX_BODY / BLOCK - 1);
        let slow = (0..most).map(|_| of("192.0.2.1", unfinished(MAX_BODY))).collect();
        beside(&bodies, slow, most * MAX_BODY / BLOCK, async {
            let refused = bodies.read(of("192.0.2.1", whole(MAX_BODY))).await;
            assert_eq!(refused.unwrap_err().status, 503);
            bodies.read(of("192.0.2.1", whole(BLOCK))).await.unwrap();
            bodies.read(of("192.0.2.2", whole(MAX_BODY))).await.unwrap();
            // Exempt.
            bodies.read(of("127.0.0.1", whole(MAX_BODY))).await.unwrap();
        })
        .await;
        bodies.read(of("192.0.2.1", whole(MAX_BODY))).await.unwrap();
    }
}
