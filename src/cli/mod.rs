//! The command line: one file for each command.

/// A line on stdout, as `println!`. Whoever reads it may have gone (`| head`): what is under way, such
/// as a certificate whose key was made just now, is finished all the same.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say(format_args!($($words)*)) };
}

mod account;
mod audit;
mod ca;
mod cert;
mod check;
mod circumstances;
mod db;
mod dev;
mod eab;
mod environment;
mod files;
mod hsm;
mod order;
mod pin;
mod policy;
mod serve;
mod supervisor;
mod token;
mod transcript;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::app::{self, StartError};
use crate::clock::Clock;
use crate::config::{self, Config, Needs, Warning};
use crate::store::Store;
use crate::telemetry::metrics::StoreMetrics;

/// A certificate authority that speaks ACME and keeps its keys in an HSM.
#[derive(Debug, Parser)]
#[command(name = "kipuka", version, about)]
struct Cli {
    /// The configuration [default: `$KIPUKA_CONFIG`, else ./kipuka.toml, else /etc/kipuka/kipuka.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT (this is what `kipuka` alone does)
    Serve,
    /// Make a whole CA in one directory, and run it: for trying out and for tests
    Dev(dev::Arguments),
    /// Say what `serve` would: load everything, change nothing
    Check,
    /// What the token offers, and new keys on it
    Hsm(hsm::Arguments),
    /// The key ceremony: make and show the certificates of CAs whose keys are in tokens
    #[command(subcommand)]
    Ca(ca::Command),
    /// Accounts: list, show, deactivate
    #[command(subcommand)]
    Account(account::Command),
    /// Keys that bind new accounts to those who are known to the operator
    #[command(subcommand)]
    Eab(eab::Command),
    /// Issued certificates: list, show, revoke
    #[command(subcommand)]
    Cert(cert::Command),
    /// Orders, and what became of them
    #[command(subcommand)]
    Order(order::Command),
    /// The audit trail: every decision, checked and listed
    #[command(subcommand)]
    Audit(audit::Command),
    /// The rules of what is issued
    #[command(subcommand)]
    Policy(policy::Command),
    /// The database's schema
    #[command(subcommand)]
    Db(db::Command),
}

/// Why a command did not do its work.
#[derive(Debug)]
enum Failure {
    /// Exit code 1, with what went wrong and what to do about it.
    Failed(String),
    /// Exit code 2: wrong usage or wrong configuration.
    Misconfigured(String),
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
    fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }

    fn text(&self) -> &str {
        match self {
            Self::Failed(text) | Self::Misconfigured(text) => text,
        }
    }
}

/// A refused PIN counts as wrong configuration: a supervisor must not try it again and again.
impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Failed(text) => Self::Failed(text),
            StartError::PinRefused(text) => Self::Misconfigured(format!("kipuka: {text}")),
        }
    }
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    // clap ends the process itself, with 2 for wrong usage and 0 for --help.
    let cli = Cli::parse();
    let config = cli.config.as_deref();
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::serve(config),
        Command::Dev(arguments) => dev::dev(&arguments),
        Command::Check => check::check(config),
        Command::Hsm(arguments) => hsm::hsm(config, &arguments),
        Command::Ca(command) => ca::ca(config, &command),
        Command::Account(command) => account::account(config, &command),
        Command::Eab(command) => eab::eab(config, &command),
        Command::Cert(command) => cert::cert(config, &command),
        Command::Order(command) => order::order(config, &command),
        Command::Audit(command) => audit::audit(config, &command),
        Command::Policy(command) => policy::policy(config, &command),
        Command::Db(command) => db::db(config, &command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => {
            eprintln!("kipuka: {text}");
            ExitCode::FAILURE
        }
        Err(Failure::Misconfigured(text)) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn say(words: std::fmt::Arguments<'_>) {
    // There is nobody to tell.
    let _ = writeln!(io::stdout(), "{words}");
}

/// Prints a listing. Whoever reads it may have read enough (`| head`): that is no failure.
fn print_listing(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// A listing for programs.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print_listing(&(serde_json::to_string_pretty(value).map_err(Failure::failed)? + "\n"))
}

/// Reads the configuration; a mistake in it ends the program with 2.
fn load(explicit: Option<&Path>, needs: Needs) -> Result<(Config, Vec<Warning>), Failure> {
    let environment = |name: &str| env::var(name).ok();
    let wrong = |errors: config::Errors| Failure::Misconfigured(errors.to_string());
    let file = config::find(explicit.map(Path::to_owned), &environment).map_err(wrong)?;
    config::load(&file, &environment, needs).map_err(wrong)
}

/// Does something with the database that the configuration names, its schema brought up to date.
fn with_store(
    config: Option<&Path>,
    work: impl AsyncFnOnce(&Config, &Store) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config, _) = load(config, Needs::Text)?;
    runtime()?.block_on(async {
        let store = app::open_store(&config, &StoreMetrics::default()).await?;
        let done = work(&config, &store).await;
        let sealed = store.seal_own(Clock::System.now()).await.map_err(Failure::failed);
        store.close().await;
        done.and(sealed)
    })
}

/// The id of the `[[ca]]` that is meant; it need not be named where there is only one.
fn configured_ca(config: &Config, named: Option<&str>) -> Result<String, Failure> {
    let ids: Vec<_> = config.cas.iter().map(|ca| ca.id.as_str()).collect();
    match (named, ids.as_slice()) {
        (Some(id), ids) if ids.contains(&id) => Ok(id.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (Some(id), ids) => Err(Failure::Failed(format!(
            "there is no [[ca]] with the id {id:?}; there are: {}",
            ids.join(", ")
        ))),
        (None, ids) => {
            Err(Failure::Failed(format!("say which CA with --ca; there are: {}", ids.join(", "))))
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)
}
