//! `kipuka serve`: until SIGTERM or SIGINT; SIGHUP reloads.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, environment, load};
use crate::app::App;
use crate::config::{Config, Needs};
use crate::signer::pkcs11;
use crate::telemetry::logging;

/// How long the threads in a PKCS#11 library may take to come back at the end.
const SIGNER_DRAIN: Duration = Duration::from_secs(5);

pub(super) fn serve(config: Option<&Path>) -> Result<(), Failure> {
    let (config, warnings) = load(config, Needs::Serve)?;
    run(config, &warnings, |_| {})
}

/// Serves; `listening` is told where ACME is served.
pub(super) fn run(
    config: Config,
    warnings: &[crate::config::Warning],
    listening: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    environment::complete(&config)?;
    logging::init(&config.log, &|name| std::env::var(name).ok()).map_err(Failure::failed)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let done = super::runtime()?.block_on(until_stopped(config, listening));
    // Last of all: a library must not be unloaded under the threads that are inside it.
    if !pkcs11::shut_down(SIGNER_DRAIN) {
        tracing::warn!("a PKCS#11 call did not come back; the process ends all the same");
    }
    done
}

async fn until_stopped(config: Config, listening: impl FnOnce(SocketAddr)) -> Result<(), Failure> {
    let signals = |kind| signal(kind).map_err(Failure::failed);
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut hangup = signals(SignalKind::hangup())?;
    let mut app = App::start(config, listening).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&mut app).await,
        }
    }
    tracing::info!("stopping");
    app.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// All or nothing: with a mistake anywhere in it, the old configuration goes on.
async fn reload(app: &mut App) {
    let file = app.config().file.clone();
    let (config, warnings) = match load(Some(&file), Needs::Serve) {
        Ok(loaded) => loaded,
        Err(failure) => {
            app.reload_failed();
            tracing::error!(error = failure.text(), "not reloaded; the old configuration goes on");
            return;
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match app.reload(config).await {
        Ok(()) => tracing::info!("reloaded"),
        Err(error) => {
            app.reload_failed();
            tracing::error!(%error, "not reloaded; the old configuration goes on");
        }
    }
}
