//! RFC 5280: bytes in, bytes out.

pub mod algorithm;
