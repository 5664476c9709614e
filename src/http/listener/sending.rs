//! The body of an answer, which is under way until its last byte is handed to the system.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::activity::UnderWay;

/// Bytes a second that a client must take of an answer, once its first time is over.
const SLOWEST: u64 = 16 * 1024;

pub(super) struct Sending {
    body: Body,
    under_way: Arc<UnderWay>,
}

impl Sending {
    /// An answer has so long, and longer where it is large.
    pub(super) fn new(body: Body, mut under_way: UnderWay, time: Duration) -> Self {
        let size = body.size_hint().upper().unwrap_or_default();
        under_way.answer_within(time + Duration::from_secs(size / SLOWEST));
        Self { body, under_way: Arc::new(under_way) }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let under_way = Arc::clone(&self.under_way);
        // Over HTTP/2 a body is soon taken in whole, and waits in hyper until its client opens the window.
        let held = |bytes| Bytes::from_owner(Held { bytes, _under_way: under_way });
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A piece of an answer, with which goes what says that it is under way.
struct Held {
    bytes: Bytes,
    _under_way: Arc<UnderWay>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
