//! One suite for every kind of signer, and what is particular to each.

mod failover;
mod key_file;
mod pool;
mod remote;
mod softhsm;
mod suite;
mod token;
mod trouble;
