//! kipuka: a certificate authority that speaks ACME (RFC 8555) at the front and PKCS#11 at the
//! back. This list is the map of the house. A module imports only what stands above it, and ports
//! and edges never one another; `tests/architecture` holds us to that.

// ground: used by all
mod clock; // time, as an argument
mod config; // kipuka.toml, with every mistake in it at once
mod entropy; // randomness, as an argument
mod telemetry; // the log and the metrics

// rules: values in, values out; no async, no IO, no clock, no randomness
mod acme; // RFC 8555's objects: facts in, status out
mod jose; // JWS and JWK, strictly
mod ledger; // the audit trail's entries and their hash chain
mod x509; // CSRs, chains, TBSCertificates and their lint

// rules: the same, over the others
mod attestation; // what a device says of a key, and who vouches for the device
mod policy; // what may be issued to whom, and which line of kipuka.toml says so

// ports: one kind of IO each
mod signer; // keys that sign: PKCS#11 tokens, key files
mod store; // what kipuka remembers; the only SQL
mod validation; // proof of control over the network

// authority: a [[ca]] with its chain, signer and profile
mod ca;

// flow: one file for each thing that happens; where ports meet
mod flow;

// edges: outside to flow and back
mod http; // ACME, the CA's certificates, health
mod worker; // claimed work: validate, issue, publish CRLs; housekeeping

// assembly: configuration to all of the above
mod app;
pub mod cli;

// what reads bytes from strangers, for tests/fuzz
#[cfg(fuzzing)]
pub mod fuzz;

// the parts by themselves, for benches/parts.rs
#[cfg(feature = "bench")]
pub mod bench;
