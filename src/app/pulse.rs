//! Whether the server makes progress, for whoever would start it again.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::App;
use crate::store::Store;

/// Feels whether a server gets on with its work.
#[derive(Clone)]
pub(crate) struct Pulse {
    store: Store,
    tasks: Arc<[AbortHandle]>,
}

impl App {
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse { store: self.context.store.clone(), tasks: self.handles.clone().into() }
    }
}

impl Pulse {
    /// Returns once the runtime has run a task and the store has answered. That a database or a token is
    /// away does not matter, since a restart does not bring it back: it is enough that this is
    /// said. `false` where a part of the server has ended, which only a restart brings back.
    pub(crate) async fn beats(&self) -> bool {
        let runtime = tokio::spawn(std::future::ready(())).await.is_ok();
        runtime && !self.tasks.iter().any(AbortHandle::is_finished) && self.store.goes_on().await
    }
}
