//! kipuka: a certificate authority that speaks ACME (RFC 8555) at the front and PKCS#11 at the
//! back. A module imports only what stands above it here; `tests/architecture` holds it to that.

// ground: used by all
mod clock;
mod config;
mod entropy;
mod telemetry;

// rules: values in, values out; no async, no IO, no clock, no randomness
mod acme;
mod jose;
mod x509;

// ports: one kind of IO each
mod signer;
mod store;
mod validation;

// authority
mod ca;

// flow: one file for each thing that happens
mod flow;

// edges: outside to flow and back
mod http;
mod worker;

// assembly
mod app;
pub mod cli;
