//! One suite for every kind of signer, and what is particular to each.

mod backend;
mod failover;
mod key_file;
mod login;
mod pool;
mod remote;
mod suite;
mod token;
mod trouble;
