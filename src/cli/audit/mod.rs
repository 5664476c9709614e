//! `kipuka audit`: the audit trail, read and checked. Nothing here changes it.

mod checkpoint;
mod list;
mod note;
mod tables;
mod verify;
mod walk;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(super) use note::{note_ceremony, note_key};

use super::{Failure, load, runtime};
use crate::app;
use crate::clock::Timestamp;
use crate::config::Needs;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check that no entry is missing or altered, and that certificates, revocations and CRLs agree
    Verify(Verify),
    /// List entries, the oldest first
    List(List),
    /// Write entries with their hashes, one line of JSON each, to be kept elsewhere
    Export(Export),
    /// Write the newest signed checkpoint as JSON, to be kept elsewhere
    Checkpoint(Checkpoint),
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Begin behind this entry, which is believed; the tables are not compared then
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    since: Option<i64>,
    /// A checkpoint that was kept elsewhere; may be repeated
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The certificate of a CA that signed checkpoints and is not configured any more; may be repeated
    #[arg(long, value_name = "FILE")]
    ca_certificate: Vec<PathBuf>,
    /// Fail for warnings, too
    #[arg(long)]
    strict: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these: certificate.issued, or a whole family such as certificate
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only those of this [[ca]], by its id
    #[arg(long, value_name = "ID")]
    ca: Option<String>,
    /// Only what this account did, or what was done to it
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    account: Option<String>,
    /// Only those about this order
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    order: Option<String>,
    /// Only those about the certificate with this serial, in hex
    #[arg(long, value_name = "HEX", value_parser = super::cert::serial)]
    serial: Option<String>,
    /// Only those of this day (2027-01-31) or time (2027-01-31T12:00:00Z) and later
    #[arg(long, value_name = "TIME", value_parser = super::cert::time)]
    since: Option<Timestamp>,
    /// So many at most
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Begin behind this entry
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    since: i64,
}

#[derive(Debug, Args)]
pub(super) struct Checkpoint {
    /// Also write statement.txt, signature.bin and certificate.pem, as openssl takes them, into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn audit(config: Option<&Path>, command: &Command) -> Result<(), Failure> {
    let (config, _) = load(config, Needs::Text)?;
    runtime()?.block_on(async {
        let store = app::open_store_to_read(&config).await?;
        let done = match command {
            Command::Verify(arguments) => verify::verify(&config, &store, arguments).await,
            Command::List(arguments) => list::list(&store, arguments).await,
            Command::Export(arguments) => list::export(&store, arguments.since).await,
            Command::Checkpoint(arguments) => {
                checkpoint::print_newest(&store, arguments.out.as_deref()).await
            }
        };
        store.close().await;
        done
    })
}
