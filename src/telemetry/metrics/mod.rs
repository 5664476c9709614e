//! Every series that `/metrics` shows, in one place: a file for each room that counts.
//!
//! Labels have few values: routes by their patterns, CAs and profiles of the configuration, names from
//! the standards. Never an id, a name that a client chose, or an address.

mod acme;
mod audit;
mod crl;
mod expiry;
mod hsm;
mod http;
mod issuance;
mod limits;
mod process;
mod reload;
mod state;
mod store;
mod text;
mod validation;
mod work;

pub(crate) use acme::AcmeMetrics;
pub(crate) use audit::AuditFigures;
pub(crate) use crl::CrlFigures;
pub(crate) use hsm::{HsmStep, TokenMetrics};
pub(crate) use http::{HttpMetrics, ListenerMetrics};
pub(crate) use limits::LimitMetrics;
pub(crate) use store::StoreMetrics;
pub(crate) use text::Format;
pub(crate) use validation::ValidationMetrics;
pub(crate) use work::WorkFigures;

use std::sync::Arc;

use prometheus_client::registry::{Metric, Registry};

/// Every series, by room. Each room counts by its own handle, which by default nobody sees.
pub(crate) struct Metrics {
    registry: Registry,
    tokens: hsm::TokenFamilies,
    pub(crate) acme: AcmeMetrics,
    pub(crate) audit: audit::AuditMetrics,
    pub(crate) crl: crl::CrlMetrics,
    pub(crate) expiry: expiry::ExpiryMetrics,
    pub(crate) http: HttpMetrics,
    pub(crate) issuance: issuance::IssuanceMetrics,
    pub(crate) limits: LimitMetrics,
    pub(crate) reload: reload::ReloadMetrics,
    pub(crate) state: state::StateMetrics,
    pub(crate) store: StoreMetrics,
    pub(crate) validation: ValidationMetrics,
    pub(crate) work: work::WorkMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        process::register(&mut registry);
        let mut series = Series(registry.sub_registry_with_prefix("kipuka"));
        process::register_build(&mut series);
        let tokens = hsm::TokenFamilies::registered(&mut series);
        let acme = AcmeMetrics::registered(&mut series);
        let audit = audit::AuditMetrics::registered(&mut series);
        let crl = crl::CrlMetrics::registered(&mut series);
        let expiry = expiry::ExpiryMetrics::registered(&mut series);
        let http = HttpMetrics::registered(&mut series);
        let issuance = issuance::IssuanceMetrics::registered(&mut series);
        let limits = LimitMetrics::registered(&mut series);
        let reload = reload::ReloadMetrics::registered(&mut series);
        let state = state::StateMetrics::registered(&mut series);
        let store = StoreMetrics::registered(&mut series);
        let validation = ValidationMetrics::registered(&mut series);
        let work = work::WorkMetrics::registered(&mut series);
        Self {
            registry,
            tokens,
            acme,
            audit,
            crl,
            expiry,
            http,
            issuance,
            limits,
            reload,
            state,
            store,
            validation,
            work,
        }
    }

    /// The series of the token of this name, which show from now on.
    pub(crate) fn token(&self, name: &str) -> Arc<TokenMetrics> {
        self.tokens.of(name)
    }

    /// The text of every series.
    pub(crate) fn encode(&self, format: Format) -> String {
        text::encode(&self.registry, format)
    }
}

/// Where series are entered under `kipuka_`.
struct Series<'a>(&'a mut Registry);

impl Series<'_> {
    /// Enters a series; `help` is a sentence without its full stop.
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register(name, help, metric.clone());
    }
}

#[cfg(test)]
mod tests;
