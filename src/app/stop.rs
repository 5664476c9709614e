//! The end: what was begun is finished in time, or handed back.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{App, trail};
use crate::worker::Phase;

/// Work that began with the last request has this long beyond `drain_s`.
const LAST_WORK: Duration = Duration::from_secs(1);
/// How long handing work back may take: beyond that its leases lapse.
const HAND_BACK: Duration = Duration::from_secs(3);

impl App {
    /// Ends. For `linger_s` clients are served as ever, while load balancers see that they should send no
    /// more. Then no connection is accepted any more, and requests under way are answered while workers go on
    /// for them; then what workers have claimed is finished. What is not done when `drain_s` is over, or
    /// when `at_once` is ready, is cut off and handed back for others, or for the next start.
    pub(crate) async fn stop(mut self, at_once: impl Future<Output = ()>) {
        let in_time = {
            let mut finished = pin!(self.finish());
            tokio::select! {
                in_time = &mut finished => in_time,
                () = at_once => false,
            }
        };
        if !in_time {
            self.cut_off().await;
        }
        trail::close(&self.config, &self.context).await;
        self.context.store.close().await;
    }

    /// Whether everything came to its end in time.
    async fn finish(&mut self) -> bool {
        self.leaving.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.config.server.linger).await;
        // Nobody listens any more if all tasks have ended: then there is nothing to stop.
        let _ = self.stop.send(true);
        let ends = async {
            while self.tasks.join_next().await.is_some() {}
            let _ = self.phase.send(Phase::Finishing);
            while self.workers.join_next().await.is_some() {}
        };
        tokio::time::timeout(self.config.server.drain + LAST_WORK, ends).await.is_ok()
    }

    async fn cut_off(&mut self) {
        self.tasks.shutdown().await;
        let _ = self.phase.send(Phase::Ending);
        let ended = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(HAND_BACK, ended).await.is_err() {
            tracing::warn!("work could not be handed back: its leases lapse, and it is done then");
            self.workers.shutdown().await;
        }
    }
}
