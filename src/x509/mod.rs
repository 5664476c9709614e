//! RFC 5280: bytes in, bytes out.

pub(crate) mod algorithm;
