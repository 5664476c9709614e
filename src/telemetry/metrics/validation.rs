//! Validation: attempts by challenge type, CAA, and the DNS questions of both.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::Series;

/// An attempt ends after 10 s unless it is configured otherwise.
const ATTEMPT_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// A question is given up after 3 s.
const DNS_SECONDS: [f64; 11] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 3.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    challenge: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChallengeLabels {
    challenge: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answer: &'static str,
}

/// What was looked at on the network; by default series that nobody sees.
#[derive(Clone, Debug)]
pub(crate) struct ValidationMetrics {
    attempts: Family<AttemptLabels, Counter>,
    seconds: Family<ChallengeLabels, Histogram, fn() -> Histogram>,
    caa: Family<OutcomeLabels, Counter>,
    dns: Family<AnswerLabels, Counter>,
    dns_seconds: Histogram,
}

impl Default for ValidationMetrics {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(ATTEMPT_SECONDS)),
            caa: Family::default(),
            dns: Family::default(),
            dns_seconds: Histogram::new(DNS_SECONDS),
        }
    }
}

impl ValidationMetrics {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let metrics = Self::default();
        series.add(
            "validation_attempts",
            "Attempts by challenge type and outcome: proved, refused, unreachable",
            &metrics.attempts,
        );
        series.add(
            "validation_attempt_seconds",
            "Time of an attempt, by challenge type, in seconds",
            &metrics.seconds,
        );
        series.add(
            "caa_checks",
            "CAA lookups by outcome: permitted, forbidden, unreachable",
            &metrics.caa,
        );
        series.add(
            "dns_queries",
            "DNS questions by answer: an rcode, or timeout, error, mismatch",
            &metrics.dns,
        );
        for outcome in ["permitted", "forbidden", "unreachable"] {
            drop(metrics.caa.get_or_create(&OutcomeLabels { outcome }));
        }
        series.add("dns_query_seconds", "Time of a DNS question, in seconds", &metrics.dns_seconds);
        metrics
    }

    pub(crate) fn attempted(&self, challenge: &'static str, outcome: &'static str, took: Duration) {
        self.attempts.get_or_create(&AttemptLabels { challenge, outcome }).inc();
        let labels = ChallengeLabels { challenge };
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn caa_checked(&self, outcome: &'static str) {
        self.caa.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// `answer` is an rcode or another word of a short list.
    pub(crate) fn dns_asked(&self, answer: &'static str, took: Duration) {
        self.dns.get_or_create(&AnswerLabels { answer }).inc();
        self.dns_seconds.observe(took.as_secs_f64());
    }
}
