//! `[telemetry]`: traces for OpenTelemetry.

use url::Url;

use super::reader::Section;

pub(super) const KEYS: &[&str] = &["otlp_endpoint", "sample_percent"];

/// Where OTLP over HTTP is taken, below an endpoint without a path.
const TRACES: &str = "/v1/traces";
const ALL: u64 = 100;

/// `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telemetry {
    /// Where spans are sent to; `None`: nowhere, and none are made.
    pub(crate) otlp_endpoint: Option<String>,
    /// Of the requests that no proxy has decided about.
    pub(crate) sample_percent: u64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample_percent: ALL }
    }
}

pub(super) fn read(section: &Section<'_>) -> Telemetry {
    Telemetry {
        otlp_endpoint: endpoint(section),
        sample_percent: section.integer("sample_percent", 0..=100).unwrap_or(ALL),
    }
}

fn endpoint(section: &Section<'_>) -> Option<String> {
    let text = section.string("otlp_endpoint")?;
    let plain = |url: &Url| {
        url.scheme() == "http"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    };
    let Some(mut url) = Url::parse(text.value).ok().filter(plain) else {
        // A password may stand in it, so it is not shown.
        section.wrong(
            "otlp_endpoint",
            "is no http URL of a host and a port",
            "write \"http://127.0.0.1:4318\": a collector on this machine, which sends the spans on by TLS",
        );
        return None;
    };
    if url.path() == "/" {
        url.set_path(TRACES);
    }
    Some(url.into())
}
