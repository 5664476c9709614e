//! One line of the log for each event, with the fields of the spans around it.
//!
//! Whatever a stranger sent may be in a field. So strings are escaped in both formats, as JSON or as Rust
//! writes them, and none is longer than a line can bear: nobody can write a line of the log but kipuka.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Longer strings are cut off, in bytes.
const LONGEST: usize = 2048;
/// What is for traces only (OpenTelemetry's names); the line at a request's end says as much.
const NOT_SHOWN: [&str; 4] = ["db.", "http.", "otel.", "url."];

/// Writes the lines.
pub(super) struct Lines<W> {
    pub(super) format: LogFormat,
    pub(super) colours: bool,
    pub(super) writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut target = Cow::Borrowed(event.metadata().target());
        if target == "log" {
            // Of a crate that logs in the other way, whose own words are in fields.
            if let Some(Value::String(own)) = fields.take("log.target") {
                target = Cow::Owned(own);
            }
            fields.0.retain(|(name, _)| !name.starts_with("log."));
        }
        let level = *event.metadata().level();
        let message = fields.take("message");
        let mut line = match self.format {
            LogFormat::Json => Line::object(level, message.as_ref()),
            LogFormat::Text => Line::text(level, &target, message.as_ref(), self.colours),
        };
        line.add(&fields);
        // From the innermost: what an event or a span says itself counts, not what those around it say.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                line.add(around);
            }
        }
        let line = line.end(&target);
        // There is nowhere to say that it failed.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(&line);
    }
}

fn now() -> String {
    let mut time = String::new();
    // It is in its place, whatever is in it.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// A line as it is written, a field after the other. To write into it does not fail.
struct Line {
    format: LogFormat,
    bytes: Vec<u8>,
    /// What it has, each once.
    names: Vec<&'static str>,
}

impl Line {
    fn new(format: LogFormat) -> Self {
        Self { format, bytes: Vec::with_capacity(512), names: Vec::with_capacity(16) }
    }

    fn object(level: Level, message: Option<&Value>) -> Self {
        let mut line = Self::new(LogFormat::Json);
        line.member("timestamp", &now().into());
        line.member("level", &level.as_str().into());
        if let Some(message) = message {
            line.member("message", message);
        }
        line
    }

    fn text(level: Level, target: &str, message: Option<&Value>, colours: bool) -> Self {
        let (colour, plain) = match level {
            _ if !colours => ("", ""),
            Level::ERROR => ("\x1b[31m", "\x1b[0m"),
            Level::WARN => ("\x1b[33m", "\x1b[0m"),
            Level::INFO => ("\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[34m", "\x1b[0m"),
        };
        let mut line = Self::new(LogFormat::Text);
        let bytes = &mut line.bytes;
        let _ = write!(bytes, "{} {colour}{level:>5}{plain} {target}: ", now());
        // Quotes in a sentence are as they are, and what would end the line is not.
        for c in message.and_then(Value::as_str).unwrap_or_default().chars() {
            let _ = if c.is_control() {
                write!(bytes, "{}", c.escape_debug())
            } else {
                write!(bytes, "{c}")
            };
        }
        line
    }

    /// Adds those fields of which there is none of that name.
    fn add(&mut self, fields: &Fields) {
        for (name, value) in &fields.0 {
            if self.names.contains(name) {
                continue;
            }
            self.names.push(name);
            if self.format == LogFormat::Json {
                self.member(name, value);
                continue;
            }
            let _ = match value {
                Value::String(text) => write!(self.bytes, " {name}={text:?}"),
                value => write!(self.bytes, " {name}={value}"),
            };
        }
    }

    fn member(&mut self, name: &str, value: &Value) {
        self.bytes.push(if self.bytes.is_empty() { b'{' } else { b',' });
        let _ = serde_json::to_writer(&mut self.bytes, name);
        self.bytes.push(b':');
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }

    fn end(mut self, target: &str) -> Vec<u8> {
        if self.format == LogFormat::Json {
            self.member("target", &target.into());
            self.bytes.push(b'}');
        }
        self.bytes.push(b'\n');
        self.bytes
    }
}

/// The fields of an event or a span, in the order in which they came.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if !is_shown(field) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name, value)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(place).1)
    }
}

fn is_shown(field: &Field) -> bool {
    !NOT_SHOWN.iter().any(|prefix| field.name().starts_with(prefix))
}

/// A string that ends with what it was too long for.
fn shortened(mut text: String) -> Value {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text.into()
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_shown(field) {
            self.set(field, shortened(value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if is_shown(field) {
            self.set(field, shortened(format!("{value:?}")));
        }
    }
}
