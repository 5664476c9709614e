//! Requests, by the route that served them, and the connections they come by.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::Series;

/// The longest answer is one that is held back for a result; what takes longer is cut off at 60 s.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The route's pattern, never the URL itself: ids in it would make endless series.
    route: String,
    status: u16,
    /// The problem type's name; empty where the answer is none.
    problem: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

/// What is answered, and over which connections.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<ListenerLabels, Gauge>,
    open: Family<ListenerLabels, Gauge>,
    accepted: Family<ListenerLabels, Counter>,
    handshakes_failed: Family<ListenerLabels, Counter>,
}

impl HttpMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Family::default(),
            open: Family::default(),
            accepted: Family::default(),
            handshakes_failed: Family::default(),
        };
        series.add(
            "http_requests",
            "HTTP requests by route, status and ACME problem type",
            &metrics.requests,
        );
        series.add(
            "http_request_seconds",
            "Time to answer an HTTP request, by route, in seconds; finalize and challenges wait for a \
             result",
            &metrics.seconds,
        );
        series.add("http_requests_in_flight", "HTTP requests not answered yet", &metrics.in_flight);
        series.add("http_connections_open", "Connections open, by listener", &metrics.open);
        series.add("http_connections_accepted", "Connections accepted", &metrics.accepted);
        series.add(
            "tls_handshakes_failed",
            "TLS handshakes that did not come to their end",
            &metrics.handshakes_failed,
        );
        metrics
    }

    /// A request was answered.
    pub(crate) fn answered(
        &self,
        route: &str,
        status: u16,
        problem: Option<&'static str>,
        took: Duration,
    ) {
        // What no route serves.
        let route = if route.is_empty() { "none" } else { route };
        let problem = problem.unwrap_or_default();
        let labels = RequestLabels { route: route.to_owned(), status, problem };
        self.requests.get_or_create(&labels).inc();
        let labels = RouteLabels { route: route.to_owned() };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The series of one listener, which show from now on.
    pub(crate) fn listener(&self, listener: &'static str) -> ListenerMetrics {
        let labels = ListenerLabels { listener };
        ListenerMetrics {
            in_flight: self.in_flight.get_or_create_owned(&labels),
            open: self.open.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            handshakes_failed: self.handshakes_failed.get_or_create_owned(&labels),
            http: self.clone(),
        }
    }
}

/// As [`HttpMetrics`], of one listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerMetrics {
    in_flight: Gauge,
    open: Gauge,
    accepted: Counter,
    handshakes_failed: Counter,
    pub(crate) http: HttpMetrics,
}

impl ListenerMetrics {
    /// A connection was accepted; it is open until this is dropped.
    pub(crate) fn accepted(&self) -> Counted {
        self.accepted.inc();
        Counted::in_gauge(&self.open)
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// A request came; it is under way until this is dropped.
    pub(crate) fn request(&self) -> Counted {
        Counted::in_gauge(&self.in_flight)
    }
}

/// One more in a gauge, until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(super) fn in_gauge(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
