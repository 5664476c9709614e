//! RFC 5280: bytes in, bytes out.

pub(crate) mod algorithm;
pub(crate) mod ca_certificate;
pub(crate) mod chain;
pub(crate) mod csr;
mod extensions;
pub(crate) mod issuer;
pub(crate) mod lint;
mod pem;
pub(crate) mod profile;
pub(crate) mod serial;
mod signed;
pub(crate) mod tbs;
pub(crate) mod weak_key;

#[cfg(test)]
mod tests;
