//! `kipuka db`: the schema.

use std::path::Path;

use super::circumstances::operator;
use super::{Failure, check, load};
use crate::app;
use crate::clock::Clock;
use crate::config::Needs;
use crate::telemetry::metrics::StoreMetrics;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Bring the schema up to date (`serve` does so by itself)
    Migrate,
    /// Say how far the schema has come
    Status,
}

pub(super) fn db(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    let (config, _) = load(config, Needs::Text)?;
    super::runtime()?.block_on(async {
        if let Command::Migrate = command {
            let store = app::open_store(&config, &StoreMetrics::default(), operator()).await?;
            let sealed = store.seal_own(Clock::System.now()).await;
            store.close().await;
            sealed.map_err(Failure::failed)?;
        }
        let status = check::database(&config).await.map_err(Failure::failed)?;
        println!("{}: {status}", config.database.describe());
        Ok(())
    })
}
