//! RFC 8555's objects and their states: values in, values out; no IO, no clock, no randomness.



pub mod identifier;

pub mod problem;
