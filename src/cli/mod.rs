//! The command line: one file for each command.

mod check;
mod db;
mod dev;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A certificate authority that speaks ACME and keeps its keys in an HSM.
#[derive(Debug, Parser)]
#[command(name = "kipuka", version, about)]
struct Cli {
    /// The configuration [default: $KIPUKA_CONFIG, else ./kipuka.toml, else /etc/kipuka/kipuka.toml]
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
    fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
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
