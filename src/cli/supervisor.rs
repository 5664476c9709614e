//! What systemd is told, and asks for (`sd_notify(3)`). Where it did not start kipuka, nobody is told.

use std::future::pending;

use sd_notify::NotifyState;

use crate::app::Pulse;

/// From now on clients are served.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is read again; [`ready`] tells the end of that.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => {
            tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration")])
        }
        Err(error) => tracing::warn!(%error, "systemd cannot be told of the reload"),
    }
}

pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what was begun")]);
}

/// Feeds systemd's watchdog, where there is one, for as long as the server gets on.
pub(super) async fn feed_watchdog(pulse: Pulse) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return pending().await };
    // What hangs is not asked a second time: nothing is fed until it answers.
    while pulse.beats().await {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
    tracing::error!("a part of the server has ended: only a restart brings it back");
    pending().await
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
