//! `kipuka db`: the schema.

use std::path::Path;

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::{Failure, load};
use crate::app;
use crate::config::Needs;
use crate::store::Store;

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
        let store = match command {
            Command::Migrate => app::open_store(&config).await?,
            Command::Status => Store::open(config.database.url.expose_secret(), 1)
                .await
                .map_err(Failure::failed)?,
        };
        let status = store.schema_status().await.map_err(Failure::failed)?;
        println!("{}: {status}", config.database.describe());
        store.close().await;
        Ok(())
    })
}
