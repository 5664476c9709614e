//! The environment that a PKCS#11 library reads when it is loaded.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::Failure;
use crate::config::Config;

/// Makes sure that the process has the variables of `[hsm.environment]`. Where it lacks one it
/// starts itself again with it, under the same process id: to change the environment of a process
/// that has threads is not safe.
pub(super) fn complete(config: &Config) -> Result<(), Failure> {
    let variables = config.hsms.iter().flat_map(|hsm| &hsm.environment);
    set(variables.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Returns where all of these are set, and does not return else.
pub(super) fn set<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), Failure> {
    let missing: Vec<_> =
        variables.filter(|(name, value)| env::var(name).as_deref() != Ok(value)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let program = env::current_exe().map_err(Failure::failed)?;
    let mut arguments = env::args_os();
    let name = arguments.next();
    let mut command = Command::new(program);
    if let Some(name) = name {
        command.arg0(name);
    }
    let error = command.args(arguments).envs(missing).exec();
    Err(Failure::Failed(format!("cannot start again with [hsm.environment]: {error}")))
}
