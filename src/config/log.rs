//! `[log]`: what kipuka says on stderr.

use tracing_subscriber::EnvFilter;

use super::reader::{Section, shortened};

pub(super) const KEYS: &[&str] = &["format", "level"];

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// A filter of tracing-subscriber: `info`, or `info,kipuka::store=debug`.
    pub(crate) level: String,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

pub(super) fn read(section: &Section<'_>) -> Log {
    let default = Log::default();
    Log {
        format: format(section).unwrap_or(default.format),
        level: level(section).unwrap_or(default.level),
    }
}

fn format(section: &Section<'_>) -> Option<LogFormat> {
    let name = section.string("format")?;
    match name.value {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        other => {
            let what = format!("`{}` is no format of the log", shortened(other));
            section.wrong("format", what, "write \"text\" or \"json\"");
            None
        }
    }
}

fn level(section: &Section<'_>) -> Option<String> {
    let level = section.string("level")?;
    if EnvFilter::try_new(level.value).is_err() {
        section.wrong(
            "level",
            format!("`{}` is no level", shortened(level.value)),
            "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a filter such as \
             \"info,kipuka::store=debug\"",
        );
    }
    Some(level.value.to_owned())
}
