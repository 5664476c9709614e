//! `kipuka db`: the schema.

use std::path::Path;

use super::{Failure, check, load};
use crate::app;
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
            app::open_store(&config, &StoreMetrics::default()).await?.close().await;
        }
        let status = check::database(&config).await.map_err(Failure::failed)?;
        println!("{}: {status}", config.database.describe());
        Ok(())
    })
}
