//! `kipuka serve`: until SIGTERM or SIGINT; SIGHUP reloads.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, environment, load, supervisor};
use crate::app::App;
use crate::config::{Config, Needs};
use crate::signer::pkcs11;
use crate::telemetry::logging::{self, Logging};

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
    let logging = logging::init(&config.log, &config.telemetry, &|name| std::env::var(name).ok())
        .map_err(Failure::failed)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let done = super::runtime()?.block_on(until_stopped(config, logging, listening));
    // Last of all: a library must not be unloaded under the threads that are inside it.
    if !pkcs11::shut_down(SIGNER_DRAIN) {
        tracing::warn!("a PKCS#11 call did not come back; the process ends all the same");
    }
    done
}

async fn until_stopped(
    config: Config,
    mut logging: Logging,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    let signals = |kind| signal(kind).map_err(Failure::failed);
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut hangup = signals(SignalKind::hangup())?;
    let mut asked_to_stop = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let mut app = tokio::select! {
        app = App::start(config, listening) => app?,
        // Nothing was promised to anybody yet.
        () = asked_to_stop() => return Ok(()),
    };
    supervisor::ready(&serving(&app));
    let watchdog = supervisor::feed_watchdog(app.pulse());
    let reloads = async {
        while hangup.recv().await.is_some() {
            reload(&mut app, &mut logging).await;
        }
    };
    tokio::select! {
        () = asked_to_stop() => {}
        // Neither ends.
        ((), ()) = async { tokio::join!(reloads, watchdog) } => {}
    }
    supervisor::stopping();
    tracing::info!("stopping");
    // Asked a second time, it ends at once.
    app.stop(asked_to_stop()).await;
    tracing::info!("stopped");
    Ok(())
}

fn serving(app: &App) -> String {
    match app.config().cas.len() {
        1 => "serving 1 CA".to_owned(),
        cas => format!("serving {cas} CAs"),
    }
}

/// All or nothing: with a mistake anywhere in it, the old configuration goes on.
async fn reload(app: &mut App, logging: &mut Logging) {
    supervisor::reloading();
    let done = read_and_take_over(app, logging).await;
    let status = match done {
        Ok(()) => serving(app),
        Err(()) => format!("{}; the last reload failed, see the log", serving(app)),
    };
    supervisor::ready(&status);
}

async fn read_and_take_over(app: &mut App, logging: &mut Logging) -> Result<(), ()> {
    let file = app.config().file.clone();
    let (config, warnings) = match load(Some(&file), Needs::Serve) {
        Ok(loaded) => loaded,
        Err(failure) => {
            tracing::error!(error = failure.text(), "not reloaded; the old configuration goes on");
            app.reload_failed().await;
            return Err(());
        }
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let done = app.reload(config).await;
    match &done {
        Ok(()) => {
            logging.reload(&app.config().log);
            tracing::info!("reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "not reloaded; the old configuration goes on");
            app.reload_failed().await;
        }
    }
    done.map_err(drop)
}
