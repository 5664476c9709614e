//! One suite for every kind of signer, and what is particular to each.

mod backend;
mod key_file;
mod pool;
mod suite;
mod token;
mod trouble;
