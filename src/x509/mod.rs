//! RFC 5280: bytes in, bytes out.

pub mod algorithm;
pub mod ca_certificate;
pub mod chain;
pub mod csr;
mod extensions;
pub mod issuer;
pub mod lint;
mod pem;
pub mod profile;
pub mod serial;
pub mod tbs;
pub mod weak_key;

#[cfg(test)]
mod tests;
