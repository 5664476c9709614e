//! RFC 5280: bytes in, bytes out.

pub(crate) mod algorithm;
pub(crate) mod ca_certificate;
pub(crate) mod certificate;
pub(crate) mod chain;
pub(crate) mod csr;
pub(crate) mod dates;
pub(crate) mod description;
mod extensions;
pub(crate) mod issuer;
pub(crate) mod lint;
pub(crate) mod name_constraints;
pub(crate) mod path;
pub(crate) mod pem;
pub(crate) mod permanent_identifier;
pub(crate) mod profile;
pub(crate) mod request;
pub(crate) mod revocation_list;
pub(crate) mod serial;
mod signed;
pub(crate) mod subject;
pub(crate) mod tbs;
pub(crate) mod weak_key;

#[cfg(test)]
mod tests;
