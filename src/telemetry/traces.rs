//! Spans for OpenTelemetry: made where somebody takes them, and sent from a thread of their own.
//!
//! The queue has an end, and what does not fit is dropped: a collector that is slow or dead costs nobody
//! anything.

mod client;

use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Telemetry;

/// The target of spans that are in no log.
pub(crate) const ONLY: &str = "kipuka::spans";

/// Spans that wait to be sent; a certificate has some sixty.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
const INTERVAL: Duration = Duration::from_secs(1);
/// A longer `traceparent` is none (W3C Trace Context §3.2: 55, in this version of it).
const LONGEST_PARENT: usize = 128;
/// How long the end of the process waits for what is still to be sent.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("[telemetry] otlp_endpoint: {0}")]
pub(crate) struct TracesError(String);

/// What makes spans and sends them, until this is dropped.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// `None` where nobody takes them.
    pub(super) fn start(config: &Telemetry) -> Result<Option<Self>, TracesError> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(client::PATIENCE)
            .with_http_client(client::Client::default())
            .build()
            .map_err(|error| TracesError(error.to_string()))?;
        let queue = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(INTERVAL)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(queue).build();
        let resource = Resource::builder()
            .with_service_name("kipuka")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let ratio = config.sample_percent as f64 / 100.0;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_span_processor(processor)
            .build();
        Ok(Some(Self(provider)))
    }

    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = Targets::new()
            .with_target("kipuka", LevelFilter::INFO)
            .with_target(ONLY, LevelFilter::TRACE);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("kipuka"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // What a collector does not take now, it does not get.
        let _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// Has a span belong to the trace of whoever asked, by the `traceparent` of their request (W3C Trace
/// Context); one that cannot be read belongs to a trace of its own.
pub(crate) fn follow(span: &tracing::Span, traceparent: &str) {
    struct Header<'a>(&'a str);
    impl Extractor for Header<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == "traceparent").then_some(self.0)
        }

        fn keys(&self) -> Vec<&str> {
            vec!["traceparent"]
        }
    }
    if traceparent.len() <= LONGEST_PARENT {
        let context = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &Header(traceparent));
        // Nobody makes spans: then there is nothing to set.
        let _ = span.set_parent(context);
    }
}

#[cfg(test)]
mod tests;
