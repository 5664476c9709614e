//! `kipuka hsm`: what the token offers, in the words of PKCS#11.

mod bench;
mod init_token;
mod keygen;
mod keys;
mod slots;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::token::{DRAIN, Id, with_tokens};
use super::{Failure, pin};
use crate::config::Needs;
use crate::signer::pkcs11;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which token, by its name in [[hsm]]; needed only where there are several
    #[arg(long = "hsm", value_name = "NAME", global = true)]
    name: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the slots of the library, and what to write into kipuka.toml for each token
    Slots {
        /// The PKCS#11 library [default: that of each [hsm]]
        #[arg(long, value_name = "FILE")]
        library: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys on the token of [hsm]: kind, usage, and whether they can leave it
    Keys {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure signatures per second by the number of sessions, and recommend `max_sessions`
    Bench {
        /// The `CKA_ID` of the key to sign with, in hex [default: the only one there is]
        #[arg(long, value_name = "HEX", value_parser = Id::parse)]
        id: Option<Id>,
        /// How long each number of sessions is measured
        #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
        seconds: u64,
        /// The numbers of sessions
        #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16")]
        sessions: Vec<NonZeroUsize>,
    },
    /// Initialise a fresh token: its label and both PINs (an HSM comes with its own tool for this)
    InitToken(init_token::Arguments),
    /// Make a key pair on the token: sensitive, not extractable, for signing only
    Keygen(keygen::Arguments),
}

pub(super) fn hsm(config: Option<&Path>, arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.name.as_deref();
    match &arguments.command {
        Command::Slots { library: Some(library), json } => {
            let listed = slots::of(std::slice::from_ref(library), *json);
            pkcs11::shut_down(DRAIN);
            listed
        }
        Command::Slots { library: None, json } => with_tokens(config, Needs::Text, |tokens| {
            let libraries = match name {
                Some(_) => vec![tokens.hsm(name)?.library.clone()],
                None => tokens.libraries()?,
            };
            slots::of(&libraries, *json)
        }),
        Command::Keys { json } => {
            with_tokens(config, Needs::Token, |tokens| keys::keys(&tokens.open(name)?.token, *json))
        }
        Command::Bench { id, seconds, sessions } => with_tokens(config, Needs::Token, |tokens| {
            let mut hsm = tokens.hsm(name)?.clone();
            pin::ask(&mut hsm)?;
            let sessions: Vec<_> = sessions.iter().map(|sessions| sessions.get()).collect();
            let each = Duration::from_secs(*seconds);
            let id = id.as_ref().map(|id| id.0.as_slice());
            tokens.runtime.block_on(bench::bench(&hsm, id, &sessions, each))
        }),
        Command::InitToken(arguments) => with_tokens(config, Needs::Token, |tokens| {
            init_token::init_token(tokens, name, arguments)
        }),
        Command::Keygen(arguments) => {
            with_tokens(config, Needs::Token, |tokens| keygen::keygen(tokens, name, arguments))
        }
    }
}
