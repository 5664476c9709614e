//! Drives the kipuka process and what surrounds it: tokens, databases, DNS, web servers, clients.
//! Knows nothing of kipuka's code, only what `docs/` and the RFCs promise.
//!
//! A tool that is missing fails a test with the name of the package that has it.

pub mod acme;
pub mod attestation;
pub mod cluster;
pub mod command;
pub mod csr;
pub mod database;
pub mod der;
pub mod disk;
pub mod external_account;
pub mod issuer;
pub mod key;
pub mod kryoptic;
pub mod load_balancer;
pub mod patient;
pub mod port;
pub mod previous;
pub mod proof;
pub mod relay;
pub mod responder;
pub mod server;
pub mod tap;
pub mod token;
pub mod validating;
pub mod wire;
pub mod zone;

pub use acme::{Answer, Client, Order};
pub use cluster::Cluster;
pub use database::Database;
pub use disk::Disk;
pub use issuer::Issuer;
pub use key::{Algorithm, Key};
pub use load_balancer::LoadBalancer;
pub use patient::{Diary, Patient};
pub use port::Port;
pub use relay::Relay;
pub use responder::Responder;
pub use server::{Ca, Server, Settings};
pub use tap::{Moment, Tap};
pub use token::{SoftToken, Token};
pub use validating::ValidatingResolver;
pub use zone::Zone;

#[cfg(test)]
mod tests;
