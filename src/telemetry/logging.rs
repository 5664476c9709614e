//! The log: lines for people or objects for machines, on stderr.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Env, Log, LogFormat};

/// The variable that overrides `[log] level`.
const VARIABLE: &str = "KIPUKA_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoggingError {
    #[error("{VARIABLE} is no filter ({0}); set it to \"info\", or \"info,kipuka::store=debug\"")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("the log is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Starts the log of this process, at the level of `$KIPUKA_LOG` or else of the configuration.
///
/// # Errors
/// `$KIPUKA_LOG` is not a filter, or the log of this process is running already.
pub(crate) fn init(log: &Log, env: &Env<'_>) -> Result<(), LoggingError> {
    let colours = io::stderr().is_terminal() && env("NO_COLOR").is_none_or(|set| set.is_empty());
    subscriber(log.format, filter(log, env)?, colours, io::stderr).try_init()?;
    Ok(())
}

fn filter(log: &Log, env: &Env<'_>) -> Result<EnvFilter, LoggingError> {
    if let Some(set) = env(VARIABLE).filter(|set| !set.is_empty()) {
        return Ok(EnvFilter::try_new(set)?);
    }
    // cryptoki calls every mechanism that it has no name for an error.
    Ok(EnvFilter::try_new(format!("{},cryptoki=off", log.level))?)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &Log, env: &Env<'_>) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = filter(log, env).unwrap();
        let subscriber = subscriber(log.format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("a detail");
            tracing::info!(order.id = "o1", "the order is ready");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_at_its_top() {
        let log = Log { format: LogFormat::Json, ..Log::default() };
        let text = logged(&log, &|_| None);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "the order is ready");
        assert_eq!(line["order.id"], "o1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_variable_overrides_the_configured_level() {
        let text = logged(&Log::default(), &|_| None);
        assert!(text.contains("the order is ready order.id=\"o1\""), "{text}");
        assert!(!text.contains("a detail"), "{text}");
        let env = |name: &str| (name == "KIPUKA_LOG").then(|| "debug".to_owned());
        assert!(logged(&Log::default(), &env).contains("a detail"));
    }

    #[test]
    fn a_wrong_variable_is_an_error_that_names_it() {
        let env = |_: &str| Some("kipuka=loud".to_owned());
        let error = filter(&Log::default(), &env).unwrap_err().to_string();
        assert!(error.contains("KIPUKA_LOG"), "{error}");
    }
}
