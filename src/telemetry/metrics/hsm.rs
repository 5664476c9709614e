//! Tokens, by their names in the configuration: signatures, sessions, failures and what was done about them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::Series;

/// A token, by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    token: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignatureLabels {
    token: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    token: String,
    /// `CKR_DEVICE_REMOVED`, or `none` where no call said no.
    ckr: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    token: String,
    step: &'static str,
}

/// What is done about a token that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HsmStep {
    NewSession,
    LogIn,
    Reinitialize,
    ThreadReplaced,
    CircuitOpen,
    Back,
    PinRefused,
}

impl HsmStep {
    const ALL: [Self; 7] = [
        Self::NewSession,
        Self::LogIn,
        Self::Reinitialize,
        Self::ThreadReplaced,
        Self::CircuitOpen,
        Self::Back,
        Self::PinRefused,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NewSession => "new-session",
            Self::LogIn => "log-in",
            Self::Reinitialize => "reinitialize",
            Self::ThreadReplaced => "thread-replaced",
            Self::CircuitOpen => "circuit-open",
            Self::Back => "back",
            Self::PinRefused => "pin-refused",
        }
    }
}

/// The series of one token; by default ones that nobody sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenMetrics {
    token: String,
    families: TokenFamilies,
}

#[derive(Clone, Debug)]
pub(super) struct TokenFamilies {
    signatures: Family<SignatureLabels, Counter>,
    seconds: Family<TokenLabels, Histogram, fn() -> Histogram>,
    sessions_open: Family<TokenLabels, Gauge>,
    sessions_busy: Family<TokenLabels, Gauge>,
    errors: Family<ErrorLabels, Counter>,
    steps: Family<StepLabels, Counter>,
    circuit: Family<TokenLabels, Gauge>,
}

impl Default for TokenFamilies {
    fn default() -> Self {
        Self {
            signatures: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 16))
            }),
            sessions_open: Family::default(),
            sessions_busy: Family::default(),
            errors: Family::default(),
            steps: Family::default(),
            circuit: Family::default(),
        }
    }
}

impl TokenMetrics {
    fn labels(&self) -> TokenLabels {
        TokenLabels { token: self.token.clone() }
    }

    /// A signature was made, in this time.
    pub(crate) fn signed(&self, took: Duration) {
        self.count("ok");
        self.families.seconds.get_or_create(&self.labels()).observe(took.as_secs_f64());
    }

    /// A signature was not made.
    pub(crate) fn failed(&self) {
        self.count("failed");
    }

    fn count(&self, result: &'static str) {
        let labels = SignatureLabels { token: self.token.clone(), result };
        self.families.signatures.get_or_create(&labels).inc();
    }

    /// A call to the token said no.
    pub(crate) fn error(&self, ckr: &str) {
        let labels = ErrorLabels { token: self.token.clone(), ckr: ckr.to_owned() };
        self.families.errors.get_or_create(&labels).inc();
    }

    pub(crate) fn step(&self, step: HsmStep) {
        let labels = StepLabels { token: self.token.clone(), step: step.as_str() };
        self.families.steps.get_or_create(&labels).inc();
    }

    /// One more thread, or one fewer, is busy.
    pub(crate) fn busy(&self, change: i64) {
        self.families.sessions_busy.get_or_create(&self.labels()).inc_by(change);
    }

    /// `circuit`: 0 closed, 1 open, 2 stopped by a refused PIN.
    pub(crate) fn show(&self, sessions_open: i64, circuit: i64) {
        let labels = self.labels();
        self.families.sessions_open.get_or_create(&labels).set(sessions_open);
        self.families.circuit.get_or_create(&labels).set(circuit);
    }
}

impl TokenFamilies {
    pub(super) fn registered(series: &mut Series<'_>) -> Self {
        let families = Self::default();
        series.add(
            "hsm_signatures",
            "Signatures by token and result: ok, failed",
            &families.signatures,
        );
        series.add(
            "hsm_sign_seconds",
            "Time from taking a job from the queue to its verified signature, in seconds",
            &families.seconds,
        );
        series.add(
            "hsm_sessions_open",
            "Signing sessions open at the token",
            &families.sessions_open,
        );
        series.add("hsm_sessions_busy", "Signing sessions in use", &families.sessions_busy);
        series.add("hsm_errors", "Failed calls by token and CK_RV", &families.errors);
        series.add("hsm_steps", "What was done about failures, by token", &families.steps);
        series.add(
            "hsm_circuit",
            "0 closed: the token signs; 1 open: probes are made; 2 stopped: its PIN was refused",
            &families.circuit,
        );
        families
    }

    /// The series of the token of this name, which show from now on.
    pub(super) fn of(&self, name: &str) -> Arc<TokenMetrics> {
        let metrics = TokenMetrics { token: name.to_owned(), families: self.clone() };
        metrics.show(0, 0);
        metrics.busy(0);
        // What was never counted would be missed the first time by whoever looks at its growth.
        for result in ["ok", "failed"] {
            let labels = SignatureLabels { token: name.to_owned(), result };
            drop(self.signatures.get_or_create(&labels));
        }
        for step in HsmStep::ALL {
            let labels = StepLabels { token: name.to_owned(), step: step.as_str() };
            drop(self.steps.get_or_create(&labels));
        }
        let labels = ErrorLabels { token: name.to_owned(), ckr: "none".to_owned() };
        drop(self.errors.get_or_create(&labels));
        Arc::new(metrics)
    }
}
