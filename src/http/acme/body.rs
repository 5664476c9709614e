//! The bodies of requests: how long they may be, how long they may take, and how much of them is kept.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::acme::problem::{Problem, ProblemType};

/// The largest: a CSR of 100 long names under an RSA-8192 key, in base64url twice, fits.
const MAX_BODY: usize = 128 * 1024;
/// Of a body that is too long, so much is read at most.
const MAX_DISCARDED: usize = 2 * 1024 * 1024;
/// For a body to come, all of it: the largest needs 105 kbit/s.
const TIME: Duration = Duration::from_secs(10);
/// Larger ones are counted: no client known sends such without a reason.
const SMALL: usize = 16 * 1024;
/// Larger ones that are read at once, of all clients together: 64 MiB.
const LARGE_AT_ONCE: usize = 512;

/// The larger bodies that are being read.
#[derive(Debug)]
pub(crate) struct Bodies {
    large: Semaphore,
    time: Duration,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { large: Semaphore::new(LARGE_AT_ONCE), time: TIME }
    }
}

impl Bodies {
    /// Reads a body of at most [`MAX_BODY`] bytes. Of a longer one the rest is read too, so that its
    /// sender gets to see the answer, but not without end; and one that says so beforehand is not waited
    /// for.
    ///
    /// # Errors
    /// It is too long, did not come in time, or broke off.
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
        let mut body = request.into_body();
        let (mut bytes, mut length) = (Vec::new(), 0);
        let mut place: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await
            && length <= MAX_DISCARDED
        {
            let frame =
                frame.map_err(|_| Problem::malformed("the request's body could not be read"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > SMALL && place.is_none() {
                place = Some(self.large.try_acquire().map_err(|_| busy())?);
            }
            if length <= MAX_BODY {
                bytes.extend_from_slice(&data);
            }
        }
        if length > MAX_BODY { Err(too_long()) } else { Ok(bytes) }
    }
}

fn too_long() -> Problem {
    let detail = format!("the request is longer than {MAX_BODY} bytes");
    Problem::malformed(detail).with_status(413)
}

fn busy() -> Problem {
    let detail = "too many large requests are being read just now; try again in a moment";
    Problem::new(ProblemType::ServerInternal, detail).with_status(503)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::{Body, Bytes};
    use futures_util::stream::{self, StreamExt as _};

    use super::*;

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
        for length in [0, 1, SMALL, SMALL + 1, MAX_BODY] {
            let read = Bodies::default().read(request(Body::from(vec![b'x'; length]))).await;
            assert_eq!(read.unwrap().len(), length);
        }
        for length in [MAX_BODY + 1, 2 * MAX_DISCARDED] {
            let read = Bodies::default().read(request(Body::from(vec![b'x'; length]))).await;
            assert_eq!(read.unwrap_err().status, 413, "{length}");
        }
    }

    #[tokio::test]
    async fn slow_large_bodies_are_few_and_leave_the_small_ones_alone() {
        let bodies = Bodies { large: Semaphore::new(2), ..impatient() };
        let slow = || bodies.read(request(unfinished(SMALL + 1)));
        let one_more = async {
            tokio::task::yield_now().await;
            let large = bodies.read(request(Body::from(vec![b'x'; SMALL + 1]))).await;
            assert_eq!(large.unwrap_err().status, 503);
            bodies.read(request(Body::from(vec![b'x'; SMALL]))).await.unwrap();
        };
        let (one, two, ()) = tokio::join!(slow(), slow(), one_more);
        assert_eq!((one.unwrap_err().status, two.unwrap_err().status), (408, 408));
        // Their places are free again.
        bodies.read(request(Body::from(vec![b'x'; SMALL + 1]))).await.unwrap();
    }
}
