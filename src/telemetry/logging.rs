//! The log: lines for people or objects for machines, on stderr.

mod gathered;

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use self::gathered::Gathering;
use super::lines::Lines;
use super::traces::{Traces, TracesError};
use crate::config::{Env, Log, LogFormat, Telemetry};

/// The variable that overrides `[log] level`.
const VARIABLE: &str = "KIPUKA_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggingError {
    #[error("{VARIABLE} is no filter ({0}); set it to \"info\", or \"info,kipuka::store=debug\"")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error("there is no thread for the log: {0}")]
    Thread(#[from] io::Error),
}

/// The log of this process, while it runs; the last spans are sent when it is dropped, and the last lines
/// are written. Lines that come later are written as they come.
pub(crate) struct Logging {
    filter: Handle<EnvFilter, Registry>,
    /// What the variable says, it says until the end.
    overridden: bool,
    log: Log,
    _traces: Option<Traces>,
    _gathering: Option<Gathering>,
}

/// Starts the log of this process, at the level of `$KIPUKA_LOG` or else of the configuration.
///
/// # Errors
/// `$KIPUKA_LOG` is not a filter, or the log of this process is running already.
pub(crate) fn init(
    log: &Log,
    telemetry: &Telemetry,
    env: &Env<'_>,
) -> Result<Logging, LoggingError> {
    let colours = io::stderr().is_terminal() && env("NO_COLOR").is_none_or(|set| set.is_empty());
    let overridden = env(VARIABLE).is_some_and(|set| !set.is_empty());
    let traces = Traces::start(telemetry)?;
    let filter = filter(log, env)?;
    let (gathered, gathering) = gathered::gather(io::stderr())?;
    let (subscriber, filter) = subscriber(log.format, filter, colours, gathered, traces.as_ref());
    subscriber.try_init()?;
    Ok(Logging {
        filter,
        overridden,
        log: log.clone(),
        _traces: traces,
        _gathering: Some(gathering),
    })
}

impl Logging {
    /// Goes on at the level of another configuration.
    pub(crate) fn reload(&mut self, log: &Log) {
        if log.format != self.log.format {
            tracing::warn!("a change of [log] format needs a restart");
        }
        if log.level == self.log.level {
            return;
        }
        if self.overridden {
            tracing::warn!("[log] level has no effect while {VARIABLE} is set");
            return;
        }
        // It was read before, and the subscriber lives as long as the process.
        let set = configured(log).map(|filter| self.filter.reload(filter));
        if let Ok(Ok(())) = set {
            self.log.level.clone_from(&log.level);
            tracing::info!(level = log.level, "the log's level was changed");
        }
    }
}

fn filter(log: &Log, env: &Env<'_>) -> Result<EnvFilter, LoggingError> {
    match env(VARIABLE).filter(|set| !set.is_empty()) {
        Some(set) => Ok(EnvFilter::try_new(set)?),
        None => configured(log),
    }
}

fn configured(log: &Log) -> Result<EnvFilter, LoggingError> {
    // cryptoki calls every mechanism that it has no name for an error.
    Ok(EnvFilter::try_new(format!("{},cryptoki=off", log.level))?)
}

type Boxed = Box<dyn Subscriber + Send + Sync>;

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
    traces: Option<&Traces>,
) -> (Boxed, Handle<EnvFilter, Registry>)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter);
    let lines = Lines { format, colours, writer }.with_filter(filter);
    let registry = Registry::default().with(lines);
    match traces {
        // Without, no span is made that is for traces only.
        None => (Box::new(registry), handle),
        Some(traces) => (Box::new(registry.with(traces.layer())), handle),
    }
}

#[cfg(test)]
mod tests;
